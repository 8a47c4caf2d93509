//! Writes the lines of a log to its sink: at once while the sink takes them, otherwise from a
//! bounded buffer as soon as it takes them again.
//!
//! No thread waits for the reader of a log. Lines that the sink does not take stay in the buffer;
//! later calls write them in order. Lines beyond the bound are dropped and counted. One thread at a
//! time writes, without holding the lock: meanwhile other threads add lines, and the application
//! can fork.
//!
//! [`registry`] has all writers of the process, for a fork.

mod registry;

pub(super) use registry::{OwnedWriter, hold_at_fork};

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::lost_lines;
use super::sink::Sink;
use crate::sync::ignore_poison;

/// Lines are dropped while this many bytes are buffered.
pub(super) const DROP_THRESHOLD_BYTES: usize = 256 * 1024;
/// A buffer that has become larger than this is freed once it is empty.
const MAX_EMPTY_BUFFER_BYTES: usize = 128 * 1024;
/// How many batches a thread writes for others. The rest stays for the next call.
const MAX_BATCHES: usize = 8;
/// How long [`LogWriter::write_through`] waits for a thread that is writing. Only the first one
/// waits: until that thread is done, the others leave their lines in the buffer at once.
const TURN_TIMEOUT: Duration = Duration::from_millis(50);

/// The writer of one log, shared by all threads.
#[derive(Debug)]
pub(super) struct LogWriter {
    state: Mutex<State>,
    /// Notified when a thread has written, while `State::waiters` is not zero.
    written: Condvar,
    /// Lines stay in the buffer because the sink does not take them.
    has_backlog: AtomicBool,
    /// The reader has not made room when it was given time.
    is_stalled: AtomicBool,
    /// The process was forked after the log was opened.
    was_forked: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// The destination; standard error before the log is open. Shared, so that a write does not
    /// hold the lock.
    sink: Option<Arc<Sink>>,
    /// Text that was not written yet, in whole lines except for the rest of one at its start.
    buffer: Vec<u8>,
    /// A thread is writing.
    is_writing: bool,
    /// That thread has not come back for [`TURN_TIMEOUT`].
    is_slow: bool,
    /// Threads that wait for it.
    waiters: usize,
    /// Whether the last byte written was inside a line.
    ends_mid_line: bool,
    /// The rest of that line was lost.
    is_torn: bool,
    /// Lines that were dropped since the last write.
    dropped: u64,
    /// Lines lost since writing began to fail; `None` while it works.
    lost: Option<u64>,
    /// The log was closed: the writer waits to be used again.
    is_free: bool,
}

/// The result of a write that its caller may report.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All lines were written, or the sink takes no more now.
    Quiet,
    /// Lines are being lost since this write, for this reason.
    Failing(String),
    /// The sink has taken everything again; this many lines were lost before.
    Recovered(u64),
}

impl LogWriter {
    pub(super) const fn new() -> LogWriter {
        LogWriter {
            state: Mutex::new(State::NEW),
            written: Condvar::new(),
            has_backlog: AtomicBool::new(false),
            is_stalled: AtomicBool::new(false),
            was_forked: AtomicBool::new(false),
        }
    }

    /// Has `add` append text with this many line ends to the buffer, unless it is full. Returns how
    /// many bytes are buffered.
    pub(super) fn append(&self, line_ends: usize, add: impl FnOnce(&mut Vec<u8>)) -> usize {
        let mut state = self.lock();
        if state.buffer.len() >= DROP_THRESHOLD_BYTES {
            state.dropped += line_ends as u64;
        } else {
            add(&mut state.buffer);
        }
        state.buffer.len()
    }

    /// Writes what is buffered as far as the sink takes it at once. Does nothing if another thread
    /// is writing.
    pub(super) fn write(&self) -> Outcome {
        let state = self.lock();
        if state.is_writing { Outcome::Quiet } else { self.write_locked(state) }
    }

    /// As [`LogWriter::write`], and waits for another thread that is writing. So the text is with
    /// the kernel when the call returns, unless the sink is full or very slow.
    pub(super) fn write_through(&self) -> Outcome {
        let mut state = self.lock();
        if state.is_writing && !state.is_slow {
            let since = Instant::now();
            state.waiters += 1;
            while state.is_writing
                && let Some(left) = TURN_TIMEOUT.checked_sub(since.elapsed())
            {
                state = ignore_poison(self.written.wait_timeout(state, left)).0;
            }
            state.waiters -= 1;
            state.is_slow = state.is_writing;
        }
        if state.is_writing { Outcome::Quiet } else { self.write_locked(state) }
    }

    /// As [`LogWriter::write_through`], but gives the reader up to `timeout` to make room. Other
    /// threads do not wait for this one meanwhile. A reader that did not make room gets no more
    /// time until it has read everything.
    pub(super) fn write_with_timeout(&self, timeout: Duration) -> Outcome {
        let outcome = self.write_through();
        if !self.has_backlog() {
            self.is_stalled.store(false, Ordering::Relaxed);
        } else if outcome == Outcome::Quiet && !self.is_stalled.load(Ordering::Relaxed) {
            return self.write_until(Instant::now() + timeout);
        }
        outcome
    }

