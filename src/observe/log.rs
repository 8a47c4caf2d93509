//! The error log: messages of the server, and what the application writes to `wsgi.errors`.
//!
//! Lines have gunicorn's format, `[2026-11-24 04:14:34 +0000] [PID] [INFO] message`. Each is one
//! write(2), so that lines of several processes do not mix, and none is lost in a buffer when the
//! process dies. A process has one error log, which all layers reach with the macros of the `log`
//! crate. A process that starts a second server redirects it by calling [`init`] again.

use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::clock::Stamp;
use super::colour::Colours;
use super::sink::Sink;
use super::{escape, held};
use crate::sync::ignore_poison;

/// How long a write waits for a full stream. Only the first one waits: after it has timed out,
/// lines are dropped at once until the reader reads again.
const WRITE_TIMEOUT: Duration = Duration::from_millis(50);

/// Set to a truth value, it makes lines show their event ids:
/// `[PID] [worker.booting] [INFO] message`.
const EVENTS_VARIABLE: &str = "RUSTWSGI_LOG_EVENTS";

static LOGGER: ErrorLog = ErrorLog { state: Mutex::new(None) };

/// The `log` crate's logger. That is a static, so [`init`] fills in the state later.
struct ErrorLog {
    state: Mutex<Option<State>>,
}

struct State {
    /// The destination; shared, so that a write does not hold the lock.
    output: Arc<Output>,
    /// Formats the time, cached from the last line.
    stamp: Stamp,
    /// Whether lines show their event ids.
    show_events: bool,
    /// The colours of levels, on a terminal.
    colours: Colours,
}

struct Output {
    sink: Sink,
    /// Whether the last write was incomplete.
    stalled: AtomicBool,
}

/// Sends messages of `level` and above to `sink`. May be called again to change both. Messages
/// logged before the first call are discarded.
///
/// # Errors
/// If the process already has another `log` logger.
pub fn init(sink: Sink, level: LevelFilter) -> io::Result<()> {
    let mut state = LOGGER.lock();
    if state.is_none() {
        log::set_logger(&LOGGER).map_err(io::Error::other)?;
    }
    *state = Some(State::new(sink));
    drop(state);
    log::set_max_level(level);
    Ok(())
}

/// Sends all further messages to `sink`.
pub fn redirect(sink: Sink) {
    if let Some(state) = &mut *LOGGER.lock() {
        state.colours = Colours::of(&sink);
        state.output = Arc::new(Output::new(sink));
    }
}

/// Holds back INFO lines from now on, until the outcome of the start is known, but not longer than
/// this time.
pub fn hold_start(limit: Duration) {
    held::begin(limit);
}

/// Writes the lines that are held back, and all further ones at once.
pub fn release_start() {
    write_lines(held::end());
}

/// Writes the held lines of a start that takes long.
pub fn release_due(now: Instant) {
    write_lines(held::take_due(now));
}

/// When lines that are held back are due.
pub fn release_deadline() -> Option<Instant> {
    held::deadline()
}

/// In a worker that was just forked: forgets the master's lines, which the master writes. Returns
/// whether there were any.
pub fn forget_start() -> bool {
    let held = held::is_active();
    held::end();
    held
}

/// While lines are held back, adds one for the process `pid`. Otherwise that process logs it.
pub fn hold_line_of(pid: u32, event: &str, message: &str) {
    if held::is_active()
        && let Some(state) = &mut *LOGGER.lock()
    {
        let line = state.line(pid, event, INFO, message);
        held::push(event, line);
    }
}

/// Whether the error log is a terminal.
pub fn is_on_terminal() -> bool {
    LOGGER.output().sink.is_terminal()
}

fn write_lines(lines: Vec<(String, String)>) {
    let output = LOGGER.output();
    lines.iter().for_each(|(_, line)| output.write(line.as_bytes()));
}

/// Writes text of the application to the error log, without a time or level: data for `wsgi.errors`
/// and Python's tracebacks. It cannot pass for a line of the server: see [`escape::lines`]. Before
/// [`init`] it goes to standard error. Never fails; what cannot be written is lost.
pub fn write_text(text: &str) {
    let mut escaped = String::with_capacity(text.len());
    escape::lines(text, true, &mut escaped);
    LOGGER.output().write(escaped.as_bytes());
}

/// Writes a line of any level: the loggers of the application have levels of their own. `level` is
/// the name of the level.
pub fn write_line(target: &str, level: &str, message: &str) {
    LOGGER.write_line(target, level, message);
}

impl ErrorLog {
    /// No panic leaves the state half-changed, so a poisoned lock is usable.
    fn lock(&self) -> MutexGuard<'_, Option<State>> {
        ignore_poison(self.state.lock())
    }

    fn output(&self) -> Arc<Output> {
        match &*self.lock() {
            Some(state) => Arc::clone(&state.output),
            None => Arc::new(Output::new(Sink::stderr())),
        }
    }

    fn write_line(&self, target: &str, level: &str, message: &str) {
        let mut locked = self.lock();
        let Some(state) = &mut *locked else {
            return;
        };
        let line = state.line(std::process::id(), target, level, message);
        let output = Arc::clone(&state.output);
        drop(locked);
        if level == INFO && held::is_active() {
            return held::push(target, line);
        }
        output.write(line.as_bytes());
    }
}

