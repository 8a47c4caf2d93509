//! `rustwsgi module:app`: the command line's main, shared by the wheel's script and the embedded
//! binary. By the time it runs, Python runs.
//!
//! Exit codes: 0 after a graceful stop, 1 if an address cannot be bound, 2 for a mistake in the options,
//! 3 if the application cannot be loaded (as gunicorn has it).

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use log::{error, info, warn};
use pyo3::exceptions::PyModuleNotFoundError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::config::{self, Settings};
use crate::observe;
use crate::supervisor::{self, Entrypoints, Hooks, LoadFailure};
use crate::worker::{Server, StartError};
use crate::wsgi::{self, Loaded};

/// Parses `argv` (the program's name first), serves, and returns the exit code.
pub fn main(py: Python<'_>, argv: Vec<OsString>) -> i32 {
    match parse(py, &argv) {
        Ok((loaded, hooks)) => run(py, &argv, loaded, hooks),
        Err(exit) => refuse(&exit),
    }
}

/// Prints why there is nothing to run; returns the exit code.
pub fn refuse(exit: &config::Exit) -> i32 {
    let message = format!("{}\n", exit.message.trim_end_matches('\n'));
    // A closed pipe is no reason to fail: `rustwsgi --help | head -1`.
    let _ = if exit.stdout {
        std::io::stdout().write_all(message.as_bytes())
    } else {
        std::io::stderr().write_all(message.as_bytes())
    };
    exit.code
}

/// Reads the command line, and what it names.
fn parse(py: Python<'_>, argv: &[OsString]) -> Result<(config::Loaded, Hooks), config::Exit> {
    let hooks = RefCell::new(Hooks::default());
    let execute = |path: &Path| {
        let (options, found) = execute(py, path)?;
        hooks.replace(found);
        Ok(options)
    };
    let loaded = config::parse(argv.iter().cloned(), &execute)?;
    let hooks = hooks.into_inner();
    if let Some(found) = &hooks.0 {
        let values = config::gunicorn_values(&loaded.settings);
        found.bind(py).call_method1("configure", (values,)).map_err(|failure| config::Exit {
            code: 2,
            stdout: false,
            message: format!("error: {}", wsgi::format_exception(py, &failure).trim_end()),
        })?;
    }
    Ok((loaded, hooks))
}

/// Runs a gunicorn configuration.
fn execute(py: Python<'_>, path: &Path) -> Result<(config::Options, Hooks), String> {
    let run = || -> PyResult<(config::Options, Py<PyAny>)> {
        let arguments = (path.as_os_str(), config::gunicorn_settings());
        py.import("rustwsgi._gunicorn")?.call_method1("execute", arguments)?.extract()
    };
    match run() {
        Ok((options, hooks)) => Ok((options, Hooks(Some(hooks)))),
        Err(failure) => Err(format!(
            "the configuration {} cannot be executed:\n{}",
            path.display(),
            wsgi::format_exception(py, &failure).trim_end()
        )),
    }
}

fn run(py: Python<'_>, argv: &[OsString], loaded: config::Loaded, hooks: Hooks) -> i32 {
    let settings = &loaded.settings;
    if let Err(failure) = supervisor::open_error_log(py, settings)
        .and_then(|sink| observe::init(sink, settings.log_level))
    {
        eprintln!(
            "rustwsgi: --error-logfile: cannot open {}; {}: {failure}",
            settings.error_log,
            observe::remedy(&failure)
        );
        return 1;
    }
    for warning in config::unknown_variables().iter().chain(&loaded.warnings) {
        warn!(target: "config.warning", "{warning}");
    }
    if settings.print_config {
        print!("{}", config::print_config(settings));
        return 0;
    }
    if settings.check_config {
        return check(py, settings, &hooks);
    }
    info!(
        "Starting rustwsgi {} (workers: {}, threads: {})",
        env!("CARGO_PKG_VERSION"),
        settings.processes.workers,
        settings.threads
    );
    if !loaded.files.is_empty() {
        info!(target: "config.files", "Configuration read from: {}", loaded.files.join(", "));
    }
    let door = Entrypoints { parse: |py, argv| parse(py, argv).map_err(|exit| exit.message), load };
    match supervisor::run(py, argv, loaded, hooks, door) {
        Ok(code) => code,
        Err(failure) => {
            error!("{}", wsgi::format_exception(py, &failure).trim_end());
            1
        }
    }
}

