//! The last requests that ran longer than `--slow-request`, with their stacks.
//!
//! A ring of entries. An entry has an odd version while it is written: a worker that dies in the
//! middle leaves an entry that is not read.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::WorkerSlot;
use super::request_entry::{self, ENTRY_WORDS, Entry, Shown, read_bytes, write_bytes};

/// How many requests are kept.
pub(super) const SLOW_ENTRIES: usize = 20;
/// Bytes of a stack that are kept: those of its innermost frames.
const STACK_BYTES: usize = 1024;

// The offsets of an entry in words.
const VERSION: usize = 0;
const REQUEST: usize = 1;
const STACK_LENGTH: usize = REQUEST + ENTRY_WORDS;
const STACK: usize = STACK_LENGTH + 1;
const SLOW_WORDS: usize = STACK + STACK_BYTES / 8;

/// The words of the table: how many requests were kept so far, and the entries.
pub(super) const TABLE_WORDS: usize = 1 + SLOW_ENTRIES * SLOW_WORDS;

const RELAXED: Ordering = Ordering::Relaxed;

/// A request that is kept, for [`WorkerSlot::keep_slow`].
#[derive(Debug, Clone, Copy)]
pub struct Kept<'a> {
    /// Its method, from a client.
    pub method: &'a [u8],
    /// Its target, from a client.
    pub target: &'a [u8],
    /// How long it had run, in nanoseconds.
    pub age_ns: u64,
    /// How long it had waited for a thread, in nanoseconds.
    pub queue_ns: u64,
    /// When: nanoseconds of the monotonic clock.
    pub at_ns: u64,
    /// The stack, innermost frame first; empty if there is none.
    pub stack: &'a str,
}

/// A request that was kept, as the master reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct SlowStack {
    /// The method, from a client.
    pub method: Vec<u8>,
    /// The target, from a client.
    pub target: Vec<u8>,
    /// How long it had run, in seconds.
    pub age: f64,
    /// How long it had waited for a thread, in seconds.
    pub queue: f64,
    /// How long ago that was, in seconds.
    pub ago: f64,
    /// The stack, innermost frame first; empty if there is none.
    pub stack: String,
}

impl WorkerSlot {
    /// Keeps a slow request in place of the one that was kept first. Only one thread at a time may
    /// call it.
    pub fn keep_slow(&self, kept: Kept<'_>) {
        let count = self.slow_table()[0].load(RELAXED);
        let entry = self.slow_entry((count % SLOW_ENTRIES as u64) as usize);
        let version = count.wrapping_add(1).wrapping_mul(2);
        entry[VERSION].store(version - 1, RELAXED);
        fence(Ordering::Release);
        let Kept { method, target, age_ns, queue_ns, at_ns, stack } = kept;
        let numbers = [age_ns, queue_ns, at_ns];
        let line = [method, b" ", target].concat();
        let request = Shown { line: &line, method_bytes: method.len(), numbers };
        request_entry::write(request_part(entry), request);
        let stack = &stack.as_bytes()[..stack.len().min(STACK_BYTES)];
        entry[STACK_LENGTH].store(stack.len() as u64, RELAXED);
        write_bytes(&entry[STACK..], stack);
        entry[VERSION].store(version, Ordering::Release);
        self.slow_table()[0].store(count.wrapping_add(1), RELAXED);
    }

    /// The slow requests that are kept, the last one first. `now_ns` is the time of the monotonic
    /// clock.
    pub(super) fn kept_slow(&self, now_ns: u64) -> Vec<SlowStack> {
        let mut kept: Vec<_> =
            (0..SLOW_ENTRIES).filter_map(|index| read(self.slow_entry(index))).collect();
        kept.sort_unstable_by_key(|(version, ..)| std::cmp::Reverse(*version));
        let slow = |(_, entry, stack): (u64, Entry, String)| {
            let [age, queue, at] = entry.numbers;
            let seconds = |nanos: u64| nanos as f64 / 1e9;
            let target = entry.marked_target();
            let (age, queue, ago) =
                (seconds(age), seconds(queue), seconds(now_ns.saturating_sub(at)));
            SlowStack { method: entry.method, target, age, queue, ago, stack }
        };
        kept.into_iter().map(slow).collect()
    }

    fn slow_entry(&self, index: usize) -> &[AtomicU64] {
        let start = 1 + index * SLOW_WORDS;
        &self.slow_table()[start..start + SLOW_WORDS]
    }
}

fn request_part(entry: &[AtomicU64]) -> &[AtomicU64; ENTRY_WORDS] {
    entry[REQUEST..].first_chunk().expect("an entry has all its parts")
}

/// The version, the request and the stack of an entry. `None` if it is being written.
fn read(entry: &[AtomicU64]) -> Option<(u64, Entry, String)> {
    let version = entry[VERSION].load(Ordering::Acquire);
    if version == 0 || !version.is_multiple_of(2) {
        return None;
    }
    let request = request_entry::read(request_part(entry))?;
    let length = usize::try_from(entry[STACK_LENGTH].load(RELAXED)).ok()?;
    let mut stack = read_bytes(&entry[STACK..]);
    stack.truncate(length);
    fence(Ordering::Acquire);
    let is_whole = entry[VERSION].load(RELAXED) == version;
    is_whole.then(|| (version, request, String::from_utf8_lossy(&stack).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(slot: &WorkerSlot, number: u64, stack: &str) {
        let target = format!("/{number}");
        let (age_ns, queue_ns, at_ns) = (2_500_000_000, 1_000_000_000, number * 1_000_000_000);
        let target = target.as_bytes();
        slot.keep_slow(Kept { method: b"GET", target, age_ns, queue_ns, at_ns, stack });
    }

    #[test]
    fn last_requests_are_kept_with_their_stacks() {
        let slot = WorkerSlot::new(1).unwrap();
        assert!(slot.kept_slow(0).is_empty());
        keep(&slot, 1, "a.py:1 in f, b.py:2 in g");
        let expected = SlowStack {
            method: b"GET".to_vec(),
            target: b"/1".to_vec(),
            age: 2.5,
            queue: 1.0,
            ago: 3.0,
            stack: "a.py:1 in f, b.py:2 in g".to_owned(),
        };
        assert_eq!(slot.kept_slow(4_000_000_000), [expected]);
        for number in 2..=30 {
            keep(&slot, number, &"x".repeat(3000));
        }
        let kept = slot.kept_slow(0);
        let targets: Vec<_> = kept.iter().map(|slow| slow.target.clone()).collect();
        let expected: Vec<_> = (11..=30).rev().map(|n| format!("/{n}").into_bytes()).collect();
        assert_eq!(targets, expected);
        assert!(kept.iter().all(|slow| slow.stack.len() == STACK_BYTES));
    }

    #[test]
    fn entry_that_is_being_written_is_left_out() {
        let slot = WorkerSlot::new(1).unwrap();
        keep(&slot, 1, "a");
        keep(&slot, 2, "b");
        slot.slow_entry(0)[VERSION].store(41, RELAXED);
        assert_eq!(slot.kept_slow(0).len(), 1);
    }

    #[test]
    fn words_that_no_writer_makes_are_read_without_a_panic() {
        let slot = WorkerSlot::new(1).unwrap();
        for word in slot.slow_table() {
            word.store(u64::MAX - 1, RELAXED);
        }
        for slow in slot.kept_slow(0) {
            assert!(slow.stack.len() <= 3 * STACK_BYTES);
        }
        keep(&slot, 1, "a");
    }
}
