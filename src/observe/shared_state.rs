//! What a worker shows to its master: a slot of shared memory for each worker, with counters,
//! histograms, and a table of requests.
//!
//! The master makes the slot before it forks the worker, and reads it at any time: the worker takes
//! no part in that, so it may hang, be stopped, or have died. Everything is a number that is
//! written with relaxed atomics. A worker runs foreign code, which can write anything to its slot,
//! so the master takes what it reads as data.
//!
//! - [`thread_row`] is the row of a thread: its request and its counts,
//! - [`request_entry`] is a request that is read without waiting, and never in parts,
//! - [`slow_table`] has the last slow requests with their stacks,
//! - [`upgrades`] are requests that have taken their connections,
//! - [`histogram`] counts durations, [`totals`] are sums over all workers,
//! - [`snapshot`] is what the master reads.

mod histogram;
mod request_entry;
mod slow_table;
mod snapshot;
mod thread_row;
mod totals;
mod upgrades;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::sys::shared_memory::SharedArray;

pub use histogram::{BOUNDS, BUCKETS, Histogram};
pub(crate) use request_entry::Shown;
pub use slow_table::{Kept, SlowStack};
pub use snapshot::{Request, Slow, Snapshot};
pub(crate) use thread_row::Answered;
pub use thread_row::{Phase, ThreadRow, enter_phase};
pub use totals::{Body, CLASSES, METHODS, Totals};
pub use upgrades::ShownUpgrade;

use histogram::add;
use request_entry::ENTRY_WORDS;
use slow_table::TABLE_WORDS;
use thread_row::ROW_WORDS;
use upgrades::UPGRADES_WORDS;

/// A request that takes at least this long is shown among the slow ones.
pub const SLOW_REQUEST: Duration = Duration::from_secs(1);

/// The number of limits whose reaching is counted.
pub const LIMITS: usize = 41;

/// Requests of the queue that are shown.
pub(crate) const QUEUE_ENTRIES: usize = 16;

/// The states in which a poller counts its connections.
pub const CONNECTION_STATES: [&str; 5] = ["idle", "reading", "active", "writing", "closing"];

// The offsets of a slot in words.
const QUEUED: usize = 0;
const QUEUE_SHOWN: usize = 1;
const ACCEPTED: usize = 2;
const CONNECTIONS: usize = 3;
const REACHED: usize = CONNECTIONS + CONNECTION_STATES.len();
const QUEUE_TABLE: usize = REACHED + LIMITS;
const UPGRADES: usize = (QUEUE_TABLE + QUEUE_ENTRIES * ENTRY_WORDS).next_multiple_of(16);
const SLOW_TABLE: usize = (UPGRADES + UPGRADES_WORDS).next_multiple_of(16);
const ROWS: usize = (SLOW_TABLE + TABLE_WORDS).next_multiple_of(16);

const RELAXED: Ordering = Ordering::Relaxed;

/// The slots whose rows threads use, which stay mapped until the process ends. The list is for leak
/// checkers: what it names is in use.
static IN_USE: Mutex<Vec<&'static Arc<WorkerSlot>>> = Mutex::new(Vec::new());

/// The slot of one worker.
#[derive(Debug)]
pub struct WorkerSlot {
    words: SharedArray<AtomicU64>,
    threads: usize,
}

impl WorkerSlot {
    /// For the master: a slot for a worker with this many worker threads.
    ///
    /// # Errors
    /// As mmap(2).
    pub fn new(threads: usize) -> io::Result<WorkerSlot> {
        let rows = threads.saturating_add(1).saturating_mul(ROW_WORDS);
        Ok(WorkerSlot { words: SharedArray::new(ROWS.saturating_add(rows))?, threads })
    }

    /// The rows of the worker threads. To be called once, as their slot is never freed.
    pub fn thread_rows(self: &Arc<Self>) -> Vec<ThreadRow> {
        (0..self.threads).map(|thread| self.thread_row(thread)).collect()
    }

    fn thread_row(self: &Arc<Self>, thread: usize) -> ThreadRow {
        let slot: &'static Arc<WorkerSlot> = Box::leak(Box::new(self.clone()));
        IN_USE.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        ThreadRow(slot.row(thread.min(self.threads)))
    }

    /// The row of the thread that polls.
    pub fn poller_row(self: &Arc<Self>) -> ThreadRow {
        self.thread_row(self.threads)
    }

    #[inline]
    fn row(&self, index: usize) -> &thread_row::Words {
        self.words[ROWS + index * ROW_WORDS..].first_chunk().expect("a slot has all its rows")
    }

    fn queue_entry(&self, index: usize) -> &[AtomicU64; ENTRY_WORDS] {
        let entry = &self.words[QUEUE_TABLE + index * ENTRY_WORDS..];
        entry.first_chunk().expect("a slot has a table of its queue")
    }

    fn slow_table(&self) -> &[AtomicU64] {
        &self.words[SLOW_TABLE..SLOW_TABLE + TABLE_WORDS]
    }

    /// Counts how often a limit was reached, by its number among the counters.
    pub(super) fn count_limit(&self, limit: usize, number: u64) {
        self.words[REACHED + limit].fetch_add(number, RELAXED);
    }

    /// For the poller: counts a connection that was accepted.
    pub(crate) fn count_accepted(&self) {
        add(&self.words[ACCEPTED], 1);
    }

    /// For the poller: shows how many connections are in each of [`CONNECTION_STATES`].
    pub(crate) fn show_connections(&self, counts: [usize; CONNECTION_STATES.len()]) {
        for (word, count) in self.words[CONNECTIONS..].iter().zip(counts) {
            word.store(count as u64, RELAXED);
        }
    }

    /// For the poller: shows how many requests wait for a thread.
    #[inline]
    pub fn show_queued(&self, queued: usize) {
        self.words[QUEUED].store(queued as u64, RELAXED);
    }

    /// For the poller: shows the requests that wait, the one that runs next first.
    pub(crate) fn show_queue<'a>(&self, requests: impl Iterator<Item = Shown<'a>>) {
        let mut shown = 0;
        for (index, request) in requests.take(QUEUE_ENTRIES).enumerate() {
            request_entry::write(self.queue_entry(index), request);
            shown = index + 1;
        }
        self.words[QUEUE_SHOWN].store(shown as u64, RELAXED);
    }
}

impl Totals {
    /// Adds what a worker has counted.
    pub fn add(&mut self, slot: &WorkerSlot) {
        (0..=slot.threads).for_each(|index| thread_row::add_to(self, slot.row(index)));
        self.accepted = self.accepted.wrapping_add(slot.words[ACCEPTED].load(RELAXED));
        for (total, count) in self.limits.iter_mut().zip(&slot.words[REACHED..]) {
            *total = total.wrapping_add(count.load(RELAXED));
        }
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests;