/// Loads the application to see whether that works; returns the exit code. One that no request could be answered
/// by is a mistake, unless a hook may yet put something else in its place.
fn check(py: Python<'_>, settings: &Settings, hooks: &Hooks) -> i32 {
    let loaded = match import(py, settings) {
        Ok(loaded) => loaded,
        Err(failure) => return failure.code,
    };
    match loaded.warning {
        Some(warning) if hooks.may_replace_app(py) => warn!("{warning}"),
        Some(warning) => {
            error!("{warning}");
            return 3;
        }
        None => {}
    }
    info!("the configuration is right and the application was loaded");
    0
}

/// Loads the application, in the process that is to serve it.
fn load(py: Python<'_>, settings: &Settings) -> Result<Py<PyAny>, LoadFailure> {
    let loaded = import(py, settings)?;
    if let Some(warning) = loaded.warning {
        warn!("{warning}");
    }
    if settings.processes.gc_freeze
        && let Err(failure) = freeze(py, settings.processes.preload)
    {
        warn!("gc.freeze() failed: {failure}");
    }
    Ok(loaded.app)
}

/// Imports the application.
fn import(py: Python<'_>, settings: &Settings) -> Result<Loaded, LoadFailure> {
    let failed = |code: i32, text: String| {
        error!("{}", text.trim_end());
        LoadFailure { code, text }
    };
    if let Some(directory) = &settings.chdir
        && let Err(failure) = std::env::set_current_dir(directory)
    {
        let shown = directory.display().to_string();
        let text = format!("cannot change to the directory {shown:?} of --chdir: {failure}");
        return Err(failed(2, text));
    }
    if let Err(failure) = prepare(py, settings) {
        let missing = failure.is_instance_of::<PyModuleNotFoundError>(py);
        let shown = wsgi::format_exception(py, &failure);
        return Err(failed(1, format!("{}{}", shown.trim_end(), unreadable(settings, missing))));
    }
    let Some(spec) = &settings.app else {
        return Err(failed(2, "no application is named".to_owned()));
    };
    wsgi::load(py, spec).map_err(|failure| {
        // A signal while the application was imported, which is nobody's mistake.
        if failure.interrupted {
            return LoadFailure { code: 130, text: String::new() };
        }
        if let Some(traceback) = &failure.traceback {
            observe::write_raw(traceback.as_bytes());
        }
        let reason = format!("{failure}{}", unreadable(settings, failure.missing));
        let text = format!("{}{reason}", failure.traceback.as_deref().unwrap_or_default());
        error!("{reason}");
        LoadFailure { code: 3, text }
    })
}

/// What else may be the cause, if a module is `missing` in a worker that has become another user.
fn unreadable(settings: &Settings, missing: bool) -> String {
    let user = settings.processes.user.as_deref().filter(|_| missing);
    user.map_or_else(String::new, |user| {
        format!(
            "; or {user:?}, whom --user names, may not read its file: look at the directories from / on"
        )
    })
}

/// Takes what was imported out of the garbage collector's sight: it stays for good, and looking at it again
/// and again costs time, and memory where it is shared with forked workers. `shared` makes sure that no
/// garbage is among it, which takes a moment.
fn freeze(py: Python<'_>, shared: bool) -> PyResult<()> {
    let gc = py.import("gc")?;
    if shared {
        gc.call_method0("collect")?;
    }
    gc.call_method0("freeze").map(drop)
}

