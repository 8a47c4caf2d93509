//! Finds the application: imports a module, takes an attribute, calls a factory.

use std::fmt;

use log::warn;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyString};

use super::green::green_threads;
use super::{fork, traceback};
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
    fork::settle(py).map_err(|error| raised(py, "cannot mind forks".to_owned(), &error))?;
    let module = py.import(PyString::new(py, &spec.module));
    fork::check(py, module.as_ref().err());
    let module = module.map_err(|error| import_failed(py, spec, &error))?;
    let found = match &spec.attr {
        Some(path) => lookup(&module, path)
            .map_err(|error| attribute_failed(py, spec, path, &module, &error))?,
        None => {
            let names = ["app", "application"];
            names.iter().find_map(|name| module.getattr(*name).ok()).ok_or_else(|| {
                let advice = submodule(py, &spec.module, "wsgi").unwrap_or_else(|| {
                    format!(
                        "say which object is the WSGI application, as in {}:my_app",
                        spec.module
                    )
                });
                let name = &spec.module;
                plain(format!("the module {name:?} has neither `app` nor `application`: {advice}"))
            })?
        }
    };
    let app = if spec.call {
        let made = found.call0();
        fork::check(py, made.as_ref().err());
        made.map_err(|error| {
            raised(py, format!("the application factory {spec} raised an exception"), &error)
        })?
    } else {
        found
    };
    if !app.is_callable() {
        let found = app.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        let advice = match &spec.attr {
            Some(path) if found == "module" => submodule(py, &spec.module, path),
            _ => None,
        };
        let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
        return Err(plain(format!(
            "{spec} is not a WSGI application: an object of type {found} cannot be called{advice}"
        )));
    }
    if let Some(refusal) = green_threads(py) {
        return Err(plain(refusal));
    }
    if let Some(doubt) = doubt(spec, &app) {
        warn!("{doubt}");
    }
    Ok(app.unbind())
}

/// What to write if `name` is a module in the package `parent`, as a Django project's `wsgi` is.
fn submodule(py: Python<'_>, parent: &str, name: &str) -> Option<String> {
    let full = format!("{parent}.{name}");
    let known =
        py.import("importlib.util").and_then(|util| util.call_method1("find_spec", (&full,)));
    let is_module = known.is_ok_and(|spec| !spec.is_none());
    let attr = if name == "wsgi" { ":application" } else { "" };
    is_module.then(|| format!("there is a module {full:?}; did you mean {full}{attr}?"))
}

/// A word about a function that no server could call as a WSGI application. It is only a word because
/// the answer to each request says the same, and a program may yet replace the function.
fn doubt(spec: &AppSpec, app: &Bound<'_, PyAny>) -> Option<String> {
    const VARARGS: u32 = 0x04; // CPython's CO_VARARGS and so on, as in the module `inspect`
    const ASYNC: u32 = 0x80 | 0x200;
    let is_function = app.get_type().name().is_ok_and(|name| name == "function");
    let called = if is_function { app.clone() } else { app.get_type().getattr("__call__").ok()? };
    let code = called.getattr("__code__").ok()?;
    let flags: u32 = code.getattr("co_flags").ok()?.extract().ok()?;
    if flags & ASYNC != 0 {
        return Some(format!(
            "{spec} is an async function; this server runs WSGI applications, not ASGI ones"
        ));
    }
    let own = usize::from(!is_function); // `self`
    let most: usize = code.getattr("co_argcount").ok()?.extract().ok()?;
    let most = most.saturating_sub(own);
    if is_function && most == 0 && flags & VARARGS == 0 {
        return Some(format!(
            "{spec} takes no arguments, a WSGI application takes two: if it is a factory, write {spec}()"
        ));
    }
    (most < 2 && flags & VARARGS == 0)
        .then(|| format!("{spec} cannot be called with two arguments, as a WSGI application is"))
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
        Some(name) if *module == name || module.starts_with(&format!("{name}.")) => {
            let advice = dotted_attribute(py, module).unwrap_or_else(|| {
                "run rustwsgi in the directory that has it, or name that directory with --chdir or \
                 --pythonpath"
                    .to_owned()
            });
            format!("there is no module {name:?}: {advice}")
        }
        Some(name) => format!(
            "{module:?} imports {name:?}, which is not installed in this Python environment"
        ),
        None => format!("the module {module:?} raised an exception while it was imported"),
    };
    raised(py, format!("cannot import the application: {hint}"), error)
}

/// What to write if the last part of the name is not a module's but an attribute's: `hello.app`.
fn dotted_attribute(py: Python<'_>, module: &str) -> Option<String> {
    let (parent, name) = module.rsplit_once('.')?;
    // The failed import has brought it in.
    let loaded = py.import("sys").and_then(|sys| sys.getattr("modules")?.get_item(parent)).ok()?;
    loaded.hasattr(name).ok()?.then(|| format!("did you mean {parent}:{name}?"))
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
        .map(|name| format!("did you mean {}:{name}?", spec.module))
        .or_else(|| submodule(py, &spec.module, path))
        .map_or_else(String::new, |hint| format!("; {hint}"));
    plain(format!("the module {:?} has no attribute {path:?}{hint}", spec.module))
}
