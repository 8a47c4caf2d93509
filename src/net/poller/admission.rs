//! The admission policy: when the poller accepts connections and how many, when it pauses, and when
//! it leaves them to other processes on the same sockets.
//!
//! The policy does no I/O and has no clock; `accept` acts on it.

use std::time::Duration;

use crate::net::tuning::{ACCEPT_PAUSE, BLOCKED_PAUSE, MAX_ACCEPT_PER_TURN, YIELD_PAUSE};
use crate::sys::clock::Moment;

/// The state of the policy.
#[derive(Debug)]
pub(super) struct Admission {
    /// `--worker-connections`.
    max_connections: usize,
    /// The number of free threads; `None` if no other process accepts from the same sockets.
    free_threads: Option<usize>,
    /// How long connections are left to other processes while no thread begins a request.
    blocked_pause: Duration,
    /// Counts the requests that threads have begun.
    jobs_taken: u64,
    /// Accepting pauses until then: there is no descriptor or memory left, or the connection limit
    /// is reached.
    paused_until: Option<Moment>,
    /// No thread is free: new connections are left to other processes until then.
    yielding_until: Option<Moment>,
    /// When that began, and [`Admission::jobs_taken`] then.
    yielding_since: Option<(Moment, u64)>,
    /// The last turn has left new connections to other processes.
    has_yielded: bool,
    /// All threads are occupied by requests that have run too long.
    is_stalled: bool,
    /// The server shuts down: the accept queues are drained without a limit.
    is_draining: bool,
}

impl Admission {
    pub(super) fn new(max_connections: usize) -> Admission {
        Admission {
            max_connections,
            free_threads: None,
            blocked_pause: BLOCKED_PAUSE,
            jobs_taken: 0,
            paused_until: None,
            yielding_until: None,
            yielding_since: None,
            has_yielded: false,
            is_stalled: false,
            is_draining: false,
        }
    }

    /// Accepts connections also while all threads are blocked: they may bring health checks, which
    /// need no thread. Other requests can be handed over.
    pub(super) fn accept_health_checks(mut self) -> Admission {
        self.blocked_pause = YIELD_PAUSE;
        self
    }

    /// Sets the number of free threads; `None` if no other process accepts from the same sockets.
    pub(super) fn set_free_threads(&mut self, free_threads: Option<usize>) {
        self.free_threads = free_threads;
        if free_threads != Some(0) {
            self.yielding_until = None;
        }
    }

    /// Sets a number that changes whenever a thread begins a request.
    pub(super) fn set_jobs_taken(&mut self, jobs_taken: u64) {
        self.jobs_taken = jobs_taken;
    }

    /// A number that changes whenever a thread begins a request.
    pub(super) fn jobs_taken(&self) -> u64 {
        self.jobs_taken
    }

    /// True if this turn accepts connections. `ready` counts the requests that it has found so far;
    /// `has_waiting` says whether a listener may have connections waiting.
    pub(super) fn admits(&mut self, ready: usize, has_waiting: bool, now: Moment) -> bool {
        let is_paused = self.paused_until.is_some_and(|until| now < until);
        if is_paused || (self.is_stalled && !self.is_draining) {
            return false;
        }
        self.paused_until = None;
        if has_waiting && !self.is_draining && self.must_yield(ready, now) {
            return false;
        }
        self.yielding_until = None;
        self.has_yielded = false;
        true
    }

    /// True while new connections are left to other processes: for [`YIELD_PAUSE`] if no thread is
    /// free, or for [`BLOCKED_PAUSE`] if none begins another request either, or for one turn if
    /// this turn's requests occupy all free threads, since they may be short.
    fn must_yield(&mut self, ready: usize, now: Moment) -> bool {
        match self.free_threads {
            Some(0) => {
                let Some(until) = self.yielding_until else {
                    self.yielding_until = Some(now + YIELD_PAUSE);
                    self.yielding_since = Some((now, self.jobs_taken));
                    return true;
                };
                let is_blocked = |(since, jobs_taken)| {
                    jobs_taken == self.jobs_taken && now < since + self.blocked_pause
                };
                if now >= until && self.yielding_since.is_some_and(is_blocked) {
                    self.yielding_until = Some(now + YIELD_PAUSE);
                    return true;
                }
                now < until
            }
            Some(free) if ready >= free => !std::mem::replace(&mut self.has_yielded, true),
            _ => false,
        }
    }

