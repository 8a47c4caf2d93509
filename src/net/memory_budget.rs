//! Counts the bytes that the connections of one worker hold together, and their limits: request
//! bodies and unsent responses, in memory and in temporary files.
//!
//! Each connection has its limits, but a thousand connections within them can still hold more than
//! the machine has. The budget neither blocks nor rejects. Owners report the bytes that they hold.
//! The steps that could need more (reading a request, running it, streaming a response) check the
//! limits first. So the totals are exact, and each connection exceeds a limit by at most one read.
//!
//! Memory has two limits. Over the *hard limit* (`--limit-memory`) requests are rejected and
//! stalled responses aborted. Over the *soft limit*, half of it, buffers get smaller.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::config::Budget;

/// The totals of one worker, and their limits.
#[derive(Debug)]
pub(in crate::net) struct MemoryBudget {
    /// Bytes held in memory.
    memory: AtomicUsize,
    /// Bytes held in temporary files.
    spool: AtomicU64,
    /// The hard limits in bytes.
    limit: Budget,
}

impl MemoryBudget {
    pub(super) fn new(limit: Budget) -> MemoryBudget {
        MemoryBudget { memory: AtomicUsize::new(0), spool: AtomicU64::new(0), limit }
    }

    /// Reports that an owner which held `from` bytes of memory holds `to` bytes now.
    pub(super) fn change_memory(&self, from: usize, to: usize) {
        // If `to` is less than `from`, both operations wrap around, and the sum is right.
        self.memory.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
    }

    fn change_spool(&self, from: u64, to: u64) {
        self.spool.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
    }

    /// Bytes held in memory.
    #[cfg(all(test, not(shuttle)))]
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// True if memory has passed its soft limit: buffers should be small.
    pub(super) fn is_over_soft_limit(&self) -> bool {
        self.memory.load(Ordering::Relaxed) > self.limit.memory / 2
    }

    /// True if memory has passed its hard limit.
    pub(super) fn is_over_hard_limit(&self) -> bool {
        self.memory.load(Ordering::Relaxed) > self.limit.memory
    }

    /// True if the temporary files have passed their limit.
    pub(super) fn is_over_spool_limit(&self) -> bool {
        self.spool.load(Ordering::Relaxed) > self.limit.spool
    }

    /// Counts `bytes` of a response that are about to be stored in a temporary file; false if there
    /// is no space for them. A quarter of the limit is kept for request bodies: a response that
    /// finds no space waits for its client, but a request would be rejected.
    pub(super) fn reserve_spool(&self, bytes: u64) -> bool {
        let limit = self.limit.spool - self.limit.spool / 4;
        let reserve = |spool: u64| spool.checked_add(bytes).filter(|spool| *spool <= limit);
        self.spool.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_ok()
    }

    /// Gives back what [`MemoryBudget::reserve_spool`] has counted.
    pub(super) fn release_spool(&self, bytes: u64) {
        self.change_spool(bytes, 0);
    }

    /// Bytes held in temporary files.
    #[cfg(all(test, not(shuttle)))]
    pub(super) fn spooled(&self) -> u64 {
        self.spool.load(Ordering::Relaxed)
    }

    /// True if a body of this many bytes could not be stored by a worker without other requests.
    pub(super) fn never_fits(&self, bytes: u64) -> bool {
        bytes > self.limit.spool
    }
}

/// The bytes that one connection has reported for its requests. Dropping it returns them to the
/// budget.
#[derive(Debug)]
pub(super) struct Reservation {
    /// The totals of the worker.
    memory_budget: Arc<MemoryBudget>,
    /// Bytes held in memory.
    memory: usize,
    /// Bytes held in temporary files.
    spool: u64,
}

impl Reservation {
    pub(super) fn new(memory_budget: Arc<MemoryBudget>) -> Reservation {
        Reservation { memory_budget, memory: 0, spool: 0 }
    }

    pub(super) fn memory_budget(&self) -> &MemoryBudget {
        &self.memory_budget
    }

    /// Reports what the connection holds now, in bytes.
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

    /// True if nothing is reserved.
    pub(super) fn is_empty(&self) -> bool {
        self.memory == 0 && self.spool == 0
    }

    /// True if the connection holds memory while memory is over its hard limit.
    pub(super) fn is_over_hard_limit(&self) -> bool {
        self.memory > 0 && self.memory_budget.is_over_hard_limit()
    }

    /// True if the connection has a file while the files are over their limit.
    pub(super) fn is_over_spool_limit(&self) -> bool {
        self.spool > 0 && self.memory_budget.is_over_spool_limit()
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
    fn dropped_reservation_is_given_back() {
        let memory_budget = Arc::new(MemoryBudget::new(Budget { memory: 100, spool: 10 }));
        let (mut one, mut two) =
            (Reservation::new(memory_budget.clone()), Reservation::new(memory_budget.clone()));
        one.set(50, 0);
        assert!(!memory_budget.is_over_soft_limit());
        two.set(30, 11);
        one.set(30, 0);
        assert!(
            memory_budget.is_over_soft_limit()
                && !memory_budget.is_over_hard_limit()
                && memory_budget.is_over_spool_limit()
        );
        assert!(
            two.is_over_spool_limit() && !one.is_over_spool_limit(),
            "a connection without a file is not rejected"
        );
        two.set(71, 10);
        assert!(
            memory_budget.is_over_hard_limit()
                && one.is_over_hard_limit()
                && !memory_budget.is_over_spool_limit()
        );
        drop(two);
        one.set(0, 0);
        assert_eq!(memory_budget.memory.load(Ordering::Relaxed), 0);
        assert_eq!(memory_budget.spool.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn responses_leave_a_quarter_of_the_spool_to_bodies() {
        let memory_budget = MemoryBudget::new(Budget { memory: 100, spool: 40 });
        for (bytes, expected) in [(31, false), (30, true), (1, false)] {
            assert_eq!(memory_budget.reserve_spool(bytes), expected, "{bytes}");
        }
        memory_budget.release_spool(30);
        memory_budget.change_spool(0, 35);
        assert!(!memory_budget.reserve_spool(1), "bodies fill it");
        memory_budget.change_spool(35, 0);
        assert!(memory_budget.reserve_spool(1));
    }

    #[test]
    fn unlimited_budget_is_never_exceeded() {
        let memory_budget = MemoryBudget::new(Budget { memory: usize::MAX, spool: u64::MAX });
        memory_budget.change_memory(0, usize::MAX / 4);
        assert!(
            !memory_budget.is_over_soft_limit()
                && !memory_budget.is_over_hard_limit()
                && !memory_budget.never_fits(u64::MAX)
                && memory_budget.reserve_spool(u64::MAX / 4)
        );
    }
}