impl Log for ErrorLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        // The message is formatted before the lock is taken: its `Display` may log itself.
        let message = record.args().to_string();
        self.write_line(record.target(), name_of(record.level()), &message);
    }

    fn flush(&self) {}
}

impl State {
    fn new(sink: Sink) -> State {
        State {
            colours: Colours::of(&sink),
            output: Arc::new(Output::new(sink)),
            stamp: Stamp::new("[%Y-%m-%d %H:%M:%S %z]"),
            show_events: std::env::var(EVENTS_VARIABLE).is_ok_and(|value| is_true(&value)),
        }
    }

    fn line(&mut self, pid: u32, target: &str, level: &str, message: &str) -> String {
        let event = event(target).filter(|_| self.show_events);
        let time = self.stamp.text(SystemTime::now());
        line(&Prefix { time, pid, event, level, colours: self.colours }, message)
    }
}

impl Output {
    fn new(sink: Sink) -> Output {
        Output { sink, stalled: AtomicBool::new(false) }
    }

    /// Discards errors: the error log is where they would be reported.
    fn write(&self, bytes: &[u8]) {
        let timeout = match self.stalled.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => WRITE_TIMEOUT,
        };
        let complete = matches!(self.sink.write(bytes, timeout), Ok(n) if n == bytes.len());
        self.stalled.store(!complete, Ordering::Relaxed);
    }
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
mod tests {
    use super::*;
    use crate::observe::LogTarget;
    use std::path::Path;

    fn line(time: &str, event: Option<&str>, level: &str, message: &str) -> String {
        let (pid, colours) = (std::process::id(), Colours::default());
        super::line(&Prefix { time, pid, event, level, colours }, message)
    }

    #[test]
    fn line_has_gunicorns_format() {
        let pid = std::process::id();
        let time = "[2026-11-24 04:14:34 +0000]";
        for (level, name) in [
            (Level::Error, "ERROR"),
            (Level::Warn, "WARNING"),
            (Level::Info, "INFO"),
            (Level::Debug, "DEBUG"),
            (Level::Trace, "DEBUG"),
        ] {
            assert_eq!(
                line(time, None, name_of(level), "Booting\n"),
                format!("{time} [{pid}] [{name}] Booting\n")
            );
        }
        assert_eq!(
            line(time, event("worker.booting"), "INFO", "Booting"),
            format!("{time} [{pid}] [worker.booting] [INFO] Booting\n")
        );
        assert_eq!(event(module_path!()), None);
        assert_eq!(event("rustwsgi"), None);
    }

    #[test]
    fn control_characters_in_a_message_are_escaped() {
        let line = line("", None, "INFO", "a\x1b[2J\rb\u{9b}\n\tc\u{e9}");
        assert!(line.ends_with("a\\u{1b}[2J\\rb\\u{9b}\n\tc\u{e9}\n"), "{line}");
    }

    #[test]
    fn events_variable_takes_the_truth_values_of_flags() {
        assert!(["1", "true", "YES", "on"].iter().all(|value| is_true(value)));
        assert!(["", "0", "false", "no", "off", "2"].iter().all(|value| !is_true(value)));
    }

    #[test]
    fn message_of_two_lines_is_one_log_line() {
        let forged = "[2026-11-24 04:14:34 +0000] [1] [CRITICAL] forged";
        let line = line("[now]", None, "INFO", &format!("{forged}\n{forged}"));
        assert!(line.ends_with(&format!("[INFO] {forged}\n {forged}\n")), "{line}");
    }

    /// A process has one log, so all of `init` is in one test.
    #[test]
    fn init_called_again_changes_sink_and_level() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &Path| Sink::open(&LogTarget::File(path.to_owned()));
        let file = |name: &str| open(&dir.path().join(name)).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let emit = |level, text: &str| {
            let args = format_args!("{text}");
            let record = Record::builder().level(level).args(args).build();
            LOGGER.log(&record);
        };

        init(file("one"), LevelFilter::Info).unwrap();
        emit(Level::Info, "to one");
        emit(Level::Debug, "hidden");
        write_text("Traceback\n");
        let one = read("one");
        let pid = std::process::id();
        assert!(one.contains(&format!(" [{pid}] [INFO] to one\n")), "{one}");
        assert!(one.starts_with('[') && one.contains("\nTraceback\n"), "{one}");
        assert!(!one.contains("hidden"), "{one}");

        init(file("two"), LevelFilter::Debug).unwrap();
        emit(Level::Debug, "to two");
        assert!(read("two").contains("[DEBUG] to two\n"));
        assert!(!read("one").contains("to two"));

        redirect(file("three"));
        emit(Level::Debug, "to three");
        assert!(read("three").contains("[DEBUG] to three\n"));

        #[cfg(target_os = "linux")]
        {
            init(open(Path::new("/dev/full")).unwrap(), LevelFilter::Info).unwrap();
            emit(Level::Error, "into the void");
            write_text("into the void\n");
        }
        init(Sink::stderr(), LevelFilter::Warn).unwrap();
    }
}
