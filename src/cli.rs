//! The command line's main, shared by the wheel's script and the embedded binary. Both have started
//! Python when they call it.
//!
//! Exit codes, as in gunicorn: 0 after a graceful shutdown, 1 if the server cannot start or has
//! failed (an address cannot be bound), 2 for invalid options, 3 if the application cannot be
//! loaded.

mod commands;
mod program;
mod resolved;

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{LevelFilter, error, info, warn};
use pyo3::exceptions::PyModuleNotFoundError;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::config::{self, LogFormat, Settings, WorkerCount};
use crate::control;
use crate::net::Renewal;
use crate::observe::{self, Sink, text_of};
use crate::static_files::{SendfileRoots, StaticSite};
use crate::supervisor::{self, Entrypoints, Hooks, ImportGuard, LoadFailure, WorkerUsers};
use crate::sys::cpus::Cpus;
use crate::sys::{heap, limits};
use crate::wsgi::{self, Doubt, Loaded};

pub use commands::command;
pub use program::run_until_signal;
pub use resolved::resolved_options;

/// How long the INFO lines of a start are held back while workers import the application.
const HOLD_START: Duration = Duration::from_secs(5);
/// The same while the master imports it (`--preload`): shorter, because the master handles no
/// signal until then.
const HOLD_DURING_PRELOAD: Duration = Duration::from_secs(1);

/// Parses `argv`, which begins with the program's name, serves, and returns the exit code.
pub fn main(py: Python<'_>, argv: Vec<OsString>) -> i32 {
    if let Some(code) = py.detach(|| control::main(&argv)) {
        return code;
    }
    if let Some((command, arguments)) = command(&argv) {
        return commands::run(py, command, arguments);
    }
    let code = match parse(py, &argv, &WorkerUsers::default()) {
        Ok((loaded, hooks)) => run(py, &argv, loaded, hooks),
        Err(exit) => print_exit(&exit),
    };
    wsgi::stop_routing(py);
    observe::finish();
    code
}

/// Prints a help text or an error, and returns its exit code.
pub fn print_exit(exit: &config::Exit) -> i32 {
    let message = format!("{}\n", exit.message.trim_end_matches('\n'));
    // Ignores a closed pipe, as in `rustwsgi --help | head -1`.
    let _ = if exit.stdout {
        std::io::stdout().write_all(message.as_bytes())
    } else {
        std::io::stderr().write_all(message.as_bytes())
    };
    exit.code
}

/// Parses the command line and the files that it names. A file that one of the workers' users can
/// change is refused: those of `users`, and the one that the configuration itself names.
fn parse(
    py: Python<'_>,
    argv: &[OsString],
    users: &WorkerUsers,
) -> Result<(config::Loaded, Hooks), config::Exit> {
    let hooks = RefCell::new(Hooks::default());
    let users = RefCell::new(users.clone());
    // The configuration may be a module: this is its file.
    let module: RefCell<Option<PathBuf>> = RefCell::default();
    let check = |path: Option<&Path>, user: Option<&str>, group: Option<&str>| {
        let mut users = users.borrow_mut();
        users.add_named(py, user, group);
        let module = module.borrow();
        path.or(module.as_deref()).map_or(Ok(()), |path| users.check_file(path))
    };
    let execute = |path: &Path| {
        let guard = ImportGuard::install(py, &users.borrow());
        let mut guard = guard.map_err(|failure| text_of(&failure))?;
        let executed = execute_gunicorn_config(py, path);
        guard.remove(py).map_err(|failure| text_of(&failure))?;
        let Executed { options, hooks: defined, file } = executed?;
        hooks.replace(defined);
        module.replace(file);
        Ok(options)
    };
    let find = |directory: &Path| find_app(py, directory).map_err(|error| text_of(&error))?;
    let mut loaded = config::parse(argv.iter().cloned(), &execute, &check, &find)?;
    config::show_requests(&mut loaded.settings);
    open_static_files(&mut loaded.settings).map_err(config::Exit::usage)?;
    let hooks = hooks.into_inner();
    if let Some(object) = &hooks.0 {
        let cpus = Cpus::of_this_process().usable();
        let values = config::gunicorn_values(&loaded.settings, cpus);
        object.bind(py).call_method1("configure", (values,)).map_err(|failure| config::Exit {
            code: 2,
            stdout: false,
            message: format!("error: {}", wsgi::format_exception(py, &failure).trim_end()),
        })?;
    }
    Ok((loaded, hooks))
}