/// What must be in place before the application is imported: its environment variables, its directory,
/// its path.
fn prepare(py: Python<'_>, settings: &Settings) -> PyResult<()> {
    let os = py.import("os")?;
    let environ = os.getattr("environ")?;
    for (name, value) in &settings.env {
        environ.set_item(name, value)?;
    }
    let path = py.import("sys")?.getattr("path")?.cast_into::<PyList>()?;
    let here = os.call_method0("getcwd")?;
    for entry in settings.pythonpath.iter().rev() {
        path.insert(0, os.getattr("path")?.call_method1("abspath", (entry.as_os_str(),))?)?;
    }
    // The application is usually in the directory one is in.
    if !path.contains(&here)? {
        path.insert(0, here)?;
    }
    Ok(())
}

/// Serves until SIGTERM or SIGINT; a SIGINT after that ends the wait for requests in flight. Returns whether
/// all requests have finished.
pub fn run_until_signal(
    py: Python<'_>,
    app: Py<PyAny>,
    settings: &Arc<Settings>,
) -> Result<bool, StartError> {
    let mut signals = Signals::install(py)?;
    let started = Server::start(py, app.into(), settings.clone());
    let result = started.and_then(|mut server| {
        let watched = wait_and_stop(py, &mut signals, &mut server, settings.timeouts.graceful);
        match watched {
            Ok(false) => server.give_up(),
            Ok(true) => {}
            Err(_) => server.stop(),
        }
        Ok(watched?)
    });
    signals.restore(py)?;
    result
}

fn wait_and_stop(
    py: Python<'_>,
    signals: &mut Signals,
    server: &mut Server,
    graceful: Duration,
) -> PyResult<bool> {
    // A server that cannot go on ends by itself.
    while signals.wait(py, Duration::from_secs(1))? == 0 {
        server.interrupt_overdue(py)?;
        if server.join(py, Some(Duration::ZERO)).is_ok_and(|ended| ended) {
            return Err(pyo3::exceptions::PyRuntimeError::new_err(
                "the server has stopped by itself",
            ));
        }
    }
    info!(
        "Shutting down: requests in flight are finished first, for up to {} s; SIGINT stops at once",
        graceful.as_secs_f64()
    );
    server.stop();
    let end = std::time::Instant::now().checked_add(graceful);
    loop {
        if server.join(py, Some(Duration::from_millis(50)))? {
            info!("Shut down");
            return Ok(true);
        }
        // Not a second SIGTERM: several may come of one wish.
        if signals.wait(py, Duration::ZERO)? == libc::SIGINT {
            info!("Shut down at once, on SIGINT");
            return Ok(false);
        }
        if end.is_some_and(|end| std::time::Instant::now() >= end) {
            server.tell_what_runs(py);
            return Ok(false);
        }
    }
}

/// SIGINT and SIGTERM, by way of Python's own machinery: its handlers are in place while the server
/// runs, the application's handlers for other signals keep working, and what was there before is put back.
struct Signals {
    /// Restores what was there before.
    restore: Option<Py<PyAny>>,
    /// Waits for a signal: `wait(seconds) -> int`.
    wait: Py<PyAny>,
}

impl Signals {
    fn install(py: Python<'_>) -> PyResult<Signals> {
        let module = py.import("rustwsgi._signals")?;
        let (wait, restore) = module.getattr("install")?.call0()?.extract()?;
        Ok(Signals { restore: Some(restore), wait })
    }

    /// Waits for SIGINT or SIGTERM and returns it, or 0 if none has come within `limit`.
    fn wait(&mut self, py: Python<'_>, limit: Duration) -> PyResult<i32> {
        self.wait.bind(py).call1((limit.as_secs_f64(),))?.extract()
    }

    fn restore(&mut self, py: Python<'_>) -> PyResult<()> {
        self.restore.take().map_or(Ok(()), |restore| restore.bind(py).call0().map(drop))
    }
}
