//! The poller as other threads see it: they return connections, start the shutdown and wake the
//! poller.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::net::census::Census;
use crate::net::connection::Lent;
use crate::net::poller_link::PollerLink;
use crate::net::shutdown::Shutdown;
use crate::observe::Counters;
use crate::sync::{Mutex, ignore_poison};

/// The poller's interface for other threads.
#[derive(Debug)]
pub struct PollerHandle {
    /// The state that the poller shares with its connections.
    link: Arc<PollerLink>,
    /// Lent connections that were returned since the last turn.
    returned: Mutex<Vec<Lent>>,
    /// Counts the turns.
    turns: AtomicUsize,
}

impl PollerHandle {
    pub(super) fn new(link: Arc<PollerLink>) -> PollerHandle {
        PollerHandle { link, returned: Mutex::default(), turns: AtomicUsize::new(0) }
    }

    /// Returns a connection whose response is complete or aborted. The poller's next turn sends its
    /// queue; [`PollerHandle::wake_for_returned`] causes that turn.
    pub fn return_connection(&self, connection: Lent) {
        ignore_poison(self.returned.lock()).push(connection);
    }

    /// Wakes the poller if it is blocked while returned connections wait for its next turn.
    pub fn wake_for_returned(&self) {
        if self.link.is_blocked() && self.has_returned() {
            self.link.wake();
        }
    }

    /// Stops accepting, closes idle connections, and lets running requests finish.
    pub fn stop(&self) {
        self.advance_shutdown(Shutdown::Draining);
    }

    /// As [`PollerHandle::stop`], for a process that another one replaces. Idle connections stay
    /// open, because a client may be sending its next request at this moment. A connection closes
    /// after the response to that request, or when it has been idle for `--keep-alive`.
    pub fn retire(&self) {
        self.advance_shutdown(Shutdown::Retiring);
    }

    /// As [`PollerHandle::stop`], for a process that must end before another one replaces it: the
    /// clients in the accept queue are left to that one.
    pub fn yield_to_successor(&self) {
        self.advance_shutdown(Shutdown::Yielding);
    }

    fn advance_shutdown(&self, stage: Shutdown) {
        self.link.shutdown.advance(stage);
        self.link.wake();
    }

    /// The requested stage of the shutdown.
    pub fn shutdown(&self) -> Shutdown {
        self.link.shutdown.get()
    }

    /// Counts what the clients still do; `None` if the poller does not answer within `limit`.
    pub fn census(&self, limit: Duration) -> Option<Census> {
        self.link.census.ask(|| self.link.wake(), limit)
    }

    /// How often each limit was reached.
    pub fn counters(&self) -> &Counters {
        &self.link.counters
    }

    /// Ends the current or the next wait of [`Poller::poll_once`](super::Poller::poll_once).
    pub fn wake(&self) {
        self.link.wake();
    }

    /// How many turns the poller has made, wrapping around. A poller that makes none after
    /// [`PollerHandle::wake`] is stuck.
    pub fn turns(&self) -> usize {
        self.turns.load(Ordering::Relaxed)
    }

    /// For the poller: counts a turn. Only one thread polls at a time.
    pub(super) fn count_turn(&self) {
        self.turns.store(self.turns().wrapping_add(1), Ordering::Relaxed);
    }

    /// Swaps the returned connections with an empty vector, so that neither is allocated again.
    pub(super) fn take_returned(&self, empty: &mut Vec<Lent>) {
        std::mem::swap(&mut *ignore_poison(self.returned.lock()), empty);
    }

    pub(super) fn has_returned(&self) -> bool {
        !ignore_poison(self.returned.lock()).is_empty()
    }
}
