//! Requests that have taken their connections. Another thread has the rows in which they began, so
//! each has a place in a table that all threads of the worker use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::request_entry::{self, ENTRY_WORDS, Entry};
use super::thread_row::{self, Answered, ThreadRow};
use super::{UPGRADES, WorkerSlot};
use crate::sys::clock::Moment;

/// Requests that are shown. Further ones are counted only.
pub(crate) const UPGRADE_ENTRIES: usize = 64;

// The offsets of a place in words.
const STATE: usize = 0;
const ENTRY: usize = 1;
const PLACE_WORDS: usize = ENTRY + ENTRY_WORDS;
/// The words of the table: the number of requests, and the places.
pub(super) const UPGRADES_WORDS: usize = 1 + UPGRADE_ENTRIES * PLACE_WORDS;

// The states of a place.
const FREE: u64 = 0;
const CLAIMED: u64 = 1;
const IN_USE: u64 = 2;

const RELAXED: Ordering = Ordering::Relaxed;

type Place = [AtomicU64; PLACE_WORDS];

/// A request that has taken its connection. It is shown until this is dropped.
#[derive(Debug)]
pub struct ShownUpgrade {
    slot: Arc<WorkerSlot>,
    /// Its place in the table, unless that was full.
    place: Option<usize>,
}

impl WorkerSlot {
    /// Moves the request of a thread's row to the table, as it takes its connection now. It counts
    /// as answered, with 101. The caller owns the row until this returns.
    pub fn show_upgrade(
        self: &Arc<Self>,
        row: &ThreadRow,
        received_bytes: u64,
        now: Moment,
    ) -> ShownUpgrade {
        self.upgrades_word().fetch_add(1, RELAXED);
        let begun = thread_row::last_begun(row.0);
        if let Some(request) = request_entry::read(begun) {
            count(row, &request, received_bytes, now);
        }
        row.end();
        ShownUpgrade { slot: self.clone(), place: self.claim_place(begun) }
    }

    fn claim_place(&self, request: &[AtomicU64; ENTRY_WORDS]) -> Option<usize> {
        (0..UPGRADE_ENTRIES).find(|&index| {
            let place = self.place(index);
            if place[STATE].compare_exchange(FREE, CLAIMED, Ordering::Acquire, RELAXED).is_err() {
                return false;
            }
            request_entry::copy(request, entry(place));
            place[STATE].store(IN_USE, Ordering::Release);
            true
        })
    }

    /// The number of requests that have taken their connections, and run.
    pub(super) fn upgraded(&self) -> u64 {
        self.upgrades_word().load(RELAXED)
    }

    /// Those that are shown.
    pub(super) fn upgraded_requests(&self) -> impl Iterator<Item = Entry> + '_ {
        let places = (0..UPGRADE_ENTRIES).map(|index| self.place(index));
        let used = places.filter(|place| place[STATE].load(Ordering::Acquire) == IN_USE);
        used.filter_map(|place| request_entry::read(entry(place)))
    }

    fn upgrades_word(&self) -> &AtomicU64 {
        &self.words[UPGRADES]
    }

    fn place(&self, index: usize) -> &Place {
        let place = &self.words[UPGRADES + 1 + index * PLACE_WORDS..];
        place.first_chunk().expect("a slot has a table of upgrades")
    }
}

impl Drop for ShownUpgrade {
    fn drop(&mut self) {
        if let Some(index) = self.place {
            self.slot.place(index)[STATE].store(FREE, Ordering::Release);
        }
        self.slot.upgrades_word().fetch_sub(1, RELAXED);
    }
}

fn entry(place: &Place) -> &[AtomicU64; ENTRY_WORDS] {
    place[ENTRY..].first_chunk().expect("a place has an entry")
}

fn count(row: &ThreadRow, request: &Entry, received_bytes: u64, now: Moment) {
    let [started_at, ready_at, began_at] = request.numbers.map(Moment::from_nanos);
    let line = request.line();
    let answered = Answered {
        method: &request.method,
        status: 101,
        received_bytes,
        sent_bytes: 0,
        started_at,
        ready_at,
        began_at: Some(began_at),
        ended_at: now,
    };
    row.count(answered, || &line);
}
