//! The policy for large responses to clients on the same machine: how many are written at a time.
//!
//! Such a client takes whatever the socket takes. If the server writes faster than its clients
//! read, the responses of all of them lie in the kernel, more than the caches hold, and each is
//! written to memory and read from there much later. So a response waits until one of those before
//! it is written. A client that reads slowly delays the others once, and only for a moment: then
//! the limit pauses.
//!
//! The policy does no I/O and has no clock; [`mod@super::write`] and [`mod@super::run`] act on it.

use std::collections::VecDeque;

use crate::net::arena::ConnectionId;
use crate::net::tuning::{LARGE_WRITE_TIMEOUT, MAX_LARGE_WRITES, SLOW_READER_PAUSE};
use crate::sys::clock::Moment;

/// The state of the policy.
#[derive(Debug, Default)]
pub(super) struct LargeResponses {
    /// Connections whose response is being written, and since when; the oldest is the first.
    active: VecDeque<(ConnectionId, Moment)>,
    /// Connections whose response waits, in their order.
    waiting: VecDeque<ConnectionId>,
    /// The number is not limited until then: a client reads slowly.
    unlimited_until: Option<Moment>,
}

impl LargeResponses {
    /// Begins a response; false if it has to wait for [`LargeResponses::next`].
    pub(super) fn begin_or_wait(&mut self, id: ConnectionId, now: Moment) -> bool {
        if self.is_unlimited(now) {
            return true;
        }
        if self.waiting.is_empty() && self.active.len() < MAX_LARGE_WRITES {
            self.active.push_back((id, now));
            return true;
        }
        self.waiting.push_back(id);
        false
    }

    /// A response is written, or its connection is closed.
    #[inline]
    pub(super) fn end(&mut self, id: ConnectionId) {
        if !self.active.is_empty() {
            self.active.retain(|(active, _)| *active != id);
        }
    }

    /// Begins the next response that need not wait any more.
    pub(super) fn next(&mut self, now: Moment) -> Option<ConnectionId> {
        let id = *self.waiting.front()?;
        let oldest = self.active.front();
        if oldest.is_some_and(|&(_, since)| since + LARGE_WRITE_TIMEOUT <= now) {
            self.active.clear();
            self.unlimited_until = Some(now + SLOW_READER_PAUSE);
        }
        if !self.is_unlimited(now) {
            if self.active.len() >= MAX_LARGE_WRITES {
                return None;
            }
            self.active.push_back((id, now));
        }
        self.waiting.pop_front()
    }

    /// When the responses that wait begin at the latest: in the next turn if the connections of all
    /// others were closed.
    pub(super) fn wakes_at(&self) -> Option<Moment> {
        self.waiting.front()?;
        let oldest = self.active.front();
        Some(oldest.map_or(Moment::from_nanos(0), |&(_, since)| since + LARGE_WRITE_TIMEOUT))
    }

    fn is_unlimited(&self, now: Moment) -> bool {
        self.unlimited_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ConnectionId {
        ConnectionId::from_token(number)
    }

    /// As many responses are being written as may be, and one waits.
    fn full(now: Moment) -> LargeResponses {
        let mut large = LargeResponses::default();
        for number in 0..MAX_LARGE_WRITES {
            assert!(large.begin_or_wait(id(number), now));
        }
        assert_eq!(large.wakes_at(), None);
        assert!(!large.begin_or_wait(id(100), now));
        assert_eq!(large.next(now), None);
        large
    }

    #[test]
    fn waiting_responses_begin_in_order_when_others_are_written() {
        let now = Moment::from_nanos(0);
        let mut large = full(now);
        assert!(!large.begin_or_wait(id(101), now));
        for (number, next) in [(3, 100), (0, 101)] {
            large.end(id(number));
            assert_eq!(large.next(now), Some(id(next)));
            assert_eq!(large.next(now), None);
        }
        large.end(id(100));
        assert!(large.begin_or_wait(id(102), now));
        assert!(!large.begin_or_wait(id(103), now));
    }

    #[test]
    fn waiting_response_begins_when_the_connections_of_others_are_closed() {
        let now = Moment::from_nanos(1);
        let mut large = full(now);
        for number in 0..MAX_LARGE_WRITES {
            large.end(id(number));
        }
        assert!(large.wakes_at().is_some_and(|at| at <= now));
        assert_eq!(large.next(now), Some(id(100)));
        // It was no slow reader.
        assert!(!large.is_unlimited(now));
    }

    #[test]
    fn response_does_not_overtake_one_that_waits() {
        let now = Moment::from_nanos(0);
        let mut large = full(now);
        large.end(id(0));
        assert!(!large.begin_or_wait(id(101), now));
        assert_eq!(large.next(now), Some(id(100)));
    }

    #[test]
    fn slow_reader_delays_others_once_for_a_moment() {
        let now = Moment::from_nanos(0);
        let mut large = full(now);
        let at = large.wakes_at().unwrap();
        assert_eq!(at, now + LARGE_WRITE_TIMEOUT);
        assert_eq!(large.next(now + LARGE_WRITE_TIMEOUT / 2), None);
        assert_eq!(large.next(at), Some(id(100)));
        // The limit pauses, however many follow.
        for number in 200..200 + 2 * MAX_LARGE_WRITES {
            assert!(large.begin_or_wait(id(number), at));
        }
        // Then it applies again, to others than those that were begun.
        let after = at + SLOW_READER_PAUSE;
        for number in 300..300 + MAX_LARGE_WRITES {
            assert!(large.begin_or_wait(id(number), after));
        }
        assert!(!large.begin_or_wait(id(400), after));
    }
}
