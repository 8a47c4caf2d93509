//! The error log: messages of the server, and what the application writes to `wsgi.errors`.
//!
//! Lines have gunicorn's format, `[2026-11-24 04:14:34 +0000] [PID] [INFO] message`, or are JSON
//! objects; see [`super::entry`]. Each is one write(2) by the thread that logs it, so that lines of
//! several processes do not mix, and none is lost in a buffer when the process dies. While the
//! reader does not take them, lines stay in a bounded buffer, and [`flush`] writes them later. No
//! line of the server waits for the reader, as the poller may log it; text of the application waits
//! for it for a moment.
//!
//! A process has one error log, which all layers reach with the macros of the `log` crate. A
//! process that starts a second server redirects it by calling [`init`] again.

mod application;

pub use application::{AppLine, end_routing, write_formatted, write_line, write_text};

use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::kv::{self, Key, Value, VisitSource};
use log::{Level, LevelFilter, Log, Metadata, Record};

use super::clock::{self, Stamp};
use super::collector::{statsd, syslog};
use super::colour::Colours;
use super::entry::{Entry, JSON_TIME, Look, TEXT_TIME, TRACEBACK, WSGI_ERRORS};
use super::routed::Routed;
use super::sink::Sink;
use super::wording::counted;
use super::writer::{self, LogWriter, Outcome};
use super::{app_text, collector, held, lost_lines, request_scope, routed};

/// How long text of the application waits for a slow reader: the text would be lost with a process
/// that ends at once, such as a forked child.
const WRITE_TIMEOUT: Duration = Duration::from_millis(50);
/// How long the end of the process waits for a reader that does not keep up.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Set to a truth value, it makes lines show their event ids:
/// `[PID] [worker.booting] [INFO] message`.
const EVENTS_VARIABLE: &str = "RUSTWSGI_LOG_EVENTS";

static LOGGER: ErrorLog = ErrorLog {
    is_open: AtomicBool::new(false),
    show_events: AtomicBool::new(false),
    is_json: AtomicBool::new(false),
    is_on_terminal: AtomicBool::new(false),
    has_colours: AtomicBool::new(false),
    text_stamp: Mutex::new(None),
    json_stamp: Mutex::new(None),
    writer: LogWriter::new(),
};

/// The `log` crate's logger. That is a static, so [`init`] opens it later.
struct ErrorLog {
    /// Whether [`init`] was called.
    is_open: AtomicBool,
    /// Whether lines show their event ids.
    show_events: AtomicBool,
    /// Whether lines are JSON objects.
    is_json: AtomicBool,
    /// Whether the sink is a terminal.
    is_on_terminal: AtomicBool,
    /// Whether the levels have colours.
    has_colours: AtomicBool,
    /// Format the time, cached from the last line.
    text_stamp: Mutex<Option<Stamp>>,
    json_stamp: Mutex<Option<Stamp>>,
    /// Writes the lines; to standard error before [`init`].
    writer: LogWriter,
}

/// Sends messages of `level` and above to `sink`. May be called again to change both. Messages
/// logged before the first call are discarded.
///
/// # Errors
/// If the process already has another `log` logger.
pub fn init(sink: Sink, level: LevelFilter) -> io::Result<()> {
    if !LOGGER.is_open.load(Ordering::Acquire) {
        // Before an application can set another one.
        clock::remember_zone();
        log::set_logger(&LOGGER).map_err(io::Error::other)?;
        writer::hold_at_fork(&LOGGER.writer);
    }
    let shows_events = std::env::var(EVENTS_VARIABLE).is_ok_and(|value| is_true(&value));
    LOGGER.show_events.store(shows_events, Ordering::Relaxed);
    redirect(sink);
    LOGGER.is_open.store(true, Ordering::Release);
    log::set_max_level(level);
    Ok(())
}

/// Writes lines as JSON objects from now on, or as text.
pub fn set_json(is_json: bool) {
    LOGGER.is_json.store(is_json, Ordering::Relaxed);
}

/// Sends all further messages to `sink`.
pub fn redirect(sink: Sink) {
    LOGGER.is_on_terminal.store(sink.is_terminal(), Ordering::Relaxed);
    LOGGER.has_colours.store(Colours::of(&sink).are_on(), Ordering::Relaxed);
    LOGGER.report(LOGGER.writer.redirect(sink));
}