    /// As [`LogWriter::write_through`], but gives the reader time until `deadline`, whatever it did
    /// before.
    pub(super) fn write_until(&self, deadline: Instant) -> Outcome {
        loop {
            let outcome = self.write_through();
            let left = deadline.saturating_duration_since(Instant::now());
            let is_over = !self.has_backlog() || left.is_zero();
            self.is_stalled.store(self.has_backlog(), Ordering::Relaxed);
            if is_over || outcome != Outcome::Quiet {
                return outcome;
            }
            if let Some(sink) = self.lock().sink.clone() {
                sink.wait_writable(left);
            }
        }
    }

    /// True while lines stay in the buffer because the sink does not take them.
    pub(super) fn has_backlog(&self) -> bool {
        self.has_backlog.load(Ordering::Relaxed)
    }

    /// True in a child of the process that has opened the log.
    pub(super) fn was_forked(&self) -> bool {
        self.was_forked.load(Ordering::Relaxed)
    }

    /// Writes what is buffered to the old sink, and to `sink` what that does not take and all
    /// further lines.
    pub(super) fn redirect(&self, sink: Sink) -> Outcome {
        let outcome = self.write();
        let mut state = self.lock();
        state.sink = Some(Arc::new(sink));
        if mem::take(&mut state.ends_mid_line) && !state.is_writing {
            // The rest of a line that has begun in the old sink.
            let end = memchr::memchr(b'\n', &state.buffer).map_or(state.buffer.len(), |at| at + 1);
            state.buffer.drain(..end);
        }
        state.is_torn = false;
        drop(state);
        match self.write() {
            Outcome::Quiet => outcome,
            newer => newer,
        }
    }

    fn write_locked<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Outcome {
        let dropped = mem::take(&mut state.dropped);
        let mut outcome = Outcome::Quiet;
        if dropped > 0 {
            outcome = state.count_lost(dropped, "its reader does not keep up");
        }
        let sink = state.sink.get_or_insert_with(|| Arc::new(Sink::stderr())).clone();
        let mut is_full = false;
        state.is_writing = true;
        for _ in 0..MAX_BATCHES {
            if state.buffer.is_empty() || is_full {
                break;
            }
            let mut batch = mem::take(&mut state.buffer);
            if mem::take(&mut state.is_torn) {
                batch.insert(0, b'\n');
            }
            drop(state);
            let written = sink.write(&batch);
            state = self.lock();
            match written {
                Ok(count) => {
                    is_full = count < batch.len();
                    if count > 0 {
                        state.ends_mid_line = batch[count - 1] != b'\n';
                    }
                    batch.drain(..count);
                    if batch.is_empty() && state.buffer.is_empty() && state.dropped == 0 {
                        let recovered = state.lost.take().map(Outcome::Recovered);
                        outcome = recovered.unwrap_or(outcome);
                    }
                }
                Err(error) => {
                    let lines = memchr::memchr_iter(b'\n', &batch).count();
                    state.is_torn = state.ends_mid_line;
                    let failing = state.count_lost(lines as u64, &error.to_string());
                    if failing != Outcome::Quiet {
                        outcome = failing;
                    }
                    batch.clear();
                }
            }
            // Keeps the buffer for the next lines, or the rest of the batch before them.
            if !batch.is_empty() || batch.capacity() <= MAX_EMPTY_BUFFER_BYTES {
                batch.extend_from_slice(&state.buffer);
                state.buffer = batch;
            }
        }
        state.is_writing = false;
        state.is_slow = false;
        self.has_backlog.store(!state.buffer.is_empty(), Ordering::Relaxed);
        if state.waiters > 0 {
            self.written.notify_all();
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves the state half-changed, so a poisoned lock is usable.
        ignore_poison(self.state.lock())
    }
}

impl State {
    const NEW: State = State {
        sink: None,
        buffer: Vec::new(),
        is_writing: false,
        is_slow: false,
        waiters: 0,
        ends_mid_line: false,
        is_torn: false,
        dropped: 0,
        lost: None,
        is_free: false,
    };

    fn count_lost(&mut self, lines: u64, why: &str) -> Outcome {
        lost_lines::count(lines);
        let is_first = self.lost.is_none();
        *self.lost.get_or_insert(0) += lines;
        if is_first { Outcome::Failing(why.to_owned()) } else { Outcome::Quiet }
    }

    /// Forgets what belongs to an earlier log or to the parent process; keeps the sink.
    fn reset(&mut self) {
        let sink = self.sink.take();
        *self = State { sink, is_free: self.is_free, ..State::NEW };
    }
}

/// State that only tests read.
#[cfg(test)]
impl LogWriter {
    pub(super) fn lost(&self) -> Option<u64> {
        self.lock().lost
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.lock().buffer.len()
    }

    pub(super) fn pretend_fork(&self) {
        self.was_forked.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
