//! A connection's link to its poller, also while it is lent: whether the poller is blocked, how to
//! wake it, the write halves that its next turn flushes, and the worker's counters.

use std::sync::Arc;

use log::warn;
use mio::Waker;

use super::address::Peer;
use super::arena::ConnectionId;
use super::census::{Census, Question};
use super::memory_budget::MemoryBudget;
use super::shutdown::{AtomicShutdown, Shutdown};
use super::trace::TracePolicy;
use super::write_half::WriteHalf;
use super::write_pace::WritePace;
use crate::config::Settings;
use crate::http1::{Limits, Underscores};
use crate::observe::Counters;
use crate::sync::{AtomicBool, Mutex, Ordering, ignore_poison};

/// The poller as its connections see it; shared by all threads.
#[derive(Debug)]
pub(super) struct PollerLink {
    /// Ends the poller's wait for events.
    waker: Waker,
    /// The poller is blocked in the kernel, or about to be.
    is_blocked: AtomicBool,
    /// Write halves of lent connections that the next turn flushes.
    to_flush: Mutex<Vec<Arc<WriteHalf>>>,
    /// Mirrors whether there are any, so that the poller can check it without locking.
    has_to_flush: AtomicBool,
    /// Sessions of HTTP/2 that the next turn drives.
    to_drive: Mutex<Vec<ConnectionId>>,
    /// Mirrors whether there are any.
    has_to_drive: AtomicBool,
    /// The open sessions of HTTP/2 are to end once their streams are complete.
    ends_sessions: AtomicBool,
    /// The requested stage of the shutdown.
    pub(super) shutdown: AtomicShutdown,
    /// How often each limit was reached.
    pub(super) counters: Arc<Counters>,
    /// A question about all connections.
    pub(super) census: Question<Census>,
    /// The bytes that all connections hold.
    pub(super) memory_budget: Arc<MemoryBudget>,
    /// The limits for requests of clients.
    pub(super) limits: Arc<Limits>,
    /// The limits for requests of trusted proxies.
    pub(super) proxy_limits: Arc<Limits>,
    /// Maximum of unsent bytes of a response in files (`--response-spool`).
    pub(super) response_spool: u64,
    /// How slowly a client may read its response.
    pub(super) write_pace: WritePace,
    /// How requests are traced, if they are.
    pub(super) trace: Option<Arc<TracePolicy>>,
}

/// For a trusted proxy, the parser keeps fields with an underscore even if they are refused:
/// `dispatch` refuses those that the proxy may not set.
fn proxy_limits(limits: Limits) -> Limits {
    match limits.underscores {
        Underscores::Refuse => Limits { underscores: Underscores::Drop, ..limits },
        Underscores::Drop => limits,
    }
}

impl PollerLink {
    pub(super) fn new(waker: Waker, settings: &Settings) -> PollerLink {
        PollerLink {
            waker,
            is_blocked: AtomicBool::new(false),
            to_flush: Mutex::default(),
            has_to_flush: AtomicBool::new(false),
            to_drive: Mutex::default(),
            has_to_drive: AtomicBool::new(false),
            ends_sessions: AtomicBool::new(false),
            shutdown: AtomicShutdown::new(),
            counters: Arc::default(),
            census: Question::new(),
            memory_budget: Arc::new(MemoryBudget::new(settings.budget)),
            limits: Arc::new(settings.limits),
            proxy_limits: Arc::new(proxy_limits(settings.limits)),
            response_spool: settings.response_spool,
            write_pace: WritePace::from(&settings.timeouts),
            trace: TracePolicy::new(settings),
        }
    }

    /// The limits for requests of this peer.
    pub(super) fn limits_of(&self, settings: &Settings, peer: &Peer) -> &Arc<Limits> {
        if settings.trusts(peer.ip()) { &self.proxy_limits } else { &self.limits }
    }

    /// True if the poller is blocked in the kernel, or about to be.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::SeqCst)
    }

    /// For the poller, before and after it waits for events.
    pub(super) fn set_blocked(&self, is_blocked: bool) {
        self.is_blocked.store(is_blocked, Ordering::SeqCst);
    }

    /// Schedules a write half for the poller's next turn. Returns false if the poller is blocked,
    /// so that the next turn may be far off.
    pub(super) fn schedule_flush(&self, write_half: &Arc<WriteHalf>) -> bool {
        let mut to_flush = ignore_poison(self.to_flush.lock());
        to_flush.push(write_half.clone());
        // Before `is_blocked`, as the poller checks this after `set_blocked`.
        self.has_to_flush.store(true, Ordering::SeqCst);
        drop(to_flush);
        !self.is_blocked()
    }

    /// For the poller: flushes the write halves that are scheduled for this turn.
    #[inline]
    pub(super) fn flush_scheduled(&self) {
        if self.has_to_flush() {
            self.flush_write_halves();
        }
    }

    fn flush_write_halves(&self) {
        let mut to_flush = ignore_poison(self.to_flush.lock());
        self.has_to_flush.store(false, Ordering::Relaxed);
        let scheduled = std::mem::take(&mut *to_flush);
        drop(to_flush);
        for write_half in scheduled {
            if write_half.flush_scheduled() {
                self.schedule_flush(&write_half);
            }
        }
    }

    /// Schedules a session of HTTP/2 for the poller's next turn, and has that turn begin.
    pub(super) fn schedule_session(&self, id: ConnectionId) {
        ignore_poison(self.to_drive.lock()).push(id);
        self.has_to_drive.store(true, Ordering::SeqCst);
        if self.is_blocked() {
            self.wake();
        }
    }

    /// True if sessions of HTTP/2 are scheduled.
    #[inline]
    pub(super) fn has_sessions(&self) -> bool {
        self.has_to_drive.load(Ordering::SeqCst)
    }

    /// For the poller: takes the sessions that are scheduled.
    pub(super) fn take_sessions(&self) -> Vec<ConnectionId> {
        let mut to_drive = ignore_poison(self.to_drive.lock());
        self.has_to_drive.store(false, Ordering::SeqCst);
        std::mem::take(&mut *to_drive)
    }

    /// Has the poller end the sessions that are open.
    pub(super) fn end_sessions(&self) {
        self.ends_sessions.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// For the poller: true if it is to end the sessions that are open.
    pub(super) fn take_end_of_sessions(&self) -> bool {
        self.ends_sessions.load(Ordering::SeqCst)
            && self.ends_sessions.swap(false, Ordering::SeqCst)
    }

    #[inline]
    fn has_to_flush(&self) -> bool {
        self.has_to_flush.load(Ordering::SeqCst)
    }

    /// True if the next turn has something to flush, or a session to drive.
    pub(super) fn has_scheduled(&self) -> bool {
        self.has_to_flush() || self.has_sessions()
    }

    /// True once the server shuts down: connections serve no further request.
    pub(super) fn is_shutting_down(&self) -> bool {
        self.shutdown.get() != Shutdown::Serving
    }

    /// Ends the poller's current wait for events, or the next one.
    pub(super) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            warn!(target: "poller.wake_failed", "Cannot wake the poller: {error}");
        }
        #[cfg(all(test, shuttle))]
        crate::sync::kernel::changed();
    }
}
