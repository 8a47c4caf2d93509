//! gunicorn's loggers, `gunicorn.error` and `gunicorn.access`. The Python module
//! `rustwsgi._loggers` defines their handlers; this one passes the lines of the access log through
//! `gunicorn.access` for an application that has changed that logger.
//!
//! As a rule a line is formatted without Python. Applications written for gunicorn add filters to
//! `gunicorn.access`, which leave out health checks or hide secrets, or handlers of their own. So
//! each thread checks, once for the requests that it runs in a row, whether the logger is as the
//! server has set it up, and only if it is not, makes a `LogRecord` as gunicorn does.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use log::{LevelFilter, error};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyList, PyString, PyTuple};

use super::{fork, traceback};
use crate::config::Settings;
use crate::http1::{Head, ResponseHead};
use crate::observe::{self, AccessLog, AtomValue, Record};

/// The level of the access log's records, `logging.INFO`.
const INFO: i64 = 20;

thread_local! {
    /// The server's handler has written a line.
    static HAS_WRITTEN: Cell<bool> = const { Cell::new(false) };
}

/// Prepares the loggers before the application is imported. Without an access log they are set up
/// only when the application imports `logging`.
pub fn install_loggers(py: Python<'_>, settings: &Settings) -> PyResult<()> {
    call_install(py, ("rustwsgi._logger_hook", "install"), settings)
}

/// As [`install_loggers`], unless the program that calls the server has set up the loggers.
pub fn install_loggers_in_program(py: Python<'_>, settings: &Settings) -> PyResult<()> {
    call_install(py, ("rustwsgi._loggers", "install_in_program"), settings)
}

fn call_install(
    py: Python<'_>,
    (module, function): (&str, &str),
    settings: &Settings,
) -> PyResult<()> {
    let level = match settings.log_level {
        LevelFilter::Debug | LevelFilter::Trace => "debug",
        LevelFilter::Info => "info",
        LevelFilter::Warn => "warning",
        LevelFilter::Error | LevelFilter::Off => "error",
    };
    let arguments = (level, settings.has_access_lines());
    py.import(module)?.call_method1(function, arguments).map(drop)
}

/// What a record has beside the values of a line.
pub struct LoggedRequest<'a> {
    /// The head of the request.
    pub head: &'a Head,
    /// The head of the response.
    pub response: &'a ResponseHead,
    /// The context of the request, in which the logger is called: filters add a request id from a
    /// context variable.
    pub context: Option<Py<PyAny>>,
}

/// The logger `gunicorn.access` of an open access log.
#[derive(Debug)]
pub struct AccessLogger {
    /// The attributes of the logger.
    logger: Py<PyDict>,
    /// The handler that writes to the access log, and its attributes.
    handler: Py<PyAny>,
    handler_attributes: Py<PyDict>,
    /// `rustwsgi._loggers.log_access`.
    log_access: Py<PyAny>,
    /// The format of the lines, for Python's `%` operator; `None` for JSON.
    template: Option<String>,
    /// All lines go through the logger (`--log-python`).
    is_routed: bool,
    /// A failure of a filter was reported.
    has_failed: AtomicBool,
}

