//! The Python extension module `rustwsgi._rustwsgi`.

mod tables;

use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use log::warn;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyAny, PyDict, PyList, PyString, PyTuple};

use crate::config::{self, LogFormat, Settings, WorkerCount};
use crate::observe::{AppLine, Routed, Sink};
use crate::sync::ignore_poison;
use crate::worker::{Server, StartError};
use crate::wsgi::{Doubt, doubt};
use crate::{cli, observe};

/// The native half of the `rustwsgi` package.
#[pymodule(gil_used = false)]
pub mod _rustwsgi {
    #[pymodule_export]
    use super::tables::{
        check_options, gunicorn_reason, gunicorn_rows, option_rows, resolved_options, uwsgi_advice,
    };
    #[pymodule_export]
    use super::{
        BackgroundServer, begin_log_routing, end_log_routing, log_line, log_record, main,
        send_metric, serve, take_log_record, unknown_option, write_formatted,
    };
    #[pymodule_export]
    use crate::wsgi::{Errors, FileWrapper, Input};

    #[pymodule_init]
    fn init(module: &super::Bound<'_, super::PyModule>) -> super::PyResult<()> {
        use pyo3::prelude::*;
        module.add("RequestTimeout", module.py().get_type::<crate::wsgi::RequestTimeout>())?;
        module.add("RequestBodyError", crate::wsgi::request_body_error(module.py()))?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

/// Runs the command line `argv`, which begins with the program's name; returns the exit code.
#[pyfunction]
fn main(py: Python<'_>, argv: Vec<OsString>) -> i32 {
    cli::main(py, argv)
}

/// Writes a line to the error log. `event` is its stable event id, `area.event`.
#[pyfunction]
#[pyo3(name = "log", signature = (level, message, event=None, traceback=None))]
fn log_line(level: &str, message: &str, event: Option<&str>, traceback: Option<&str>) {
    let level = match level {
        "debug" => log::Level::Debug,
        "info" => log::Level::Info,
        "warning" => log::Level::Warn,
        _ => log::Level::Error,
    };
    let target = event.unwrap_or(module_path!());
    match traceback {
        Some(traceback) => log::log!(target: target, level, traceback; "{message}"),
        None => log::log!(target: target, level, "{message}"),
    }
}

/// Writes a record of Python's `logging` to the error log, as a line of the named level.
#[pyfunction]
#[pyo3(signature = (level, message, event, traceback=None, logger=None, request_id=None))]
fn log_record(
    level: &str,
    message: &str,
    event: &str,
    traceback: Option<&str>,
    logger: Option<&str>,
    request_id: Option<&str>,
) {
    let level = as_level(level);
    observe::write_line(&AppLine { event, level, logger, message, traceback, request_id });
}

/// The application can give a level any name, which must not end its bracket. Without a name it is
/// `Level 35`.
fn as_level(name: &str) -> &str {
    let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_ ".contains(&byte));
    if is_word && !name.is_empty() { name } else { "INFO" }
}

/// Writes a line that a formatter of the application has made to the error log.
#[pyfunction]
fn write_formatted(level: &str, text: &str) {
    observe::write_formatted(as_level(level), text);
}

/// Sends a metric of a hook to statsd, if there is one.
#[pyfunction]
fn send_metric(name: &str, value: &str, kind: &str) {
    observe::send_metric(name, value, kind);
}

/// Lets lines of the server be queued for a thread that calls [`take_log_record`]. False if there
/// is one.
#[pyfunction]
fn begin_log_routing() -> bool {
    observe::begin_routing()
}

/// What [`take_log_record`] returns for a line: whether it belongs to the access log, level, pid,
/// event, message, traceback, the id of the request, and time.
type LogRecord = (bool, String, u32, Option<String>, String, Option<String>, Option<String>, f64);

/// Waits for a line of the server that is to be passed to its logger; None at the end.
#[pyfunction]
fn take_log_record(py: Python<'_>) -> Option<LogRecord> {
    let line = py.detach(observe::take_routed)?;
    let Routed { is_access, level, pid, event, message, traceback, request_id, time } = line;
    Some((is_access, level, pid, event, message, traceback, request_id, time))
}

/// Ends that, within the given seconds.
#[pyfunction]
fn end_log_routing(py: Python<'_>, seconds: f64) {
    py.detach(|| observe::end_routing(Duration::from_secs_f64(seconds.clamp(0.0, 60.0))));
}

/// Why a framework's settings cannot have an option of this name; None if they can.
#[pyfunction]
fn unknown_option(name: &str) -> Option<String> {
    config::refusal(name)
}

/// Serves `app` until SIGINT or SIGTERM.
#[pyfunction]
#[pyo3(signature = (app, /, **options))]
fn serve(py: Python<'_>, app: Py<PyAny>, options: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
    let settings = Arc::new(read_options(options)?);
    check_app(py, &app)?;
    start_logging(&settings)?;
    warn_about(app.bind(py));
    let finished = cli::run_until_signal(py, app, &settings).map_err(start_failed)?;
    if finished {
        Ok(())
    } else {
        Err(PyRuntimeError::new_err("the server was stopped while requests were still running"))
    }
}

/// A server on background threads: `start()`, then `stop()`.
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
struct BackgroundServer {
    app: Py<PyAny>,
    settings: Arc<Settings>,
    stage: Mutex<Stage>,
}

/// The stage of a server. While one thread starts or stops it, no other thread may do so.
enum Stage {
    Stopped,
    Starting,
    Running(Server),
    Stopping,
}

#[pymethods]
impl BackgroundServer {
    #[new]
    #[pyo3(signature = (app, /, **options))]
    fn new(
        py: Python<'_>,
        app: Py<PyAny>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<BackgroundServer> {
        let settings = Arc::new(read_options(options)?);
        check_app(py, &app)?;
        Ok(BackgroundServer { app, settings, stage: Mutex::new(Stage::Stopped) })
    }

    /// Binds and serves; returns a list of `(host, port, url)`, host and port None for a unix
    /// socket.
    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        match &mut *self.lock(py) {
            stage @ Stage::Stopped => *stage = Stage::Starting,
            _ => {
                return Err(PyRuntimeError::new_err(
                    "the server is already started: call stop() first",
                ));
            }
        }
        let server = start_logging(&self.settings).and_then(|()| {
            warn_about(self.app.bind(py));
            Server::start(py, self.app.clone_ref(py).into(), self.settings.clone(), || Ok(()))
                .map_err(start_failed)
        });
        let server = match server {
            Ok(server) => server,
            Err(failure) => {
                *self.lock(py) = Stage::Stopped;
                return Err(failure);
            }
        };
        let addresses = server.addresses().iter().map(|(address, url)| {
            (address.map(|a| a.ip().to_string()), address.map(|a| a.port()), url.clone())
        });
        let addresses = PyList::new(py, addresses.collect::<Vec<_>>());
        *self.lock(py) = Stage::Running(server);
        addresses
    }

    /// Stops accepting, and waits for running requests up to the graceful timeout. Returns
    /// whether all have finished; if not, it may be called again. Does nothing if the server is not
    /// running.
    fn stop(&self, py: Python<'_>) -> PyResult<bool> {
        let mut server = {
            let mut stage = self.lock(py);
            match std::mem::replace(&mut *stage, Stage::Stopping) {
                Stage::Running(server) => server,
                Stage::Stopped => {
                    *stage = Stage::Stopped;
                    return Ok(true);
                }
                busy => {
                    *stage = busy;
                    return Err(PyRuntimeError::new_err(
                        "another thread is starting or stopping the server: wait for it",
                    ));
                }
            }
        };
        server.stop();
        let limit = self.settings.timeouts.graceful;
        let limit = (limit < Duration::MAX).then_some(limit);
        let joined = server.join_gracefully(py, limit);
        let has_stopped = matches!(joined, Ok(true));
        *self.lock(py) = if has_stopped { Stage::Stopped } else { Stage::Running(server) };
        joined
    }
}

impl BackgroundServer {
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, Stage> {
        ignore_poison(self.stage.lock_py_attached(py))
    }
}

fn start_logging(settings: &Settings) -> PyResult<()> {
    let opened = Sink::open(&settings.error_log);
    observe::set_json(settings.logs.format == LogFormat::Json);
    let opened = opened.and_then(|sink| observe::init(sink, settings.log_level));
    observe::send_to(&settings.collectors());
    opened.map_err(|failure| {
        let message = format!(
            "error_logfile: cannot open {}; {}: {failure}",
            settings.error_log,
            observe::remedy(&failure)
        );
        match failure.raw_os_error() {
            Some(code) => PyOSError::new_err((code, message)),
            None => PyOSError::new_err(message),
        }
    })
}

/// Logs what the command line logs: each request will fail, if the signature is right.
fn warn_about(app: &Bound<'_, PyAny>) {
    if let Some(Doubt::Arguments(warning)) = doubt(app) {
        warn!(target: "app.doubtful", "{warning}");
    }
}

fn check_app(py: Python<'_>, app: &Py<PyAny>) -> PyResult<()> {
    if app.bind(py).is_callable() {
        match doubt(app.bind(py)) {
            Some(Doubt::Async(refusal)) => Err(pyo3::exceptions::PyTypeError::new_err(refusal)),
            Some(Doubt::Arguments(_)) | None => Ok(()),
        }
    } else {
        let app = app.bind(py);
        let hint = match app.cast::<PyString>() {
            Ok(name) => format!("not its name {}", name.repr()?),
            Err(_) => format!("an object of type {} cannot be called", app.get_type().name()?),
        };
        Err(pyo3::exceptions::PyTypeError::new_err(format!(
            "the application must be a callable, as in rustwsgi.serve(app): {hint}"
        )))
    }
}

/// Parses keyword arguments, which are the command line's options with underscores. Values may be
/// strings, numbers, paths, booleans, or lists and tuples of them for options that may be repeated.
fn read_options(options: Option<&Bound<'_, PyDict>>) -> PyResult<Settings> {
    let mut pairs = Vec::new();
    for (key, value) in options.into_iter().flat_map(|options| options.iter()) {
        let values = if value.is_none() {
            continue;
        } else if let Ok(list) = value.cast::<PyList>() {
            list.iter().map(|item| as_text(&item)).collect::<PyResult<_>>()?
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            tuple.iter().map(|item| as_text(&item)).collect::<PyResult<_>>()?
        } else {
            vec![as_text(&value)?]
        };
        let key: String = key.extract()?;
        if config::is_command_line_only(&key) {
            return Err(PyValueError::new_err(format!(
                "the option '{key}' is for the command line only: here the program has loaded the \
                 application itself"
            )));
        }
        pairs.push((key, values));
    }
    let parsed = config::parse_api(&pairs).and_then(|settings| {
        config::refuse_master_options(&pairs, &settings)?;
        Ok(settings)
    });
    let settings = parsed.map_err(|exit| {
        let message = exit.message.trim_end();
        PyValueError::new_err(message.strip_prefix("error: ").unwrap_or(message).to_owned())
    })?;
    if settings.processes.workers != WorkerCount::Number(1) {
        return Err(PyValueError::new_err(
            "workers: only 1 is possible, as the server runs in this process; use the command line \
             for more",
        ));
    }
    Ok(settings)
}

fn as_text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(flag) = value.cast::<pyo3::types::PyBool>() {
        return Ok(flag.is_true().to_string());
    }
    Ok(value.str()?.to_str()?.to_owned())
}

fn start_failed(error: StartError) -> PyErr {
    match error {
        StartError::Python(error) => error,
        StartError::Bind(error) => match error.root_cause().downcast_ref::<std::io::Error>() {
            Some(cause) if cause.raw_os_error().is_some() => {
                PyOSError::new_err((cause.raw_os_error(), format!("{error:#}")))
            }
            _ => PyOSError::new_err(format!("{error:#}")),
        },
        other => PyOSError::new_err(other.to_string()),
    }
}