/// Holds back INFO lines from now on, until the outcome of the start is known, but not longer than
/// this time.
pub fn hold_start(limit: Duration) {
    held::begin(limit);
}

/// Writes the lines that are held back, and all further ones at once.
pub fn release_start() {
    write_held(held::end());
}

/// Writes the held lines of a start that takes long.
pub fn release_due(now: Instant) {
    write_held(held::take_due(now));
}

/// When lines that are held back are due.
pub fn release_deadline() -> Option<Instant> {
    held::deadline()
}

/// In a process that continues its parent, such as a daemon: goes on holding lines back.
pub fn inherit_start() {
    held::inherit();
}

/// In a worker that was just forked: forgets the master's lines, which the master writes. Returns
/// whether there were any.
pub fn forget_start() -> bool {
    let held = held::is_active_here_or_in_parent();
    held::end();
    held
}

/// While lines are held back, adds one for the process `pid`. Otherwise that process logs it.
pub fn hold_line_of(pid: u32, event: &str, message: &str) {
    if held::is_active() {
        let entry = Entry { pid, ..entry(event, INFO, message) };
        LOGGER.emit(&entry);
    }
}

fn write_held(lines: Vec<(String, String)>) {
    for (_, line) in lines {
        LOGGER.append(line);
        LOGGER.report(LOGGER.writer.write());
    }
}

/// Whether the error log is a terminal.
pub fn is_on_terminal() -> bool {
    LOGGER.is_on_terminal.load(Ordering::Relaxed)
}

/// True while lines wait for the reader of the error log, or for a collector.
pub fn has_backlog() -> bool {
    LOGGER.writer.has_backlog() || collector::has_backlog()
}

/// Writes lines that wait for the reader, as far as it takes them now, and sends what is buffered
/// for collectors. Cheap if there is nothing.
#[inline]
pub fn flush() {
    if LOGGER.writer.has_backlog() {
        LOGGER.report(LOGGER.writer.write());
    }
    collector::flush();
}

/// As [`flush`], at the end of the process: gives the reader a moment.
pub fn finish() {
    write_routed(&routed::end());
    flush_text();
    LOGGER.report(LOGGER.writer.write_until(Instant::now() + FINISH_TIMEOUT));
    collector::finish();
}

/// Writes text of the application that `write_text` keeps until its line is complete. At the end
/// of a request, and when the application asks for it.
pub fn flush_text() {
    if let Some(record) = app_text::take() {
        write_record(&record);
    }
}

/// Writes a record of text that the application has written.
fn write_record(text: &str) {
    let text = text.trim_end_matches('\n');
    let first_line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut entry = entry(ERRORS_EVENT, ERROR, first_line);
    if LOGGER.is_json() {
        entry.fields.push((WSGI_ERRORS.into(), text.into()));
        LOGGER.append(LOGGER.render(&entry));
        LOGGER.report(LOGGER.writer.write_with_timeout(WRITE_TIMEOUT));
    }
    syslog::send_error(&Entry { message: text, fields: Vec::new(), ..entry });
}

/// Writes the lines that did not reach their logger in Python. Those of the access log are lost.
fn write_routed(lines: &[Routed]) {
    for line in lines.iter().filter(|line| !line.is_access) {
        let event = line.event.as_deref().unwrap_or_default();
        let mut entry = entry(event, &line.level, &line.message);
        entry.pid = line.pid;
        entry.request_id = line.request_id.as_deref().map(Into::into);
        entry.at = UNIX_EPOCH + Duration::from_secs_f64(line.time);
        entry.fields.extend(line.traceback.iter().map(|text| (TRACEBACK.into(), text.into())));
        LOGGER.emit(&entry);
    }
    let lost = lines.iter().filter(|line| line.is_access).count();
    lost_lines::on_routing_end(lost as u64);
}

impl ErrorLog {
    fn append(&self, text: String) {
        let line_ends = memchr::memchr_iter(b'\n', text.as_bytes()).count();
        self.writer.append(line_ends, |buffer| match buffer.is_empty() {
            true => *buffer = text.into_bytes(),
            false => buffer.extend_from_slice(text.as_bytes()),
        });
    }

    /// Reports lines that were lost, once the log can be written again.
    fn report(&self, outcome: Outcome) {
        match outcome {
            // A failure of the error log cannot be reported in the error log.
            Outcome::Quiet | Outcome::Failing(_) => {}
            Outcome::Recovered(lost) => log::warn!(
                target: "errorlog.recovered",
                "The error log can be written again: lost {}",
                counted(lost, "line")
            ),
        }
    }

