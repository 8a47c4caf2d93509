//! `--log-python`: lines of the server go through Python's loggers, which `--log-config` and
//! gunicorn's `logconfig_dict` configure. The Python module `rustwsgi._log_routing` does both;
//! `observe` has the queue between it and the threads that log.

use pyo3::prelude::*;

use super::traceback;
use crate::config::Settings;

/// How long the end of the server waits for handlers that do not keep up.
const END_TIMEOUT_S: f64 = 1.0;

/// Configures Python's logging as the settings and the gunicorn configuration say, whose hooks are
/// given.
///
/// # Errors
/// A message that names the option and the mistake.
pub fn configure_logging(
    py: Python<'_>,
    settings: &Settings,
    hooks: Option<&Py<PyAny>>,
) -> Result<(), String> {
    let logs = &settings.logs;
    if !logs.python {
        return Ok(());
    }
    let configure = || -> PyResult<Option<String>> {
        let file = logs.config.as_deref().map(std::path::Path::as_os_str);
        let json = logs.config_json.as_deref().map(std::path::Path::as_os_str);
        let module = py.import("rustwsgi._log_routing")?;
        module.call_method1("configure", (file, json, hooks))?.extract()
    };
    match configure() {
        Ok(None) => Ok(()),
        Ok(Some(reason)) => Err(reason),
        Err(failure) => {
            let shown = traceback::format(py, &failure);
            Err(format!("cannot configure Python's logging:\n{}", shown.trim_end()))
        }
    }
}

/// Starts the thread that passes lines to their loggers, with `--log-python`.
pub fn route_logs(py: Python<'_>, settings: &Settings) -> PyResult<()> {
    if settings.logs.python {
        py.import("rustwsgi._log_routing")?.call_method0("start")?;
    }
    Ok(())
}

/// Ends it, so that no line is lost with the process.
pub fn stop_routing(py: Python<'_>) {
    py.detach(|| crate::observe::end_routing(std::time::Duration::from_secs_f64(END_TIMEOUT_S)));
}
