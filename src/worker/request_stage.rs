//! The steps to end a request that runs longer than `--timeout`: a state machine without clock and
//! I/O. `watch` checks once a second, and carries out the action.
//!
//! Under threads a timeout must not end the process: it serves other requests. So the server first
//! raises an exception in the request's thread, which ends code written in Python. A thread in a C
//! function raises it only when that returns. If it does not, the server aborts the response, which
//! ends a request whose blocks are made in C. If that does not help either, the request is stuck,
//! and its worker has to be replaced.
//!
//! A request that waits for a client which reads slowly needs no exception: the server fails the
//! wait, and the application finds its client disconnected. An exception would disturb the cleanup
//! that follows, so the request gets [`CLEANUP_GRACE`] before it counts as running too long. A slow
//! client must never cause the replacement of a worker.

use std::time::Duration;

/// How long a request may take to clean up after its client was disconnected.
pub(super) const CLEANUP_GRACE: Duration = Duration::from_secs(5);
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
    /// The server has failed the request's wait for its client; the application cleans up.
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
    /// The request is overdue and waited for its client; the check has failed that wait.
    pub(super) has_disconnected: bool,
}

/// What to do after a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    None,
    /// Report that the client was disconnected, and withdraw an exception that is pending.
    ReportDisconnect,
    /// Raise the exception in the request's thread.
    Interrupt,
    /// Abort the response.
    Abort,
    /// Report that the request cannot be ended.
    ReportStuck,
}

impl RequestStage {
    /// The next stage, and the action to take. All transitions are here.
    pub(super) fn advance(self, check: Check) -> (RequestStage, Action) {
        use RequestStage::{Aborted, Disconnected, Interrupted, Running, Stuck};
        let Check { age, timeout, has_disconnected } = check;
        let has_passed = |at: Duration, grace| age.saturating_sub(at) >= grace;
        match self {
            _ if age < timeout => (self, Action::None),
            _ if has_disconnected => (Disconnected { at: age }, Action::ReportDisconnect),
            Running => (Interrupted { at: age }, Action::Interrupt),
            Disconnected { at } if has_passed(at, CLEANUP_GRACE) => {
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

    #[test]
    fn each_stage_and_check_gives_the_next_stage_and_action() {
        let (none, report) = (Action::None, Action::ReportDisconnect);
        let disconnected = Disconnected { at: s(30.5) };
        let interrupted = Interrupted { at: s(30.5) };
        let aborted = Aborted { interrupted_at: s(30.5) };
        for (stage, age_s, has_disconnected, expected) in [
            // Within --timeout nothing happens.
            (Running, 0.0, false, (Running, none)),
            (Running, 29.9, false, (Running, none)),
            // An exception, unless the request waits for its client.
            (Running, 30.0, false, (Interrupted { at: s(30.0) }, Action::Interrupt)),
            (Running, 30.5, true, (disconnected, report)),
            // Time for the cleanup, then an exception.
            (disconnected, 31.5, false, (disconnected, none)),
            (disconnected, 35.4, false, (disconnected, none)),
            (disconnected, 35.5, false, (Interrupted { at: s(35.5) }, Action::Interrupt)),
            // The cleanup may wait for the client again.
            (disconnected, 33.0, true, (Disconnected { at: s(33.0) }, report)),
            // Time for the exception, then the response is aborted.
            (interrupted, 31.5, false, (interrupted, none)),
            (interrupted, 35.4, false, (interrupted, none)),
            (interrupted, 35.5, false, (aborted, Action::Abort)),
            // A thread in a wait cannot raise the exception: the wait is failed, and it is
            // withdrawn.
            (interrupted, 31.5, true, (Disconnected { at: s(31.5) }, report)),
            // A check that comes late skips a stage.
            (interrupted, 36.5, false, (Stuck, Action::ReportStuck)),
            (aborted, 36.4, false, (aborted, none)),
            (aborted, 36.5, false, (Stuck, Action::ReportStuck)),
            (aborted, 36.0, true, (Disconnected { at: s(36.0) }, report)),
            // It is reported once.
            (Stuck, 37.5, false, (Stuck, none)),
            (Stuck, 37.5, true, (Disconnected { at: s(37.5) }, report)),
        ] {
            let check = Check { age: s(age_s), timeout: s(TIMEOUT_S), has_disconnected };
            assert_eq!(stage.advance(check), expected, "{stage:?} at {age_s} s");
        }
    }

    #[test]
    fn request_that_nothing_ends_passes_every_stage() {
        let mut stage = Running;
        let mut actions = Vec::new();
        for second in 0..60 {
            let (age, timeout) = (Duration::from_secs(second), s(TIMEOUT_S));
            let (next, action) =
                stage.advance(Check { age, timeout, has_disconnected: second == 31 });
            stage = next;
            if action != Action::None {
                actions.push((second, action));
            }
        }
        assert_eq!(
            actions,
            [
                (30, Action::Interrupt),
                (31, Action::ReportDisconnect),
                (36, Action::Interrupt),
                (41, Action::Abort),
                (42, Action::ReportStuck),
            ]
        );
    }
}