    fn is_json(&self) -> bool {
        self.is_json.load(Ordering::Relaxed)
    }

    /// Buffers the entry's line, and sends the entry to syslog.
    fn emit(&self, entry: &Entry<'_>) {
        let line = self.render(entry);
        match entry.level == INFO && held::is_active() {
            true => held::push(entry.event.unwrap_or_default(), line),
            false => self.append(line),
        }
        syslog::send_error(entry);
    }

    /// The entry as lines have it. Uses no cached time if another thread is using it: so no thread
    /// waits here, nor does a forked child for a thread that it does not have.
    fn render(&self, entry: &Entry<'_>) -> String {
        let is_json = self.is_json();
        let (cache, time) = match is_json {
            true => (&self.json_stamp, JSON_TIME),
            false => (&self.text_stamp, TEXT_TIME),
        };
        let look = Look {
            shows_events: self.show_events.load(Ordering::Relaxed),
            colours: Colours::new(self.has_colours.load(Ordering::Relaxed)),
        };
        let render = |stamp: &mut Option<Stamp>| {
            let stamp = stamp.get_or_insert_with(|| Stamp::new(time));
            if is_json { entry.json(stamp) } else { entry.text(look, stamp) }
        };
        match cache.try_lock() {
            Ok(mut stamp) => render(&mut stamp),
            Err(TryLockError::Poisoned(stamp)) => render(&mut stamp.into_inner()),
            Err(TryLockError::WouldBlock) => render(&mut None),
        }
    }
}

/// An entry of this process.
fn entry<'a>(target: &'a str, level: &'a str, message: &'a str) -> Entry<'a> {
    Entry {
        at: SystemTime::now(),
        pid: std::process::id(),
        event: event(target),
        level,
        message,
        request_id: request_scope::current_request_id(),
        fields: Vec::new(),
    }
}

/// Collects the pairs of a record as fields of an entry.
struct Fields<'a, 'b>(&'a mut Entry<'b>);

impl<'kvs> VisitSource<'kvs> for Fields<'_, '_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.fields.push((key.as_str().to_owned().into(), text_of(&value).into()));
        Ok(())
    }
}

/// The text of a message. Not `to_string`, which panics if a `Display` fails: that of a Python
/// exception does for lack of memory.
fn message_of(arguments: fmt::Arguments<'_>) -> String {
    let mut message = String::new();
    if message.write_fmt(arguments).is_err() {
        message.push_str("(this cannot be shown)");
    }
    message
}

/// The text of an error that may be a Python exception, as a message has it.
pub fn text_of(error: &impl fmt::Display) -> String {
    message_of(format_args!("{error}"))
}

impl Log for ErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        flush_text();
        // The message is formatted before any lock is taken: its `Display` may log itself.
        let message = message_of(*record.args());
        let mut entry = entry(record.target(), name_of(record.level()), &message);
        let _ = record.key_values().visit(&mut Fields(&mut entry));
        let has_traceback = entry.traceback().is_some();
        statsd::count_line(record.level(), has_traceback);
        if routed::push(&entry) {
            return;
        }
        self.emit(&entry);
        self.report(match has_traceback {
            // A thread of the application.
            true => self.writer.write_with_timeout(WRITE_TIMEOUT),
            // The poller may log this line, so it waits neither for the reader nor for another
            // thread that is writing. That thread also writes this line.
            false => self.writer.write(),
        });
    }

    fn flush(&self) {}
}

/// The truth values of flags in the environment, as `config` has them.
fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|truth| value.eq_ignore_ascii_case(truth))
}

/// The stable event id of a line, which is the `target` of its log macro:
/// `info!(target: "worker.booting", ...)`. Without a target the `log` crate sets the module's path.
fn event(target: &str) -> Option<&str> {
    (!target.contains("::") && target.contains('.')).then_some(target)
}

/// gunicorn's name of the level whose lines can be held back.
const INFO: &str = "INFO";
const ERROR: &str = "ERROR";
/// The event of text that the application has written to `wsgi.errors`.
const ERRORS_EVENT: &str = "app.errors";

/// gunicorn's name of a level.
fn name_of(level: Level) -> &'static str {
    match level {
        Level::Error => ERROR,
        Level::Warn => "WARNING",
        Level::Info => INFO,
        Level::Debug | Level::Trace => "DEBUG",
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
