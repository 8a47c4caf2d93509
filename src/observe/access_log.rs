//! The access log: one line per request, buffered in memory and written in batches.
//!
//! A write(2) per request would cost as much as a small request, so the lines are written when the
//! server has no request to answer. The buffer is bounded, and no thread waits for the reader: see
//! [`LogWriter`].

use std::sync::{Mutex, TryLockError};
use std::time::Instant;

use super::collector::{statsd, syslog};
use super::escape;
use super::exclusion::Exclusion;
use super::format::{AtomValue, Format, Stamps};
use super::lost_lines;
use super::record::Record;
use super::routed;
use super::sink::{LogTarget, Sink};
use super::wording::counted;
#[cfg(doc)]
use super::writer::LogWriter;
use super::writer::{Outcome, OwnedWriter};

/// A thread that finds this many bytes buffered writes them. Far less than the bound of the buffer,
/// which leaves the threads room for lines that they add while one of them writes.
const FLUSH_THRESHOLD_BYTES: usize = 64 * 1024;

/// Where requests are logged beside the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccessOutputs {
    /// Lines are sent to syslog.
    pub syslog: bool,
    /// Requests are counted in statsd.
    pub statsd: bool,
    /// Lines go through Python's logger.
    pub python: bool,
}

/// An open access log, shared by all threads.
#[derive(Debug)]
pub struct AccessLog {
    /// Formats the lines.
    format: Format,
    /// The requests that are not logged.
    exclusion: Exclusion,
    /// Names the log in error messages.
    target: LogTarget,
    /// Format the time, cached from the last line.
    stamps: Mutex<Stamps>,
    /// Buffers and writes the lines.
    writer: OwnedWriter,
    outputs: AccessOutputs,
}

impl AccessLog {
    /// An access log that writes to `sink`, which was opened for `target`.
    pub fn new(target: &LogTarget, format: Format, sink: Sink) -> AccessLog {
        AccessLog {
            format,
            exclusion: Exclusion::default(),
            target: target.clone(),
            stamps: Mutex::new(Stamps::new()),
            writer: OwnedWriter::new(sink),
            outputs: AccessOutputs::default(),
        }
    }

    /// Logs to these outputs as well.
    pub fn logging_to(mut self, outputs: AccessOutputs) -> AccessLog {
        self.outputs = outputs;
        self
    }

    /// Whether every line goes through Python's logger.
    pub fn is_routed(&self) -> bool {
        self.outputs.python
    }

    /// Whether anything reads lines: not if requests are only counted.
    fn has_lines(&self) -> bool {
        self.target != LogTarget::Nowhere || self.outputs.syslog || self.outputs.python
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
        self.with_stamps(|stamps| Format::atoms(record, stamps))
    }

    /// The record's line, without a line feed.
    pub fn render(&self, record: &Record<'_>) -> String {
        let mut line = Vec::new();
        self.with_stamps(|stamps| self.format.render(record, stamps, &mut line));
        String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
    }

    /// Counts the request, and buffers the record's line, unless it is excluded. The next
    /// [`flush`](AccessLog::flush) writes it, or this call if enough is buffered and no other
    /// thread is writing.
    pub fn log(&self, record: &Record<'_>) {
        self.count(record);
        if self.excludes(record) || !self.has_lines() {
            return;
        }
        if self.outputs.python {
            if routed::push_access(record.trace.request_id, || self.render(record)) {
                return;
            }
            if self.target == LogTarget::Nowhere && !self.outputs.syslog {
                return lost_lines::on_routed_line_lost();
            }
        }
        self.write_line(record);
    }

    /// Counts the request in statsd, if there is one.
    pub fn count(&self, record: &Record<'_>) {
        if self.outputs.statsd {
            statsd::count_request(record.status, record.elapsed, self.writer.was_forked());
        }
    }

    /// Buffers the record's line. It is not routed through Python's logger.
    pub fn write_line(&self, record: &Record<'_>) {
        if self.outputs.syslog {
            let mut line = self.render(record);
            syslog::send_access(&line, self.writer.was_forked());
            line.push('\n');
            self.append(|buffer, _| buffer.extend_from_slice(line.as_bytes()));
        } else {
            self.append(|buffer, stamps| self.format.render(record, stamps, buffer));
        }
    }

    /// Buffers a text of the application as one line: control characters are escaped.
    pub fn log_text(&self, text: &str) {
        let mut line = String::with_capacity(text.len() + 1);
        escape::line(text, &mut line);
        if self.outputs.syslog {
            syslog::send_access(&line, self.writer.was_forked());
        }
        line.push('\n');
        self.append(|buffer, _| buffer.extend_from_slice(line.as_bytes()));
    }

    fn append(&self, add_line: impl FnOnce(&mut Vec<u8>, &mut Stamps)) {
        if self.target == LogTarget::Nowhere {
            return;
        }
        let buffered =
            self.writer.append(1, |buffer| self.with_stamps(|stamps| add_line(buffer, stamps)));
        // A forked child has no poller that flushes.
        if buffered >= FLUSH_THRESHOLD_BYTES || self.writer.was_forked() {
            self.report(self.writer.write());
        }
    }

    /// Calls `format` with the cached times, or with new ones if another thread uses those: so no
    /// thread waits here, nor does a forked child for a thread that it does not have.
    fn with_stamps<T>(&self, format: impl FnOnce(&mut Stamps) -> T) -> T {
        match self.stamps.try_lock() {
            Ok(mut stamps) => format(&mut stamps),
            Err(TryLockError::Poisoned(stamps)) => format(&mut stamps.into_inner()),
            Err(TryLockError::WouldBlock) => format(&mut Stamps::new()),
        }
    }

    /// Writes the buffered lines. Never fails and never waits for a reader: lines that cannot be
    /// written are lost, and the error log reports the first loss.
    pub fn flush(&self) {
        self.report(self.writer.write());
    }

    /// As [`flush`](AccessLog::flush), and gives the reader time until `deadline`.
    pub fn flush_until(&self, deadline: Instant) {
        self.report(self.writer.write_until(deadline));
    }

    /// True while the sink does not take the lines that a flush has tried to write.
    pub fn has_backlog(&self) -> bool {
        self.writer.has_backlog()
    }

    /// Flushes to the old sink, then writes all further lines to `sink`.
    pub fn redirect(&self, sink: Sink) {
        self.report(self.writer.redirect(sink));
    }

    fn report(&self, outcome: Outcome) {
        let log = &self.target;
        match outcome {
            Outcome::Quiet => {}
            Outcome::Failing(why) => log::error!(
                target: "accesslog.failed",
                "The access log {log} cannot be written, its lines are lost: {why}"
            ),
            Outcome::Recovered(lost) => log::warn!(
                target: "accesslog.recovered",
                "The access log {log} can be written again: lost {}",
                counted(lost, "line")
            ),
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.report(self.writer.write_through());
    }
}

#[cfg(test)]
#[path = "access_log_tests.rs"]
pub(super) mod tests;
