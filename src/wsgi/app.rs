//! Finds the application: imports a module, takes an attribute, calls a factory.

use std::fmt;

use pyo3::prelude::*;
use pyo3::types::{PyAny, PyString};

use super::traceback;
use crate::config::AppSpec;

/// Why there is no application to serve.
#[derive(Debug)]
pub struct LoadError {
    /// What went wrong and what to do.
    pub message: String,
    /// The user's own traceback, if their code raised.
    pub traceback: Option<String>,
    /// It was SIGINT that stopped it.
    pub interrupted: bool,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LoadError {}

/// Imports what `spec` names. `module` alone looks for `app`, then `application`.
pub fn load(py: Python<'_>, spec: &AppSpec) -> Result<Py<PyAny>, LoadError> {
    let module = py
        .import(PyString::new(py, &spec.module))
        .map_err(|error| import_failed(py, spec, &error))?;
    let found = match &spec.attr {
        Some(path) => lookup(&module, path).map_err(|error| attribute_failed(py, spec, path, &module, &error))?,
        None => ["app", "application"].iter().find_map(|name| module.getattr(*name).ok()).ok_or_else(|| {
            plain(format!(
                "the module {0:?} has neither `app` nor `application`: say which object is the WSGI \
                 application, as in {0}:my_app",
                spec.module
            ))
        })?,
    };
    let app = if spec.call {
        found.call0().map_err(|error| {
            raised(py, format!("the application factory {spec} raised an exception"), &error)
        })?
    } else {
        found
    };
    if !app.is_callable() {
        let found = app.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        return Err(plain(format!(
            "{spec} is not a WSGI application: an object of type {found} cannot be called"
        )));
    }
    Ok(app.unbind())
}

fn lookup<'py>(module: &Bound<'py, PyAny>, path: &str) -> PyResult<Bound<'py, PyAny>> {
    path.split('.').try_fold(module.clone(), |object, name| object.getattr(name))
}

fn plain(message: String) -> LoadError {
    LoadError { message, traceback: None, interrupted: false }
}

fn raised(py: Python<'_>, message: String, error: &PyErr) -> LoadError {
    LoadError {
        message,
        traceback: Some(traceback::format(py, error)),
        interrupted: error.is_instance_of::<pyo3::exceptions::PyKeyboardInterrupt>(py),
    }
}

fn import_failed(py: Python<'_>, spec: &AppSpec, error: &PyErr) -> LoadError {
    let missing: Option<String> = error
        .is_instance_of::<pyo3::exceptions::PyModuleNotFoundError>(py)
        .then(|| error.value(py).getattr("name").and_then(|name| name.extract()).ok())
        .flatten();
    let module = &spec.module;
    let hint = match missing {
        Some(name) if *module == name || module.starts_with(&format!("{name}.")) => format!(
            "there is no module {name:?}: run rustwsgi in the directory that has it, or name that \
             directory with --chdir or --pythonpath"
        ),
        Some(name) => format!(
            "{module:?} imports {name:?}, which is not installed in this Python environment"
        ),
        None => format!("the module {module:?} raised an exception while it was imported"),
    };
    raised(py, format!("cannot import the application: {hint}"), error)
}

fn attribute_failed(
    py: Python<'_>,
    spec: &AppSpec,
    path: &str,
    module: &Bound<'_, PyAny>,
    error: &PyErr,
) -> LoadError {
    if !error.is_instance_of::<pyo3::exceptions::PyAttributeError>(py) {
        let message =
            format!("looking up {path:?} in the module {:?} raised an exception", spec.module);
        return raised(py, message, error);
    }
    let hint = ["app", "application"]
        .iter()
        .find(|name| module.hasattr(**name).unwrap_or(false))
        .map_or_else(String::new, |name| format!("; did you mean {}:{name}?", spec.module));
    plain(format!("the module {:?} has no attribute {path:?}{hint}", spec.module))
}
