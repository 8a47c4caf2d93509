//! The access log: one line per request, buffered in memory and written in batches.
//!
//! A write(2) per request would cost as much as a small request, so the lines are written when the
//! server has no request to answer. There are two locks. `lines` is held for the microsecond that
//! formatting a line takes, `writer` during the write of a batch, so that a slow disk delays the
//! thread that flushes and no other. Both buffers are bounded: if the reader stops reading, lines
//! are dropped and counted, and neither memory nor time is lost.

use std::mem;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::escape;
use super::exclusion::Exclusion;
use super::format::{AtomValue, Format, Record, Stamps};
use super::sink::{LogTarget, Sink};
use super::wording::counted;
use crate::sync::ignore_poison;

/// A thread that finds this many bytes buffered writes them.
const FLUSH_THRESHOLD_BYTES: usize = 64 * 1024;
/// Lines are dropped while this many bytes are buffered. Leaves the threads room for lines that
/// they add while one of them writes.
const DROP_THRESHOLD_BYTES: usize = 4 * FLUSH_THRESHOLD_BYTES;

/// An open access log, shared by all threads.
#[derive(Debug)]
pub struct AccessLog {
    /// Formats the lines.
    format: Format,
    /// The requests that are not logged.
    exclusion: Exclusion,
    /// Names the log in error messages.
    target: LogTarget,
    /// Lines that the writer does not have yet.
    lines: Mutex<Lines>,
    /// The batch that is being written. If both are locked, this is locked first.
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Lines {
    /// Complete lines.
    buffer: Vec<u8>,
    /// Format the time, cached from the last line.
    stamps: Stamps,
    /// Lines dropped since the last flush because the buffer was full.
    dropped: u64,
}

#[derive(Debug)]
struct Writer {
    sink: Sink,
    /// The rest of the batch that the stream has not taken yet.
    batch: Vec<u8>,
    /// Whether the last byte written was inside a line.
    ends_mid_line: bool,
    /// Lines lost since writing began to fail; `None` while it works.
    lost: Option<u64>,
}

impl AccessLog {
    /// An access log that writes to `sink`, which was opened for `target`.
    pub fn new(target: &LogTarget, format: Format, sink: Sink) -> AccessLog {
        AccessLog {
            format,
            exclusion: Exclusion::default(),
            target: target.clone(),
            lines: Mutex::new(Lines { buffer: Vec::new(), stamps: Stamps::new(), dropped: 0 }),
            writer: Mutex::new(Writer {
                sink,
                batch: Vec::new(),
                ends_mid_line: false,
                lost: None,
            }),
        }
    }

    /// Leaves out the requests that `exclusion` names.
    pub fn excluding(mut self, exclusion: Exclusion) -> AccessLog {
        self.exclusion = exclusion;
        self
    }

    /// True if `--access-log-exclude` leaves out this record.
    pub fn excludes(&self, record: &Record<'_>) -> bool {
        !self.exclusion.is_empty() && self.exclusion.matches(record)
    }

    /// The format of the lines.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// The value of each atom of the record that has a letter.
    pub fn atoms(&self, record: &Record<'_>) -> Vec<(&'static str, AtomValue)> {
        Format::atoms(record, &mut lock(&self.lines).stamps)
    }

    /// The record's line, without a line feed.
    pub fn render(&self, record: &Record<'_>) -> String {
        let mut line = Vec::new();
        self.format.render(record, &mut lock(&self.lines).stamps, &mut line);
        String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
    }

    /// Buffers the record's line, unless it is excluded. The next [`flush`](AccessLog::flush)
    /// writes it, or this call if enough is buffered and no other thread is writing.
    pub fn log(&self, record: &Record<'_>) {
        if !self.excludes(record) {
            self.append(|buffer, stamps| self.format.render(record, stamps, buffer));
        }
    }

    /// Buffers a text of the application as one line: control characters are escaped.
    pub fn log_text(&self, text: &str) {
        let mut line = String::with_capacity(text.len() + 1);
        escape::line(text, &mut line);
        line.push('\n');
        self.append(|buffer, _| buffer.extend_from_slice(line.as_bytes()));
    }

    fn append(&self, add_line: impl FnOnce(&mut Vec<u8>, &mut Stamps)) {
        let mut lines = lock(&self.lines);
        if lines.buffer.len() >= DROP_THRESHOLD_BYTES {
            lines.dropped += 1;
        } else {
            let Lines { buffer, stamps, .. } = &mut *lines;
            add_line(buffer, stamps);
        }
        let is_flush_due = lines.buffer.len() >= FLUSH_THRESHOLD_BYTES;
        drop(lines);
        if is_flush_due && let Ok(writer) = self.writer.try_lock() {
            self.write(writer);
        }
    }

    /// Writes the buffered lines. Never fails and never waits for a reader: lines that cannot be
    /// written are lost, and the error log reports the first loss.
    pub fn flush(&self) {
        self.write(lock(&self.writer));
    }

    /// Flushes to the old sink, then writes all further lines to `sink`.
    pub fn redirect(&self, sink: Sink) {
        self.flush();
        let mut writer = lock(&self.writer);
        writer.sink = sink;
        writer.ends_mid_line = false;
    }

    fn write(&self, mut writer: MutexGuard<'_, Writer>) {
        let mut lines = lock(&self.lines);
        let dropped = mem::take(&mut lines.dropped);
        if writer.batch.is_empty() {
            mem::swap(&mut lines.buffer, &mut writer.batch);
            // The rest of the last line was lost: the next line must not continue it.
            if writer.ends_mid_line && !writer.batch.is_empty() {
                writer.batch.insert(0, b'\n');
            }
        }
        drop(lines);
        if dropped > 0 {
            self.count_lost(&mut writer, dropped, "its reader does not keep up");
        }
        if writer.batch.is_empty() {
            return;
        }
        match writer.sink.write(&writer.batch, Duration::ZERO) {
            Ok(0) => {}
            Ok(count) => {
                writer.ends_mid_line = writer.batch[count - 1] != b'\n';
                writer.batch.drain(..count);
                if writer.batch.is_empty()
                    && dropped == 0
                    && let Some(lost) = writer.lost.take()
                {
                    log::warn!(
                        target: "accesslog.recovered",
                        "The access log {} can be written again: lost {}",
                        self.target,
                        counted(lost, "line")
                    );
                }
            }
            Err(error) => {
                let lines = memchr::memchr_iter(b'\n', &writer.batch).count();
                writer.batch.clear();
                self.count_lost(&mut writer, lines as u64, &error.to_string());
            }
        }
    }

    fn count_lost(&self, writer: &mut Writer, lines: u64, why: &str) {
        if writer.lost.is_none() {
            log::error!(
                target: "accesslog.failed",
                "The access log {} cannot be written, its lines are lost: {why}",
                self.target
            );
        }
        *writer.lost.get_or_insert(0) += lines;
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// A panic with the lock held leaves at worst half a line, so logging continues.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    ignore_poison(mutex.lock())
}

#[cfg(test)]
#[path = "access_log_tests.rs"]
pub(super) mod tests;
