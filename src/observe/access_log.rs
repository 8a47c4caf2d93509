//! The access log: one line per request, gathered in memory and written a batch at a time.
//!
//! A write(2) per request would cost as much as answering a small request does, so lines wait until
//! the server has run out of requests to answer. Two locks keep the threads apart: `lines` is held
//! for the microsecond it takes to format a line, `writer` while the kernel takes a batch, so that a
//! slow disk delays the thread that flushes and no other. Both buffers are bounded: a reader that
//! has stopped reading costs lines, which are counted, but no memory and no time.

use std::mem;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::format::{Format, Record, Stamps};
use super::sink::{LogTarget, Sink};
use crate::sync::ignore_poison;

/// Lines are written at the latest when this many bytes of them wait.
const FLUSH_AT: usize = 64 * 1024;
/// Lines are dropped when this many bytes wait, as nobody takes them. Larger than `FLUSH_AT` by what
/// the threads may add while one of them writes.
const DROP_AT: usize = 4 * FLUSH_AT;

/// An open access log, shared by all threads.
#[derive(Debug)]
pub struct AccessLog {
    /// What a line looks like.
    format: Format,
    /// For the messages about a log that fails.
    target: LogTarget,
    /// What was logged and not yet handed to the writer.
    lines: Mutex<Lines>,
    /// What is being written. Locked before `lines` where both are.
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Lines {
    /// Whole lines.
    buffer: Vec<u8>,
    /// The time of the last line.
    stamps: Stamps,
    /// Lines that found the buffer full since the last flush.
    dropped: u64,
}

#[derive(Debug)]
struct Writer {
    sink: Sink,
    /// The batch being written; what a full stream has not taken stays here.
    batch: Vec<u8>,
    /// Whether the last byte written was not the end of a line.
    torn: bool,
    /// Lines lost since the log began to fail; `None` while it works.
    lost: Option<u64>,
}

impl AccessLog {
    /// A log on what was opened for `target`.
    pub fn new(target: &LogTarget, format: Format, sink: Sink) -> AccessLog {
        AccessLog {
            format,
            target: target.clone(),
            lines: Mutex::new(Lines { buffer: Vec::new(), stamps: Stamps::new(), dropped: 0 }),
            writer: Mutex::new(Writer { sink, batch: Vec::new(), torn: false, lost: None }),
        }
    }

    /// Adds the record's line. It is written by the next [`flush`](AccessLog::flush), or now if much
    /// is waiting and no other thread is writing already.
    pub fn log(&self, record: &Record<'_>) {
        let mut lines = lock(&self.lines);
        if lines.buffer.len() >= DROP_AT {
            lines.dropped += 1;
        } else {
            let Lines { buffer, stamps, .. } = &mut *lines;
            self.format.render(record, stamps, buffer);
        }
        let much = lines.buffer.len() >= FLUSH_AT;
        drop(lines);
        if much && let Ok(writer) = self.writer.try_lock() {
            self.write(writer);
        }
    }

    /// Writes what waits. Never fails and never waits for a reader: trouble is told to the error log
    /// once, and what cannot be written is lost.
    pub fn flush(&self) {
        self.write(lock(&self.writer));
    }

    /// Writes to another place from now on. Lines that wait go to the old one.
    pub fn redirect(&self, sink: Sink) {
        self.flush();
        let mut writer = lock(&self.writer);
        writer.sink = sink;
        writer.torn = false;
    }

    fn write(&self, mut writer: MutexGuard<'_, Writer>) {
        let mut lines = lock(&self.lines);
        let dropped = mem::take(&mut lines.dropped);
        if writer.batch.is_empty() {
            mem::swap(&mut lines.buffer, &mut writer.batch);
            // The rest of the torn line was lost: the next one must not continue it.
            if writer.torn && !writer.batch.is_empty() {
                writer.batch.insert(0, b'\n');
            }
        }
        drop(lines);
        if dropped > 0 {
            self.lose(&mut writer, dropped, "its reader does not keep up");
        }
        if writer.batch.is_empty() {
            return;
        }
        match writer.sink.write(&writer.batch, Duration::ZERO) {
            Ok(0) => {}
            Ok(count) => {
                writer.torn = writer.batch[count - 1] != b'\n';
                writer.batch.drain(..count);
                if writer.batch.is_empty()
                    && dropped == 0
                    && let Some(lost) = writer.lost.take()
                {
                    log::warn!("access log {} works again, {lost} lines lost", self.target);
                }
            }
            Err(error) => {
                let lines = memchr::memchr_iter(b'\n', &writer.batch).count();
                writer.batch.clear();
                self.lose(&mut writer, lines as u64, &error.to_string());
            }
        }
    }

    fn lose(&self, writer: &mut Writer, lines: u64, why: &str) {
        if writer.lost.is_none() {
            log::error!("access log {} loses lines: {why}", self.target);
        }
        *writer.lost.get_or_insert(0) += lines;
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A thread that panicked while it held the lock leaves at worst half a line, which is no reason to
/// stop logging.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    ignore_poison(mutex.lock())
}

#[cfg(test)]
#[path = "access_log_tests.rs"]
mod tests;
