//! The steps to end a request that runs longer than `--timeout`: a state machine without clock and
//! I/O. `watch` checks once a second, and carries out the action.
//!
//! The poller answers the client: it takes the exchange away from the thread that runs the request.
//! What remains is to end the request in its thread, without ending the process, which serves other
//! requests. So the server raises an exception in the thread, which ends code written in Python. A
//! thread in a C function raises it only when that returns. If it does not, the request is stuck,
//! and its worker has to be replaced. A request whose blocks are made in C ends with the next
//! block, which it cannot send.
//!
//! While a thread uses the exchange, the poller cannot take it. If the thread is sending, the
//! poller resets the client; otherwise, if that lasts, the request gets the exception all the same,
//! and later its response is aborted.
//!
//! A request that waits for a client which reads slowly needs no exception: the server fails the
//! wait, and the application finds its client disconnected. An exception would disturb the cleanup
//! that follows, so the request gets [`CLEANUP_GRACE`] before it counts as running too long. A slow
//! client must never cause the replacement of a worker.

use std::time::Duration;

/// How long a request may take to clean up after its client was disconnected.
pub(super) const CLEANUP_GRACE: Duration = Duration::from_secs(5);
/// How long after the poller has tried to take the exchange of a request, and could not, the
/// request is interrupted.
pub(super) const INTERRUPT_AFTER: Duration = Duration::from_secs(1);
/// How long after the exception the response is aborted, if the request still runs.
pub(super) const ABORT_AFTER: Duration = Duration::from_secs(5);
/// How long after the exception the request counts as stuck.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(6);

/// The steps that the server has taken to end a request. Times are ages of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum RequestStage {
    /// The server has done nothing.
    #[default]
    Running,
    /// The server has failed the request's wait for its client, or a call of it after the poller
    /// has taken its exchange; the application cleans up.
    Disconnected { at: Duration },
    /// The server has raised an exception in the request's thread.
    Interrupted { at: Duration },
    /// The exception did not help: the server has aborted the response as well.
    Aborted { interrupted_at: Duration },
    /// Nothing helped.
    Stuck,
}

/// The facts that a check of a request has found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    /// How long the request has run.
    pub(super) age: Duration,
    /// The value of `--timeout`.
    pub(super) timeout: Duration,
    /// The poller has taken the exchange of the request.
    pub(super) is_taken: bool,
    /// The request is overdue and waited for its client; the check has failed that wait.
    pub(super) has_disconnected: bool,
    /// The exchange was taken, and a call of the request has failed for that since the last check.
    pub(super) has_noticed: bool,
}

/// What to do after a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    None,
    /// Report that the client was disconnected, and withdraw an exception that is pending.
    ReportDisconnect,
    /// Withdraw an exception that is pending: the request has learned of its end.
    AllowCleanup,
    /// Raise the exception in the request's thread.
    Interrupt,
    /// Abort the response.
    Abort,
    /// Report that the request cannot be ended.
    ReportStuck,
}

impl RequestStage {
    /// The age from which on the poller takes the exchange of the request.
    pub(super) fn takeover_due(self, timeout: Duration) -> Duration {
        match self {
            // The response has failed already, and its request cleans up.
            RequestStage::Disconnected { at } => at + CLEANUP_GRACE,
            _ => timeout,
        }
    }

