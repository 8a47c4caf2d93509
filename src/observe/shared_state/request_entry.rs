//! A description of a request in shared memory, which one thread replaces while other processes
//! read it.
//!
//! There are two copies and a version. The writer fills the copy that is not shown, then increments
//! the version, which shows it. So a complete copy is shown at any time, also if the writer is
//! stopped, or killed, in the middle of its work. A reader whose copy was replaced meanwhile finds
//! another version, and reads again.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Bytes of a method that are shown.
const METHOD_BYTES: usize = 16;
/// Bytes of a target that are shown.
pub(crate) const TARGET_BYTES: usize = 128;
/// Bytes that hold both, and the space between them: one more word.
const LINE_BYTES: usize = METHOD_BYTES + 8 + TARGET_BYTES;

/// The words of one copy: three numbers, the lengths, and the bytes.
const COPY_WORDS: usize = 4 + LINE_BYTES / 8;
/// The words of an entry: the version and two copies.
pub(super) const ENTRY_WORDS: usize = 1 + 2 * COPY_WORDS;

/// How often a reader tries again. Each failure means that the writer has begun another request in
/// the nanoseconds that the reader took.
const MAX_READS: usize = 100;

const RELAXED: Ordering = Ordering::Relaxed;

/// A request, as a worker shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// The method, a space, and the target.
    pub(crate) line: &'a [u8],
    pub(crate) method_bytes: usize,
    /// Three numbers, whose meaning depends on the table.
    pub(crate) numbers: [u64; 3],
}

/// A request that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The method, cut to [`METHOD_BYTES`].
    pub(crate) method: Vec<u8>,
    /// The target, cut to [`TARGET_BYTES`].
    pub(crate) target: Vec<u8>,
    /// The target was longer.
    pub(crate) is_cut: bool,
    pub(crate) numbers: [u64; 3],
    /// Changes with each request.
    pub(crate) version: u64,
}

/// Shows a request in place of the one before. Only one thread at a time may write to the entry.
/// Returns the new version.
// Otherwise a call copies the request to the stack, which takes half as long as to show it.
#[inline(always)]
pub(super) fn write(entry: &[AtomicU64; ENTRY_WORDS], request: Shown<'_>) -> u64 {
    let version = entry[0].load(RELAXED).wrapping_add(1);
    // A reader that sees a byte of this copy also sees that the version has changed since the copy
    // was shown last.
    fence(Ordering::Release);
    let copy = copy_of(entry, version);
    let [first, second, third] = request.numbers;
    copy[0].store(first, RELAXED);
    copy[1].store(second, RELAXED);
    copy[2].store(third, RELAXED);
    let Shown { line, method_bytes, .. } = request;
    copy[3].store((line.len() as u64) << 32 | method_bytes as u64, RELAXED);
    write_bytes(&copy[4..], &line[..line.len().min(LINE_BYTES)]);
    entry[0].store(version, Ordering::Release);
    version
}

/// Shows the request of one entry in another one. No other thread may write to either.
pub(super) fn copy(from: &[AtomicU64; ENTRY_WORDS], to: &[AtomicU64; ENTRY_WORDS]) {
    let version = to[0].load(RELAXED).wrapping_add(1);
    fence(Ordering::Release);
    let shown = copy_of(from, from[0].load(RELAXED));
    for (word, value) in copy_of(to, version).iter().zip(shown) {
        word.store(value.load(RELAXED), RELAXED);
    }
    to[0].store(version, Ordering::Release);
}

/// Reads the request that is shown; `None` if the writer replaces it faster than it is read, or if
/// none was shown yet.
pub(super) fn read(entry: &[AtomicU64; ENTRY_WORDS]) -> Option<Entry> {
    for _ in 0..MAX_READS {
        let version = entry[0].load(Ordering::Acquire);
        if version == 0 {
            return None;
        }
        let copy: [u64; COPY_WORDS] =
            std::array::from_fn(|at| copy_of(entry, version)[at].load(RELAXED));
        fence(Ordering::Acquire);
        if entry[0].load(RELAXED) == version {
            return Some(decode(&copy, version));
        }
    }
    None
}

#[inline]
fn copy_of(entry: &[AtomicU64; ENTRY_WORDS], version: u64) -> &[AtomicU64; COPY_WORDS] {
    let [_, copies @ ..] = entry;
    let copy = if version.is_multiple_of(2) { copies.first_chunk() } else { copies.last_chunk() };
    copy.expect("an entry has two copies")
}

/// Fills words with bytes. Bytes of the last word that are left over are zero.
#[inline]
pub(super) fn write_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let (chunks, rest) = bytes.as_chunks();
    let mut words = words.iter();
    for (chunk, word) in chunks.iter().zip(words.by_ref()) {
        word.store(u64::from_le_bytes(*chunk), RELAXED);
    }
    if let (Some(word), false) = (words.next(), rest.is_empty()) {
        let last = match bytes.last_chunk() {
            // Some of these bytes are in the word before.
            Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
            None => part_of_word(rest),
        };
        word.store(last, RELAXED);
    }
}

