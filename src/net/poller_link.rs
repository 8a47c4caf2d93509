//! A connection's link to its poller, also while it is lent: whether the poller is blocked, how to
//! wake it, the write halves that its next turn flushes, and the worker's counters.

use std::sync::Arc;

use log::warn;
use mio::Waker;

use super::census::{Census, Question};
use super::memory_budget::MemoryBudget;
use super::shutdown::{AtomicShutdown, Shutdown};
use super::write_half::WriteHalf;
use crate::config::Budget;
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
    /// The requested stage of the shutdown.
    pub(super) shutdown: AtomicShutdown,
    /// How often each limit was reached.
    pub(super) counters: Counters,
    /// A question about all connections.
    pub(super) census: Question<Census>,
    /// The bytes that all connections hold.
    pub(super) memory_budget: Arc<MemoryBudget>,
}

impl PollerLink {
    pub(super) fn new(waker: Waker, budget: Budget) -> PollerLink {
        PollerLink {
            waker,
            is_blocked: AtomicBool::new(false),
            to_flush: Mutex::default(),
            shutdown: AtomicShutdown::new(),
            counters: Counters::default(),
            census: Question::new(),
            memory_budget: Arc::new(MemoryBudget::new(budget)),
        }
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
        ignore_poison(self.to_flush.lock()).push(write_half.clone());
        !self.is_blocked()
    }

    /// Takes the write halves that this turn flushes.
    pub(super) fn take_scheduled(&self) -> Vec<Arc<WriteHalf>> {
        std::mem::take(&mut *ignore_poison(self.to_flush.lock()))
    }

    /// True if the next turn has something to flush.
    pub(super) fn has_scheduled(&self) -> bool {
        !ignore_poison(self.to_flush.lock()).is_empty()
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
