//! The page that master and workers share: one row for each worker, with what the other workers
//! may know of it.
//!
//! A row is a hint, never a promise: it may be out of date when it is read, and a worker that runs
//! foreign code can write anything to it. So a reader only chooses by it between what is correct
//! either way.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use super::shared_memory::{Shareable, SharedArray};

/// Rows of a table: more than a server has workers, those that are replaced included. Further
/// workers have no row.
const ROWS: usize = 1024;

/// The values are hints, so their order does not matter.
const RELAXED: Ordering = Ordering::Relaxed;

/// What one worker shows to the others. A cache line of its own, which it writes each turn.
#[repr(C, align(64))]
struct Row {
    /// [`NEVER_USED`], [`USED`] or [`UNUSED`].
    state: AtomicU32,
    /// How many more requests would find a free thread.
    free_threads: AtomicU32,
}

/// No worker has had the row, nor any row behind it.
const NEVER_USED: u32 = 0;
/// A worker has the row.
const USED: u32 = 1;
/// The worker that had the row has ended.
const UNUSED: u32 = 2;

// SAFETY: atomic numbers, for which zero bytes are 0.
unsafe impl Shareable for Row {}

/// The rows of all workers.
pub(crate) struct WorkerTable(SharedArray<Row>);

impl std::fmt::Debug for WorkerTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WorkerTable").finish_non_exhaustive()
    }
}

impl WorkerTable {
    /// A table without workers.
    ///
    /// # Errors
    /// As mmap(2).
    pub(crate) fn new() -> io::Result<WorkerTable> {
        SharedArray::new(ROWS).map(WorkerTable)
    }

    /// For the master: takes a row for a worker. `None` if all are used.
    pub(crate) fn add(&self) -> Option<usize> {
        let row = self.0.iter().position(|row| row.state.load(RELAXED) != USED)?;
        self.0[row].free_threads.store(0, RELAXED);
        self.0[row].state.store(USED, RELAXED);
        Some(row)
    }

    /// For the master: the worker has ended.
    pub(crate) fn remove(&self, row: usize) {
        if let Some(row) = self.0.get(row) {
            row.free_threads.store(0, RELAXED);
            row.state.store(UNUSED, RELAXED);
        }
    }

    /// For the worker of this row: shows how many more requests would find a free thread. Writes
    /// only if that has changed.
    pub(crate) fn set_free_threads(&self, row: usize, free_threads: usize) {
        let Some(row) = self.0.get(row) else { return };
        let free_threads = u32::try_from(free_threads).unwrap_or(u32::MAX);
        if row.free_threads.load(RELAXED) != free_threads {
            row.free_threads.store(free_threads, RELAXED);
        }
    }

    /// True if there is a worker besides that of this row.
    pub(crate) fn has_others(&self, own: usize) -> bool {
        self.others(own).next().is_some()
    }

    /// True if a worker besides that of this row shows a free thread.
    pub(crate) fn has_free_thread(&self, own: usize) -> bool {
        self.others(own).any(|row| row.free_threads.load(RELAXED) > 0)
    }

    /// Counts down the free threads of another worker by one, so that no other request is sent for
    /// the same thread before that worker shows its threads again. False if no thread is free.
    pub(crate) fn reserve_thread(&self, own: usize) -> bool {
        self.others(own).any(|row| {
            let less = |free: u32| free.checked_sub(1);
            row.free_threads.fetch_update(RELAXED, RELAXED, less).is_ok()
        })
    }

    /// The rows of the other workers. Stops at the first row that no worker has had, so that the
    /// rest of the table takes no memory.
    fn others(&self, own: usize) -> impl Iterator<Item = &Row> {
        let rows = self.0.iter().enumerate().map(|(at, row)| (at, row.state.load(RELAXED), row));
        rows.take_while(|(_, state, _)| *state != NEVER_USED)
            .filter(move |(at, state, _)| *at != own && *state == USED)
            .map(|(_, _, row)| row)
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use super::*;

    #[test]
    fn free_thread_of_another_worker_is_reserved_once() {
        let table = WorkerTable::new().unwrap();
        let [one, two] = [(); 2].map(|()| table.add().unwrap());
        table.set_free_threads(one, 5);
        assert!(!table.reserve_thread(one), "its own thread");
        table.set_free_threads(two, 2);
        assert!(table.has_free_thread(one));
        assert_eq!([(); 3].map(|()| table.reserve_thread(one)), [true, true, false]);
        assert!(!table.has_free_thread(one));
        table.set_free_threads(two, 1);
        assert!(table.reserve_thread(one), "it shows its threads again");
    }

    #[test]
    fn removed_worker_shows_nothing_and_leaves_its_row() {
        let table = WorkerTable::new().unwrap();
        let [one, two] = [(); 2].map(|()| table.add().unwrap());
        table.set_free_threads(two, 1);
        table.remove(two);
        assert!(!table.has_others(one) && !table.reserve_thread(one));
        assert_eq!(table.add(), Some(two));
        assert!(table.has_others(one) && !table.has_free_thread(one));
    }

    #[test]
    fn worker_beyond_the_table_has_no_row() {
        let table = WorkerTable::new().unwrap();
        assert_eq!((0..=ROWS).filter_map(|_| table.add()).count(), ROWS);
        table.set_free_threads(ROWS, 1);
        table.remove(ROWS);
        assert!(!table.has_free_thread(0));
    }
}
