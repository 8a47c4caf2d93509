//! How much the connections of one worker hold together, and how much they may: bytes of requests and
//! responses in memory, bytes of requests in temporary files.
//!
//! Each connection has bounds of its own, but a thousand of them within their bounds can still be more than
//! the machine has. Nobody asks for permission here: who holds more says so, and the places that
//! could take on more (a request that is read, one that is to run, a producer that goes on) look
//! first. So the account is exact and its limits are passed by one read of each connection at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::config::Budget;

/// The account of one worker.
#[derive(Debug)]
pub(in crate::net) struct MemoryBudget {
    /// Bytes in memory.
    memory: AtomicUsize,
    /// Bytes in temporary files.
    spool: AtomicU64,
    limit: Budget,
}

impl MemoryBudget {
    pub(super) fn new(limit: Budget) -> MemoryBudget {
        MemoryBudget { memory: AtomicUsize::new(0), spool: AtomicU64::new(0), limit }
    }

    /// Somebody held `from` bytes of memory, and holds `to` bytes now.
    pub(super) fn change_memory(&self, from: usize, to: usize) {
        // Wraps around twice if it is less, which is the sum that it should be.
        self.memory.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
    }

    fn change_spool(&self, from: u64, to: u64) {
        self.spool.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
    }

    /// Half of the memory is taken: what can be done without should be.
    pub(super) fn is_tight(&self) -> bool {
        self.memory.load(Ordering::Relaxed) > self.limit.memory / 2
    }

    /// More than all of the memory is taken.
    pub(super) fn is_over(&self) -> bool {
        self.memory.load(Ordering::Relaxed) > self.limit.memory
    }

    /// More than all of the space for temporary files is taken.
    pub(super) fn is_spool_over(&self) -> bool {
        self.spool.load(Ordering::Relaxed) > self.limit.spool
    }

    /// True if so many bytes can never be stored, however few others there are.
    pub(super) fn never_fits(&self, bytes: u64) -> bool {
        bytes > self.limit.spool
    }
}

/// What one connection holds of requests; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    memory_budget: Arc<MemoryBudget>,
    memory: usize,
    spool: u64,
}

impl Reservation {
    pub(super) fn new(memory_budget: Arc<MemoryBudget>) -> Reservation {
        Reservation { memory_budget, memory: 0, spool: 0 }
    }

    pub(super) fn memory_budget(&self) -> &MemoryBudget {
        &self.memory_budget
    }

    /// The connection holds so much now.
    pub(super) fn set(&mut self, memory: usize, spool: u64) {
        if memory != self.memory {
            self.memory_budget.change_memory(self.memory, memory);
            self.memory = memory;
        }
        if spool != self.spool {
            self.memory_budget.change_spool(self.spool, spool);
            self.spool = spool;
        }
    }

    /// True if the account knows of nothing.
    pub(super) fn is_nothing(&self) -> bool {
        self.memory == 0 && self.spool == 0
    }

    /// True if the connection holds memory while there is too little.
    pub(super) fn is_over(&self) -> bool {
        self.memory > 0 && self.memory_budget.is_over()
    }

    /// True if the connection has a file while there is too little space.
    pub(super) fn is_spool_over(&self) -> bool {
        self.spool > 0 && self.memory_budget.is_spool_over()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_given_back() {
        let memory_budget = Arc::new(MemoryBudget::new(Budget { memory: 100, spool: 10 }));
        let (mut one, mut two) =
            (Reservation::new(memory_budget.clone()), Reservation::new(memory_budget.clone()));
        one.set(50, 0);
        assert!(!memory_budget.is_tight());
        two.set(30, 11);
        one.set(30, 0);
        assert!(
            memory_budget.is_tight() && !memory_budget.is_over() && memory_budget.is_spool_over()
        );
        assert!(two.is_spool_over() && !one.is_spool_over(), "who has no file is not refused");
        two.set(71, 10);
        assert!(memory_budget.is_over() && one.is_over() && !memory_budget.is_spool_over());
        drop(two);
        one.set(0, 0);
        assert_eq!(memory_budget.memory.load(Ordering::Relaxed), 0);
        assert_eq!(memory_budget.spool.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_limit_is_never_reached() {
        let memory_budget = MemoryBudget::new(Budget { memory: usize::MAX, spool: u64::MAX });
        memory_budget.change_memory(0, usize::MAX / 4);
        assert!(
            !memory_budget.is_tight()
                && !memory_budget.is_over()
                && !memory_budget.never_fits(u64::MAX)
        );
    }
}
