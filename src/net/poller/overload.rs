//! The overload policy: which of the requests in the queue are served, rejected or dropped.
//!
//! A request whose client has disconnected is dropped. A request that has waited longer than
//! `--queue-timeout`, or that finds the queue full, is rejected with 503. The application sees none
//! of them. The policy does no I/O and has no clock; `reject` carries it out.

use std::time::Duration;

use crate::net::tuning::{HALF_CLOSE_GRACE, SWEEP_INTERVAL};
use crate::sys::clock::Moment;

/// The decision on a queued request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It stays in the queue.
    Keep,
    /// It has waited longer than `--queue-timeout`, or no thread will be free before the process
    /// ends.
    Expired,
    /// Its client has disconnected.
    Disconnected,
}

impl Verdict {
    /// True if the newest request should run first from now on. If one client has given up, those
    /// next in the queue are about to, and a server that kept the order would answer none of them
    /// in time.
    pub fn calls_for_newest_first(self) -> bool {
        self == Verdict::Disconnected
    }
}

/// The state of the policy.
#[derive(Debug)]
pub(super) struct Overload {
    /// `--queue-timeout`.
    queue_timeout: Duration,
    /// When queued requests are to be checked again.
    next_sweep: Moment,
}

impl Overload {
    pub(super) fn new(queue_timeout: Duration, now: Moment) -> Overload {
        Overload { queue_timeout, next_sweep: now }
    }

    #[cfg(all(test, not(shuttle)))]
    pub(super) fn set_queue_timeout(&mut self, queue_timeout: Duration) {
        self.queue_timeout = queue_timeout;
    }

    /// True if it is time to check the queued requests.
    pub(super) fn is_sweep_due(&mut self, now: Moment) -> bool {
        let is_due = now >= self.next_sweep;
        if is_due {
            self.next_sweep = now + SWEEP_INTERVAL;
        }
        is_due
    }

    /// The verdict on a request that was complete at `since`.
    pub(super) fn verdict(&self, since: Moment, client_disconnected: bool, now: Moment) -> Verdict {
        if client_disconnected {
            Verdict::Disconnected
        } else if now.saturating_duration_since(since) >= self.queue_timeout {
            Verdict::Expired
        } else {
            Verdict::Keep
        }
    }
}

/// True if a client that now shuts down its sending side has disconnected, rather than only
/// announced that it sends no further request. Its request was complete at `since`; at `last_poll`
/// the kernel had not reported the end yet.
pub(super) fn is_disconnect(since: Moment, last_poll: Moment) -> bool {
    last_poll.saturating_duration_since(since) >= HALF_CLOSE_GRACE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn queued_request_gets_its_verdict_by_age_and_client() {
        let start = clock::now();
        let overload = Overload::new(500 * MS, start);
        for (waited, client_disconnected, expected) in [
            (0, false, Verdict::Keep),
            (499, false, Verdict::Keep),
            (500, false, Verdict::Expired),
            (0, true, Verdict::Disconnected),
            (500, true, Verdict::Disconnected),
        ] {
            let verdict = overload.verdict(start, client_disconnected, start + waited * MS);
            assert_eq!(verdict, expected, "{waited} ms, {client_disconnected}");
            assert_eq!(verdict.calls_for_newest_first(), client_disconnected);
        }
        // A turn's time may be from before the request.
        assert_eq!(overload.verdict(start + MS, false, start), Verdict::Keep);
    }

    #[test]
    fn sweep_is_due_once_per_interval() {
        let start = clock::now();
        let mut overload = Overload::new(MS, start);
        for (passed, expected) in [(0, true), (50, false), (100, true), (150, false), (350, true)] {
            assert_eq!(overload.is_sweep_due(start + passed * MS), expected, "{passed} ms");
        }
    }

    #[test]
    fn late_half_close_is_a_disconnect() {
        let start = clock::now();
        for (last_poll, expected) in [(0, false), (999, false), (1000, true)] {
            assert_eq!(is_disconnect(start, start + last_poll * MS), expected, "{last_poll} ms");
        }
        assert!(!is_disconnect(start + MS, start));
    }
}