    /// How many connections to accept from one listener in this turn.
    pub(super) fn batch_size(&self) -> usize {
        match self.free_threads {
            Some(free @ 1..) if !self.is_draining => free.min(MAX_ACCEPT_PER_TURN),
            _ => MAX_ACCEPT_PER_TURN,
        }
    }

    /// True if the next connection is left to another process: the `ready` requests occupy all free
    /// threads, and at least one came from this listener. `before` is the number of requests before
    /// it.
    pub(super) fn is_satisfied(&self, before: usize, ready: usize) -> bool {
        !self.is_draining && ready > before && self.free_threads.is_some_and(|free| ready >= free)
    }

    /// True if `open` connections leave room for another one. While the server drains, always true:
    /// closing the listener resets the connections in its accept queue, which are at most
    /// `--backlog`.
    pub(super) fn has_place(&self, open: usize) -> bool {
        self.is_draining || open < self.max_connections
    }

    /// Sets whether all threads are occupied by requests that have run too long.
    pub(super) fn set_stalled(&mut self, is_stalled: bool) {
        self.is_stalled = is_stalled;
    }

    /// True if all threads are occupied by requests that have run too long.
    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    /// Pauses accepting: there is no descriptor or memory left, or the connection limit is reached.
    pub(super) fn pause(&mut self, now: Moment) {
        self.paused_until = Some(now + ACCEPT_PAUSE);
    }

    /// Ends the pause: a connection was closed, which frees a descriptor.
    pub(super) fn resume(&mut self) {
        self.paused_until = None;
    }

    /// Lifts the limits, as the server shuts down.
    pub(super) fn drain(&mut self) {
        self.is_draining = true;
        self.paused_until = None;
    }

    /// True unless accepting is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// True if connections are accepted as soon as any is waiting.
    pub(super) fn is_open(&self) -> bool {
        self.paused_until.is_none() && self.yielding_until.is_none() && !self.is_stalled
    }