/// Finds the directories of static files, and opens them once: without one, neither a start nor a
/// reload succeeds.
fn open_static_files(settings: &mut Settings) -> Result<(), String> {
    if settings.print_config {
        return Ok(());
    }
    settings.static_files.make_absolute(settings.chdir.as_deref());
    let files = &settings.static_files;
    StaticSite::open(&files.maps(), files).map_err(|failure| format!("--static: {failure}"))?;
    let roots = SendfileRoots::open(&files.sendfile_roots);
    roots.map(drop).map_err(|failure| format!("--sendfile-root: {failure}"))
}

/// Finds the application of the project in a directory. The outer error is one of the search.
fn find_app(py: Python<'_>, directory: &Path) -> PyResult<Result<config::FoundApp, String>> {
    let found = py.import("rustwsgi._finder")?.call_method1("search", (directory.as_os_str(),))?;
    let (name, text): (Option<String>, String) = found.extract()?;
    Ok(match name {
        Some(name) => Ok(config::FoundApp { name, place: text }),
        None => Err(text),
    })
}

/// A gunicorn configuration.
struct Executed {
    options: config::Options,
    hooks: Hooks,
    /// Its file.
    file: Option<PathBuf>,
}

/// Executes a gunicorn configuration file, or imports a module that is one.
fn execute_gunicorn_config(py: Python<'_>, path: &Path) -> Result<Executed, String> {
    let run = || -> PyResult<(config::Options, Py<PyAny>, Option<PathBuf>)> {
        let arguments = (path.as_os_str(), config::gunicorn_settings());
        py.import("rustwsgi._gunicorn")?.call_method1("execute", arguments)?.extract()
    };
    match run() {
        Ok((options, hooks, file)) => Ok(Executed { options, hooks: Hooks(Some(hooks)), file }),
        Err(failure) if lacks_gunicorn(py, &failure) => Err(format!(
            "the configuration file {} imports gunicorn, which is not installed in this Python \
             environment; remove the import if it is not needed, or install gunicorn as well: \
             pip install gunicorn",
            path.display()
        )),
        Err(failure) => Err(format!(
            "cannot execute the configuration file {}:\n{}",
            path.display(),
            wsgi::format_exception(py, &failure).trim_end()
        )),
    }
}

/// True if a module of gunicorn was not found.
fn lacks_gunicorn(py: Python<'_>, failure: &PyErr) -> bool {
    let name = || failure.value(py).getattr("name")?.extract::<String>();
    failure.is_instance_of::<PyModuleNotFoundError>(py)
        && name().is_ok_and(|name| name == "gunicorn" || name.starts_with("gunicorn."))
}