/// The word that begins with these bytes, 7 at most. Without a loop: it takes less for the short
/// lines of most requests.
#[inline]
fn part_of_word(bytes: &[u8]) -> u64 {
    if let (Some(start), Some(end)) = (bytes.first_chunk(), bytes.last_chunk()) {
        // Some bytes are in both halves.
        let [start, end] = [start, end].map(|half| u64::from(u32::from_le_bytes(*half)));
        return start | end << (8 * (bytes.len() - 4));
    }
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The bytes of some words.
pub(super) fn read_bytes(words: &[AtomicU64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.load(RELAXED).to_le_bytes()).collect()
}

impl Entry {
    /// The method, a space, and the target, as they were read.
    pub(super) fn line(&self) -> Vec<u8> {
        [&self.method[..], b" ", &self.target].concat()
    }

    /// The target, which ends with `...` if it was cut.
    pub(super) fn marked_target(&self) -> Vec<u8> {
        let mut target = self.target.clone();
        if self.is_cut {
            target.extend_from_slice(b"...");
        }
        target
    }
}

/// Another process has written the words, which may be anything.
fn decode(copy: &[u64; COPY_WORDS], version: u64) -> Entry {
    let [first, second, third, lengths, line @ ..] = copy;
    let line: Vec<u8> = line.iter().flat_map(|word| word.to_le_bytes()).collect();
    let method_bytes = (lengths & u64::from(u32::MAX)) as usize;
    let target_start = method_bytes.saturating_add(1);
    let target_bytes = ((lengths >> 32) as usize).saturating_sub(target_start);
    let method = &line[..method_bytes.min(METHOD_BYTES)];
    let target = line.get(target_start..).unwrap_or_default();
    let target = &target[..target.len().min(target_bytes).min(TARGET_BYTES)];
    Entry {
        method: method.to_vec(),
        target: target.to_vec(),
        is_cut: target.len() < target_bytes,
        numbers: [*first, *second, *third],
        version,
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use super::*;

    fn entry() -> [AtomicU64; ENTRY_WORDS] {
        [const { AtomicU64::new(0) }; ENTRY_WORDS]
    }

    fn show(entry: &[AtomicU64; ENTRY_WORDS], method: &str, target: &str, numbers: [u64; 3]) {
        let line = format!("{method} {target}");
        write(entry, Shown { line: line.as_bytes(), method_bytes: method.len(), numbers });
    }

    #[test]
    fn request_is_read_as_it_was_written() {
        let entry = entry();
        assert_eq!(read(&entry), None);
        for (length, method) in
            (0..20).chain([127, 128, 129, 8000]).zip(["", "G", "GET"].iter().cycle())
        {
            let target: String = ('!'..='~').cycle().take(length).collect();
            show(&entry, method, &target, [1, 2, 3]);
            let read = read(&entry).unwrap();
            assert_eq!((read.method.as_slice(), read.numbers), (method.as_bytes(), [1, 2, 3]));
            assert_eq!(read.target, &target.as_bytes()[..length.min(TARGET_BYTES)]);
            assert_eq!(read.is_cut, length > TARGET_BYTES);
        }
        for (method_length, shown_of_target, is_cut) in
            [(16, "*/", false), (50, "*/", false), (150, "*", true), (152, "", true)]
        {
            show(&entry, &"X".repeat(method_length), "*/", [0; 3]);
            let read = read(&entry).unwrap();
            assert_eq!(read.method, "X".repeat(METHOD_BYTES).into_bytes());
            assert_eq!((read.target, read.is_cut), (shown_of_target.into(), is_cut));
        }
    }

    #[test]
    fn writer_that_stops_in_the_middle_leaves_the_request_before() {
        let entry = entry();
        show(&entry, "GET", "/first", [1; 3]);
        let before = read(&entry).unwrap();
        for word in copy_of(&entry, before.version + 1) {
            word.store(u64::MAX, RELAXED);
        }
        assert_eq!(read(&entry), Some(before));
    }

    #[test]
    fn words_that_no_writer_makes_are_read_without_a_panic() {
        let entry = entry();
        for word in &entry {
            word.store(u64::MAX, RELAXED);
        }
        let shown = read(&entry).unwrap();
        assert_eq!((shown.method.len(), shown.target.len()), (METHOD_BYTES, 0));
        for copy in [1, 2] {
            copy_of(&entry, copy)[3].store(u64::from(u32::MAX) << 32 | 3, RELAXED);
        }
        let shown = read(&entry).unwrap();
        assert_eq!((shown.method.len(), shown.target.len()), (3, TARGET_BYTES));
    }

    #[test]
    fn concurrent_reader_never_sees_parts_of_two_requests() {
        let entry = entry();
        let is_done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 0..50_000_u64 {
                    let letter = char::from(b'a' + (number % 26) as u8).to_string();
                    show(&entry, &letter.repeat(3), &letter.repeat(100), [number; 3]);
                }
                is_done.store(true, RELAXED);
            });
            while !is_done.load(RELAXED) {
                let Some(Entry { method, target, numbers, .. }) = read(&entry) else { continue };
                let letter = b'a' + (numbers[0] % 26) as u8;
                assert!(numbers.iter().all(|&number| number == numbers[0]));
                assert!(method.iter().chain(&target).all(|&byte| byte == letter));
            }
            // The thread sanitizer sees that a join comes after the thread, but not the end of the
            // scope.
            writer.join().unwrap();
        });
    }
}