impl AccessLogger {
    /// Connects the logger to the access log. `None` if the program that calls the server has set
    /// up the logger itself.
    pub fn attach(py: Python<'_>, log: &Arc<AccessLog>) -> PyResult<Option<AccessLogger>> {
        let module = py.import("rustwsgi._loggers")?;
        // Weak: a handler must not keep the file open when the server has ended.
        let target: Weak<AccessLog> = Arc::downgrade(log);
        let write = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            let text: String = args.get_item(0)?.extract()?;
            if let Some(log) = target.upgrade() {
                log.log_text(&text);
                HAS_WRITTEN.set(true);
            }
            PyResult::Ok(())
        };
        let write = PyCFunction::new_closure(py, Some(c"rustwsgi_write_access_log"), None, write)?;
        let handler = module.call_method1("attach", (write,))?;
        if handler.is_none() {
            return Ok(None);
        }
        let attributes =
            |object: &Bound<'_, PyAny>| PyResult::Ok(object.getattr("__dict__")?.extract()?);
        Ok(Some(AccessLogger {
            logger: attributes(&module.getattr("access_logger")?)?,
            handler_attributes: attributes(&handler)?,
            handler: handler.unbind(),
            log_access: module.getattr("log_access")?.unbind(),
            template: log.format().template(),
            is_routed: log.is_routed(),
            has_failed: AtomicBool::new(false),
        }))
    }

    /// True if all lines go through the logger, or if the application has changed it, so that
    /// requests are to be logged with [`AccessLogger::log`].
    pub fn is_changed(&self, py: Python<'_>) -> bool {
        self.is_routed || !self.is_unchanged(py).unwrap_or(false)
    }

    /// Logs a request through Python's logger. If a filter or a handler raises an exception before
    /// the line is written, it is logged as without them.
    pub fn log(
        &self,
        py: Python<'_>,
        log: &AccessLog,
        record: &Record<'_>,
        request: LoggedRequest<'_>,
    ) {
        HAS_WRITTEN.set(false);
        log.count(record);
        let mut logged = Ok(());
        if !log.excludes(record) {
            logged = self.log_by_logger(py, log, record, &request);
        }
        drop(request);
        fork::exit_if_forked(py, logged.as_ref().err());
        if let Err(error) = logged {
            if !HAS_WRITTEN.get() {
                log.write_line(record);
            }
            if !self.has_failed.swap(true, Ordering::Relaxed) {
                error!(
                    target: "accesslog.filter_failed",
                    traceback = traceback::format(py, &error).as_str();
                    "A filter or handler of the logger gunicorn.access raised an exception: \
                     logging the request without it; further failures are not reported"
                );
            }
        }
    }

    /// True if the logger does what the server does without it: its only handler is the server's,
    /// and there is no filter and no other level.
    fn is_unchanged(&self, py: Python<'_>) -> PyResult<bool> {
        let (logger, handler) = (self.logger.bind(py), self.handler_attributes.bind(py));
        let is_empty = |attributes: &Bound<'_, PyDict>, name: &Bound<'_, PyString>| {
            let list = attributes.get_item(name)?;
            PyResult::Ok(list.is_some_and(|list| list.len().is_ok_and(|length| length == 0)))
        };
        let is = |attributes: &Bound<'_, PyDict>, name: &Bound<'_, PyString>, expected: bool| {
            let value = attributes.get_item(name)?;
            PyResult::Ok(value.is_some_and(|value| value.is_truthy().is_ok_and(|v| v == expected)))
        };
        let has_own_handler = || {
            let handlers = logger.get_item(intern!(py, "handlers"))?;
            let Some(handlers) = handlers else { return Ok(false) };
            let Ok(handlers) = handlers.cast_into::<PyList>() else { return Ok(false) };
            PyResult::Ok(handlers.len() == 1 && handlers.get_item(0)?.is(&self.handler))
        };
        let has_own_level = || {
            let level = logger.get_item(intern!(py, "level"))?;
            PyResult::Ok(level.is_some_and(|level| level.extract::<i64>().is_ok_and(|l| l == INFO)))
        };
        Ok(is_empty(logger, intern!(py, "filters"))?
            && has_own_handler()?
            && is(logger, intern!(py, "disabled"), false)?
            && is(logger, intern!(py, "propagate"), false)?
            && has_own_level()?
            && is_empty(handler, intern!(py, "filters"))?
            && is(handler, intern!(py, "formatter"), false)?
            && is(handler, intern!(py, "level"), false)?)
    }

    /// Makes a record with gunicorn's arguments, and passes it through the logger.
    #[cold]
    fn log_by_logger(
        &self,
        py: Python<'_>,
        log: &AccessLog,
        record: &Record<'_>,
        request: &LoggedRequest<'_>,
    ) -> PyResult<()> {
        let atoms = PyDict::new(py);
        for (letter, value) in log.atoms(record) {
            match value {
                AtomValue::Text(text) => atoms.set_item(letter, text)?,
                AtomValue::Number(number) => atoms.set_item(letter, number)?,
            }
        }
        add_fields(&atoms, 'i', request.head.fields())?;
        add_fields(&atoms, 'o', request.response.fields())?;
        if let (Some(id), Some(field)) = (record.trace.request_id, record.trace.request_id_field) {
            let id = observe::escaped(id.as_bytes());
            atoms.set_item(format!("{{{field}}}i"), &id)?;
            atoms.call_method1("setdefault", (format!("{{{field}}}o"), id))?;
        }
        for (key, value) in record.environ {
            let value = observe::escaped(value.as_bytes());
            atoms.set_item(format!("{{{}}}e", key.to_lowercase()), value)?;
        }
        let line = match &self.template {
            Some(template) => template.clone(),
            // The line is complete, and the atoms are for filters only.
            None => log.render(record).replace('%', "%%"),
        };
        let id = record.trace.request_id;
        match &request.context {
            Some(context) => {
                context.call_method1(py, intern!(py, "run"), (&self.log_access, line, atoms, id))?
            }
            None => self.log_access.call1(py, (line, atoms, id))?,
        };
        Ok(())
    }
}

/// Adds the atoms of header fields. Of a repeated field the first counts, as in a line.
fn add_fields<'a>(
    atoms: &Bound<'_, PyDict>,
    kind: char,
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> PyResult<()> {
    for (name, value) in fields {
        let atom = format!("{{{}}}{kind}", String::from_utf8_lossy(name).to_ascii_lowercase());
        if !value.is_empty() && !atoms.contains(&atom)? {
            atoms.set_item(atom, observe::escaped(value))?;
        }
    }
    Ok(())
}