fn run(py: Python<'_>, argv: &[OsString], loaded: config::Loaded, hooks: Hooks) -> i32 {
    let settings = &loaded.settings;
    if let Err(code) = open_logs(py, settings) {
        return code;
    }
    for warning in config::unknown_variables().iter().chain(&loaded.warnings) {
        warn!(target: "config.warning", "{warning}");
    }
    if settings.print_config {
        print!("{}", config::print_config(settings));
        return 0;
    }
    if settings.check_config {
        return check_config(py, settings, &hooks);
    }
    // The hooks of a gunicorn configuration log lines of the workers, which are not held back.
    if settings.log_level == LevelFilter::Info && hooks.0.is_none() {
        observe::hold_start(match settings.processes.preload {
            true => HOLD_DURING_PRELOAD,
            false => HOLD_START,
        });
    }
    info!(
        target: "server.starting",
        "Starting rustwsgi {} (workers: {}, threads: {})",
        env!("CARGO_PKG_VERSION"),
        workers(settings.processes.workers),
        settings.threads
    );
    if !loaded.files.is_empty() {
        info!(target: "config.files", "Configuration read from: {}", loaded.files.join(", "));
    }
    if let (Some(place), Some(app)) = (&loaded.found, &settings.app) {
        info!(
            target: "app.found",
            "Serving {app}, found in {place}: to choose another application, name it: rustwsgi \
             MODULE:NAME"
        );
    }
    limits::raise_descriptor_limit();
    heap::keep_freed_memory();
    let reparse = |py: Python<'_>, argv: &[OsString], users: &WorkerUsers| {
        parse(py, argv, users).map_err(|exit| {
            let message = exit.message;
            message.strip_prefix("error: ").map_or(message.clone(), str::to_owned)
        })
    };
    let entrypoints = Entrypoints { parse: reparse, load };
    match supervisor::run(py, argv, loaded, hooks, entrypoints) {
        Ok(code) => code,
        Err(failure) => {
            error!(target: "server.failed", "{}", wsgi::format_exception(py, &failure).trim_end());
            1
        }
    }
}

/// Opens the error log, and names the collectors. An error is the exit code.
fn open_logs(py: Python<'_>, settings: &Settings) -> Result<(), i32> {
    let is_json = settings.logs.format == LogFormat::Json;
    observe::set_json(is_json);
    let opened = supervisor::open_error_log(py, settings)
        .and_then(|sink| observe::init(sink, settings.log_level));
    if let Err(failure) = opened {
        let (file, remedy) = (&settings.error_log, observe::remedy(&failure));
        let text = format!("--error-logfile: cannot open {file}; {remedy}: {failure}");
        if is_json && observe::init(Sink::stderr(), settings.log_level).is_ok() {
            error!(target: "server.not_started", "{text}");
        } else {
            eprintln!("rustwsgi: {text}");
        }
        return Err(1);
    }
    if !settings.print_config && !settings.check_config {
        observe::send_to(&settings.collectors());
    }
    Ok(())
}

/// The number of workers, and why it is that.
fn workers(count: WorkerCount) -> String {
    let cpus = Cpus::of_this_process();
    let number = count.number(cpus.usable());
    match count {
        WorkerCount::Auto => format!("{number}, auto: {cpus}"),
        WorkerCount::Number(_) => number.to_string(),
    }
}

/// Implements `--check-config`: loads the application, and returns the exit code. An application
/// that could not answer a request is an error, unless a hook may replace it.
fn check_config(py: Python<'_>, settings: &Settings, hooks: &Hooks) -> i32 {
    if settings.tls.is_enabled()
        && let Err(reason) = Renewal::read(&settings.tls, None)
    {
        error!(target: "server.not_started", "{reason}");
        return 1;
    }
    let loaded = match import(py, settings, hooks) {
        Ok(loaded) => loaded,
        Err(failure) => {
            failure.log();
            return failure.code;
        }
    };
    match loaded.doubt.map(Doubt::into_text) {
        Some(warning) if hooks.may_replace_app(py) => warn!(target: "app.doubtful", "{warning}"),
        Some(warning) => {
            error!(target: "app.doubtful", "{warning}");
            return 3;
        }
        None => {}
    }
    info!(target: "config.checked", "The configuration is valid, and the application was loaded");
    0
}

/// Loads the application in the process that serves it.
fn load(py: Python<'_>, settings: &Settings, hooks: &Hooks) -> Result<Py<PyAny>, LoadFailure> {
    let loaded = import(py, settings, hooks)?;
    if let Some(warning) = loaded.doubt.map(Doubt::into_text) {
        warn!(target: "app.doubtful", "{warning}");
    }
    if settings.processes.gc_freeze
        && let Err(failure) = freeze_gc(py, settings.processes.preload)
    {
        warn!(target: "app.gc_freeze", "gc.freeze() failed, serving without it: {failure}");
    }
    Ok(loaded.app)
}