    /// The next stage, and the action to take. All transitions are here.
    pub(super) fn advance(self, check: Check) -> (RequestStage, Action) {
        use RequestStage::{Aborted, Disconnected, Interrupted, Running, Stuck};
        let Check { age, timeout, is_taken, has_disconnected, has_noticed } = check;
        let has_passed = |at: Duration, grace| age.saturating_sub(at) >= grace;
        match self {
            _ if age < timeout => (self, Action::None),
            _ if has_disconnected => (Disconnected { at: age }, Action::ReportDisconnect),
            _ if has_noticed => (Disconnected { at: age }, Action::AllowCleanup),
            Running if is_taken || age >= timeout + INTERRUPT_AFTER => {
                (Interrupted { at: age }, Action::Interrupt)
            }
            Running => (self, Action::None),
            Disconnected { at }
                if has_passed(at, CLEANUP_GRACE)
                    && (is_taken || has_passed(at, CLEANUP_GRACE + INTERRUPT_AFTER)) =>
            {
                (Interrupted { at: age }, Action::Interrupt)
            }
            Interrupted { at } | Aborted { interrupted_at: at } if has_passed(at, STUCK_AFTER) => {
                (Stuck, Action::ReportStuck)
            }
            Interrupted { at } if has_passed(at, ABORT_AFTER) => {
                (Aborted { interrupted_at: at }, Action::Abort)
            }
            Disconnected { .. } | Interrupted { .. } | Aborted { .. } | Stuck => {
                (self, Action::None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RequestStage::{Aborted, Disconnected, Interrupted, Running, Stuck};
    use super::*;

    const TIMEOUT_S: f64 = 30.0;

    fn s(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// The facts of most rows: the poller has taken the exchange.
    fn taken(age: Duration) -> Check {
        Check {
            age,
            timeout: s(TIMEOUT_S),
            is_taken: true,
            has_disconnected: false,
            has_noticed: false,
        }
    }

    #[test]
    fn each_stage_and_check_gives_the_next_stage_and_action() {
        let (none, report, cleanup) =
            (Action::None, Action::ReportDisconnect, Action::AllowCleanup);
        let disconnected = Disconnected { at: s(30.5) };
        let interrupted = Interrupted { at: s(30.5) };
        let aborted = Aborted { interrupted_at: s(30.5) };
        let busy = |check| Check { is_taken: false, ..check };
        let waits = |check| Check { is_taken: false, has_disconnected: true, ..check };
        let noticed = |check| Check { has_noticed: true, ..check };
        let plain = |check| check;
        type Facts = fn(Check) -> Check;
        let table: [(RequestStage, f64, Facts, (RequestStage, Action)); 26] = [
            // Within --timeout nothing happens.
            (Running, 0.0, busy, (Running, none)),
            (Running, 29.9, busy, (Running, none)),
            // An exception, unless the request waits for its client or has learned of its end.
            (Running, 30.0, plain, (Interrupted { at: s(30.0) }, Action::Interrupt)),
            (Running, 30.5, waits, (disconnected, report)),
            (Running, 30.5, noticed, (disconnected, cleanup)),
            // The poller could not take the exchange: some time for the next try.
            (Running, 30.9, busy, (Running, none)),
            (Running, 31.0, busy, (Interrupted { at: s(31.0) }, Action::Interrupt)),
            // Time for the cleanup, then an exception.
            (disconnected, 31.5, busy, (disconnected, none)),
            (disconnected, 35.4, plain, (disconnected, none)),
            (disconnected, 35.5, plain, (Interrupted { at: s(35.5) }, Action::Interrupt)),
            // The poller takes the exchange at that time, too, and comes first.
            (disconnected, 35.5, busy, (disconnected, none)),
            (disconnected, 36.5, busy, (Interrupted { at: s(36.5) }, Action::Interrupt)),
            // The cleanup may wait for the client again.
            (disconnected, 33.0, waits, (Disconnected { at: s(33.0) }, report)),
            // Time for the exception, then the response is aborted.
            (interrupted, 31.5, plain, (interrupted, none)),
            (interrupted, 35.4, plain, (interrupted, none)),
            (interrupted, 35.5, plain, (aborted, Action::Abort)),
            // A thread in a wait cannot raise the exception: the wait is failed, and it is
            // withdrawn. So it is if the thread learns of its end in another way.
            (interrupted, 31.5, waits, (Disconnected { at: s(31.5) }, report)),
            (interrupted, 31.5, noticed, (Disconnected { at: s(31.5) }, cleanup)),
            // A check that comes late skips a stage.
            (interrupted, 36.5, plain, (Stuck, Action::ReportStuck)),
            (aborted, 36.4, plain, (aborted, none)),
            (aborted, 36.5, plain, (Stuck, Action::ReportStuck)),
            (aborted, 36.0, waits, (Disconnected { at: s(36.0) }, report)),
            // It is reported once.
            (Stuck, 37.5, plain, (Stuck, none)),
            (Stuck, 37.5, waits, (Disconnected { at: s(37.5) }, report)),
            (Stuck, 37.5, noticed, (Disconnected { at: s(37.5) }, cleanup)),
            (Stuck, 99.0, busy, (Stuck, none)),
        ];
        for (stage, age_s, facts, expected) in table {
            let check = facts(taken(s(age_s)));
            assert_eq!(stage.advance(check), expected, "{stage:?} {check:?}");
        }
    }

    #[test]
    fn exchange_is_taken_at_the_timeout_or_after_the_cleanup() {
        for (stage, expected_s) in [
            (Running, 30.0),
            (Disconnected { at: s(31.0) }, 36.0),
            (Interrupted { at: s(31.0) }, 30.0),
            (Stuck, 30.0),
        ] {
            assert_eq!(stage.takeover_due(s(TIMEOUT_S)), s(expected_s), "{stage:?}");
        }
    }

    #[test]
    fn request_that_nothing_ends_passes_every_stage() {
        let mut stage = Running;
        let mut actions = Vec::new();
        for second in 0..60 {
            let check = Check { has_noticed: second == 31, ..taken(Duration::from_secs(second)) };
            let (next, action) = stage.advance(check);
            stage = next;
            if action != Action::None {
                actions.push((second, action));
            }
        }
        assert_eq!(
            actions,
            [
                (30, Action::Interrupt),
                (31, Action::AllowCleanup),
                (36, Action::Interrupt),
                (41, Action::Abort),
                (42, Action::ReportStuck),
            ]
        );
    }
}
