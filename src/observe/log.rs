//! The error log: messages of the server, and what the application writes to `wsgi.errors`.
//!
//! Lines have gunicorn's format, `[2026-11-24 04:14:34 +0000] [PID] [INFO] message`. Each is one
//! write(2) by the thread that logs it, so that lines of several processes do not mix, and none is
//! lost in a buffer when the process dies. While the reader does not take them, lines stay in a
//! bounded buffer, and [`flush`] writes them later. No line of the server waits for the reader, as
//! the poller may log it; text of the application waits for it for a moment.
//!
//! A process has one error log, which all layers reach with the macros of the `log` crate. A
//! process that starts a second server redirects it by calling [`init`] again.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::clock::Stamp;
use super::colour::Colours;
use super::sink::Sink;
use super::wording::counted;
use super::writer::{self, LogWriter, Outcome};
use super::{escape, held};

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
    is_on_terminal: AtomicBool::new(false),
    has_colours: AtomicBool::new(false),
    stamp: Mutex::new(None),
    writer: LogWriter::new(),
};

/// The `log` crate's logger. That is a static, so [`init`] opens it later.
struct ErrorLog {
    /// Whether [`init`] was called.
    is_open: AtomicBool,
    /// Whether lines show their event ids.
    show_events: AtomicBool,
    /// Whether the sink is a terminal.
    is_on_terminal: AtomicBool,
    /// Whether the levels have colours.
    has_colours: AtomicBool,
    /// Formats the time, cached from the last line.
    stamp: Mutex<Option<Stamp>>,
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
        held::push(event, LOGGER.line(pid, event, INFO, message));
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

/// Writes text of the application to the error log, without a time or level: data for `wsgi.errors`
/// and Python's tracebacks. It cannot pass for a line of the server: see [`escape::lines`]. Before
/// [`init`] it goes to standard error. Never fails; what cannot be written is lost.
pub fn write_text(text: &str) {
    let mut escaped = String::with_capacity(text.len());
    escape::lines(text, true, &mut escaped);
    LOGGER.append(escaped);
    LOGGER.report(LOGGER.writer.write_with_timeout(WRITE_TIMEOUT));
}

/// True while lines wait for the reader of the error log.
pub fn has_backlog() -> bool {
    LOGGER.writer.has_backlog()
}

/// Writes lines that wait for the reader, as far as it takes them now. Cheap if there are none.
pub fn flush() {
    if has_backlog() {
        LOGGER.report(LOGGER.writer.write());
    }
}

/// As [`flush`], at the end of the process: gives the reader a moment.
pub fn finish() {
    LOGGER.report(LOGGER.writer.write_until(Instant::now() + FINISH_TIMEOUT));
}

/// Writes a line of any level: the loggers of the application have levels of their own. `level` is
/// the name of the level.
pub fn write_line(target: &str, level: &str, message: &str) {
    if LOGGER.is_open.load(Ordering::Acquire) {
        LOGGER.append_line(target, level, message);
        LOGGER.report(LOGGER.writer.write_with_timeout(WRITE_TIMEOUT));
    }
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

    /// The current time as lines show it. Uses no cache if another thread is using it: so no thread
    /// waits here, nor does a forked child for a thread that it does not have.
    fn time(&self) -> String {
        let now = SystemTime::now();
        let format = |stamp: &mut Option<Stamp>| {
            stamp.get_or_insert_with(|| Stamp::new("[%Y-%m-%d %H:%M:%S %z]")).text(now).to_owned()
        };
        match self.stamp.try_lock() {
            Ok(mut stamp) => format(&mut stamp),
            Err(TryLockError::Poisoned(stamp)) => format(&mut stamp.into_inner()),
            Err(TryLockError::WouldBlock) => format(&mut None),
        }
    }

    fn append_line(&self, target: &str, level: &str, message: &str) {
        let line = self.line(std::process::id(), target, level, message);
        match level == INFO && held::is_active() {
            true => held::push(target, line),
            false => self.append(line),
        }
    }

    fn line(&self, pid: u32, target: &str, level: &str, message: &str) -> String {
        let event = event(target).filter(|_| self.show_events.load(Ordering::Relaxed));
        let colours = Colours::new(self.has_colours.load(Ordering::Relaxed));
        line(&Prefix { time: &self.time(), pid, event, level, colours }, message)
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

impl Log for ErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // The message is formatted before any lock is taken: its `Display` may log itself.
        let message = message_of(*record.args());
        self.append_line(record.target(), name_of(record.level()), &message);
        // The poller may log this line, so it waits neither for the reader nor for another thread
        // that is writing. That thread also writes this line.
        self.report(self.writer.write());
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

/// gunicorn's name of a level.
fn name_of(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARNING",
        Level::Info => INFO,
        Level::Debug | Level::Trace => "DEBUG",
    }
}

/// What precedes a message.
struct Prefix<'a> {
    time: &'a str,
    pid: u32,
    event: Option<&'a str>,
    level: &'a str,
    colours: Colours,
}

/// Formats one message, line feed included. The message may contain data of a client.
fn line(prefix: &Prefix<'_>, message: &str) -> String {
    let Prefix { time, pid, event, level, colours } = *prefix;
    let mut line = String::with_capacity(time.len() + message.len() + 48);
    let dim = colours.dim();
    // Writing to a string cannot fail.
    let _ = write!(line, "{dim}{time} [{pid}]{dim:#} ");
    if let Some(event) = event {
        let _ = write!(line, "[{event}] ");
    }
    let colour = colours.level(level);
    let _ = write!(line, "{colour}[{level}]{colour:#} ");
    escape::lines(message.trim_end_matches('\n'), false, &mut line);
    line.push('\n');
    line
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