    /// When the poller must check again.
    pub(super) fn wakes_at(&self) -> Option<Moment> {
        if self.is_stalled && !self.is_draining {
            // Pauses that are over do not end the poller's waits for events.
            return None;
        }
        [self.paused_until, self.yielding_until].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn stalled_server_accepts_nothing_until_it_drains() {
        let now = clock::now();
        let mut admission = Admission::new(10);
        admission.set_stalled(true);
        assert!(!admission.admits(0, true, now) && !admission.is_open());
        assert_eq!(admission.wakes_at(), None);
        admission.set_stalled(false);
        assert!(admission.admits(0, true, now) && admission.is_open());
        admission.set_stalled(true);
        admission.drain();
        assert!(admission.admits(0, true, now));
    }

    /// A regression test: a pause that was over woke the poller each millisecond.
    #[test]
    fn stalled_server_does_not_wait_for_the_end_of_a_pause() {
        let now = clock::now();
        let mut admission = Admission::new(10);
        admission.set_free_threads(Some(0));
        assert!(!admission.admits(0, true, now));
        admission.pause(now);
        admission.set_stalled(true);
        assert!(!admission.admits(0, true, now + 10 * YIELD_PAUSE));
        assert_eq!(admission.wakes_at(), None);
        admission.set_stalled(false);
        assert!(admission.wakes_at().is_some());
    }

    #[test]
    fn admission_depends_on_free_threads_and_ready_requests() {
        // free threads, ready requests, admitted in each of four turns of 40 ms
        for (free_threads, ready, expected) in [
            (None, 0, [true; 4]),
            (None, 9, [true; 4]),
            (Some(2), 0, [true; 4]),
            (Some(2), 1, [true; 4]),
            // The free threads have something to do: every other turn.
            (Some(2), 2, [false, true, false, true]),
            (Some(2), 3, [false, true, false, true]),
            // No thread is free, but they work: after 100 ms no other process has accepted.
            (Some(0), 0, [false, false, false, true]),
        ] {
            let (mut admission, start) = (Admission::new(10), clock::now());
            let admitted = [0, 1, 2, 3].map(|turn| {
                admission.set_free_threads(free_threads);
                admission.set_jobs_taken(turn.into());
                admission.admits(ready, true, start + 40 * turn * MS)
            });
            assert_eq!(admitted, expected, "{free_threads:?}, {ready}");
            admission.drain();
            assert!(admission.admits(ready, true, start), "draining");
        }
    }

    /// A regression test: a worker whose only thread was stuck took a connection every 100 ms, and
    /// with it each client of the other workers, one after another.
    #[test]
    fn blocked_threads_leave_new_connections_to_others_for_longer() {
        let (mut admission, start) = (Admission::new(10), clock::now());
        admission.set_free_threads(Some(0));
        let mut admitted = Vec::new();
        for turn in 0..101 {
            if admission.admits(0, true, start + 100 * turn * MS) {
                admitted.push(turn);
            } else {
                assert_eq!(admission.wakes_at(), Some(start + 100 * (turn + 1) * MS));
            }
        }
        assert_eq!(admitted, [50]);
        admission.set_jobs_taken(1);
        assert!(admission.admits(0, true, start + 10_100 * MS));
    }

    #[test]
    fn free_thread_ends_the_wait_for_other_processes() {
        let (mut admission, now) = (Admission::new(10), clock::now());
        admission.set_free_threads(Some(0));
        assert!(!admission.admits(0, true, now) && !admission.is_open());
        assert_eq!(admission.wakes_at(), Some(now + YIELD_PAUSE));
        admission.set_free_threads(Some(1));
        assert!(admission.is_open() && admission.admits(0, true, now));
    }

    #[test]
    fn batch_is_no_larger_than_the_free_threads() {
        // free threads, draining, batch
        for (free_threads, is_draining, expected) in [
            (None, false, MAX_ACCEPT_PER_TURN),
            (Some(0), false, MAX_ACCEPT_PER_TURN),
            (Some(3), false, 3),
            (Some(1_000), false, MAX_ACCEPT_PER_TURN),
            (Some(3), true, MAX_ACCEPT_PER_TURN),
        ] {
            let mut admission = Admission { is_draining, ..Admission::new(10) };
            admission.set_free_threads(free_threads);
            assert_eq!(admission.batch_size(), expected, "{free_threads:?}, {is_draining}");
        }
    }

    #[test]
    fn accepting_ends_once_a_new_connection_occupies_the_last_free_thread() {
        // free threads, requests before this listener, requests now, satisfied
        for (free_threads, before, ready, expected) in [
            (None, 0, 5, false),
            (Some(2), 0, 1, false),
            (Some(2), 1, 2, true),
            // The requests are of connections that were open before.
            (Some(2), 2, 2, false),
            (Some(2), 2, 3, true),
        ] {
            let mut admission = Admission::new(10);
            admission.set_free_threads(free_threads);
            assert_eq!(admission.is_satisfied(before, ready), expected, "{free_threads:?}");
            admission.drain();
            assert!(!admission.is_satisfied(before, ready), "draining");
        }
    }

    #[test]
    fn pause_ends_with_its_time_or_a_closed_connection() {
        let (mut admission, start) = (Admission::new(10), clock::now());
        admission.pause(start);
        assert!(admission.is_paused() && !admission.admits(0, true, start + 99 * MS));
        assert!(admission.admits(0, true, start + 100 * MS) && !admission.is_paused());
        admission.pause(start);
        admission.resume();
        assert!(admission.admits(0, true, start));
    }

    #[test]
    fn place_is_limited_except_while_draining() {
        let mut admission = Admission::new(2);
        assert_eq!([1, 2, 3].map(|open| admission.has_place(open)), [true, false, false]);
        admission.drain();
        assert!(admission.has_place(1_000));
    }
}
