//! What other threads may ask of the loop while one of them turns it.

use std::sync::Arc;

use log::warn;
use mio::Waker;

use super::super::connection::Connection;
use super::super::memory_budget::MemoryBudget;
use super::super::write_half::WriteHalf;
use crate::config::Budget;
use crate::observe::Counters;
use crate::sync::{AtomicBool, Mutex, Ordering, ignore_poison};

/// What other threads may ask of the poller.
#[derive(Debug)]
pub struct PollerHandle {
    waker: Waker,
    homecomers: Mutex<Vec<Box<Connection>>>,
    /// Outlets of lent connections with something to be sent.
    pub(super) held: Mutex<Vec<Arc<WriteHalf>>>,
    /// The poller is, or is about to be, blocked in the kernel.
    pub(super) polling: AtomicBool,
    stop: AtomicBool,
    /// Stopping may take its time: see [`PollerHandle::retire`].
    gently: AtomicBool,
    /// How often each bound was reached.
    pub counters: Counters,
    /// What all connections hold.
    pub(in crate::net) memory_budget: Arc<MemoryBudget>,
}

impl PollerHandle {
    pub(super) fn new(waker: Waker, budget: Budget) -> PollerHandle {
        PollerHandle {
            waker,
            homecomers: Mutex::default(),
            held: Mutex::default(),
            polling: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            gently: AtomicBool::new(false),
            counters: Counters::default(),
            memory_budget: Arc::new(MemoryBudget::new(budget)),
        }
    }

    /// Brings a connection home whose request has been answered, or whose response was aborted. What is in
    /// its queue is sent by the poller's next turn, which [`PollerHandle::wake_for_returned`] brings about.
    pub fn return_connection(&self, connection: Box<Connection>) {
        ignore_poison(self.homecomers.lock()).push(connection);
    }

    /// Has the next turn send what waits in a write half. Returns false if whoever polls is blocked and would not
    /// see to it.
    pub(in crate::net) fn hold(&self, write_half: &Arc<WriteHalf>) -> bool {
        ignore_poison(self.held.lock()).push(write_half.clone());
        !self.is_blocked()
    }

    /// True if the poller is blocked in the kernel, or about to be.
    pub(in crate::net) fn is_blocked(&self) -> bool {
        self.polling.load(Ordering::SeqCst)
    }

    /// Wakes the poller up if connections wait for it to turn.
    pub fn wake_for_returned(&self) {
        if self.is_blocked() && self.has_homecomers() {
            self.wake();
        }
    }

    /// Stops accepting and lets the connections run out.
    pub fn stop(&self) {
        self.gently.store(false, Ordering::SeqCst);
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// As [`PollerHandle::stop`], for a process that others replace: a connection that waits for its next
    /// request is not closed under a client that may be sending it just now. It ends with the response to
    /// that request, or when it has been idle for as long as it may.
    pub fn retire(&self) {
        self.gently.store(true, Ordering::SeqCst);
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(super) fn is_gentle(&self) -> bool {
        self.gently.load(Ordering::SeqCst)
    }

    /// True once [`PollerHandle::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Ends the current or the next wait of [`Poller::turn`](super::Poller::turn).
    pub fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            warn!("cannot wake the poller: {error}");
        }
        #[cfg(all(test, shuttle))]
        crate::sync::kernel::changed();
    }

    pub(super) fn take(&self) -> Vec<Box<Connection>> {
        std::mem::take(&mut *ignore_poison(self.homecomers.lock()))
    }

    pub(super) fn has_homecomers(&self) -> bool {
        !ignore_poison(self.homecomers.lock()).is_empty()
    }

    pub(super) fn has_held(&self) -> bool {
        !ignore_poison(self.held.lock()).is_empty()
    }
}
