//! The poller as other threads see it: they return connections, start the shutdown and wake the
//! poller.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::net::census::Census;
use crate::net::connection::Lent;
use crate::net::poller_link::PollerLink;
use crate::net::shutdown::Shutdown;
use crate::net::taken::Taken;
use crate::observe::Counters;
use crate::sync::{AtomicBool, Mutex, Ordering, ignore_poison};

/// The poller's interface for other threads.
#[derive(Debug)]
pub struct PollerHandle {
    /// The state that the poller shares with its connections.
    link: Arc<PollerLink>,
    /// Lent connections that were returned since the last turn.
    returned: Mutex<Returned>,
    /// Mirrors whether there are any, so that the poller can check it without locking.
    has_returned: AtomicBool,
    /// Counts the turns.
    turns: AtomicUsize,
}

/// Connections that worker threads have returned.
#[derive(Debug, Default)]
pub(super) struct Returned {
    /// Those whose response is complete or aborted.
    pub(super) connections: Vec<Lent>,
    /// Those that the application has taken.
    pub(super) taken: Vec<(Lent, Taken)>,
}

impl PollerHandle {
    pub(super) fn new(link: Arc<PollerLink>) -> PollerHandle {
        PollerHandle {
            link,
            returned: Mutex::default(),
            has_returned: AtomicBool::new(false),
            turns: AtomicUsize::new(0),
        }
    }

    /// Returns a connection whose response is complete or aborted. The poller's next turn sends its
    /// queue; [`PollerHandle::wake_for_returned`] causes that turn.
    pub fn return_connection(&self, connection: Lent) {
        let mut returned = ignore_poison(self.returned.lock());
        returned.connections.push(connection);
        self.announce_returned();
    }

    /// Returns a connection that the application has taken.
    pub fn return_taken(&self, connection: Lent, taken: Taken) {
        let mut returned = ignore_poison(self.returned.lock());
        returned.taken.push((connection, taken));
        self.announce_returned();
    }

    /// Called with the lock held, and before the caller checks whether the poller is blocked, which
    /// checks this after it has declared so.
    fn announce_returned(&self) {
        self.has_returned.store(true, Ordering::SeqCst);
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

    /// Announces on each open connection of HTTP/2 that it takes no further stream; it closes when
    /// its streams are complete. New connections are served as before.
    pub fn end_sessions(&self) {
        self.link.end_sessions();
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
    pub fn counters(&self) -> &Arc<Counters> {
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

    /// Swaps the returned connections with empty vectors, so that none is allocated again.
    pub(super) fn take_returned(&self, empty: &mut Returned) {
        let mut returned = ignore_poison(self.returned.lock());
        self.has_returned.store(false, Ordering::Relaxed);
        std::mem::swap(&mut *returned, empty);
    }

    /// True if connections were returned since the last turn.
    pub(super) fn has_returned(&self) -> bool {
        self.has_returned.load(Ordering::SeqCst)
    }
}