/// Imports the application.
fn import(py: Python<'_>, settings: &Settings, hooks: &Hooks) -> Result<Loaded, LoadFailure> {
    let failed = |code: i32, reason: String| LoadFailure {
        code,
        traceback: None,
        reason,
        is_conflict: false,
    };
    if let Some(directory) = &settings.chdir
        && let Err(failure) = std::env::set_current_dir(directory)
    {
        let shown = directory.display().to_string();
        let text = format!("--chdir: cannot change to the directory {shown:?}: {failure}");
        return Err(failed(2, text));
    }
    if let Err(failure) = prepare_import(py, settings) {
        let missing = failure.is_instance_of::<PyModuleNotFoundError>(py);
        let shown = wsgi::format_exception(py, &failure);
        return Err(failed(
            1,
            format!("{}{}", shown.trim_end(), permission_hint(settings, missing)),
        ));
    }
    wsgi::configure_logging(py, settings, hooks.0.as_ref()).map_err(|reason| failed(1, reason))?;
    let Some(spec) = &settings.app else {
        return Err(failed(
            2,
            "no application is given: name it, as in rustwsgi module:app".to_owned(),
        ));
    };
    let loaded = wsgi::load(py, spec).map_err(|failure| {
        // A signal ended the import: this is not an error to report.
        if failure.interrupted {
            return failed(130, String::new());
        }
        let reason = format!("{failure}{}", permission_hint(settings, failure.missing));
        let is_conflict = failure.cause.is_some_and(|cause| supervisor::is_conflict(py, &cause));
        LoadFailure { code: 3, traceback: failure.traceback, reason, is_conflict }
    })?;
    match loaded.doubt {
        Some(Doubt::Async(reason)) if !hooks.may_replace_app(py) => Err(failed(3, reason)),
        _ => Ok(loaded),
    }
}

/// Names another possible cause if a module is `missing` in a worker that runs as another user.
fn permission_hint(settings: &Settings, missing: bool) -> String {
    let user = settings.processes.user.as_deref().filter(|_| missing);
    user.map_or_else(String::new, |user| {
        format!(
            "; or the user {user:?} (--user) may not read its file: check the permissions of all \
             its directories"
        )
    })
}

/// Excludes imported objects from garbage collection: they live as long as the process, and each
/// collection would take time for them, and copy pages that forked workers share. With
/// `is_preloaded`, collects garbage first, so that no worker inherits any.
fn freeze_gc(py: Python<'_>, is_preloaded: bool) -> PyResult<()> {
    let gc = py.import("gc")?;
    if is_preloaded {
        gc.call_method0("collect")?;
    }
    gc.call_method0("freeze").map(drop)
}

/// Sets the environment variables and the module search path for the import of the application.
fn prepare_import(py: Python<'_>, settings: &Settings) -> PyResult<()> {
    wsgi::install_loggers(py, settings)?;
    let os = py.import("os")?;
    let environ = os.getattr("environ")?;
    // A server that the application starts must not read it. A reload of a master that imports the
    // application does.
    config::keep_integration();
    environ.call_method1("pop", (config::INTEGRATION_VARIABLE, py.None()))?;
    for (name, value) in &settings.env {
        environ.set_item(name, value)?;
    }
    let path = py.import("sys")?.getattr("path")?.cast_into::<PyList>()?;
    let here = os.call_method0("getcwd")?;
    for entry in settings.pythonpath.iter().rev() {
        path.insert(0, os.getattr("path")?.call_method1("abspath", (entry.as_os_str(),))?)?;
    }
    // The application is usually in the working directory.
    if !path.contains(&here)? {
        path.insert(0, here)?;
    }
    Ok(())
}
