//! Loads the application: imports the module, looks up the attribute, calls the factory.

use std::fmt;

use log::warn;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyDict, PyModule, PyString, PyTuple, PyType, PyTypeMethods};

use super::green_threads::green_threads_error;
use super::{fork, traceback};
use crate::config::AppSpec;

/// The application, loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The application: a callable.
    pub app: Py<PyAny>,
    /// Why every request to it will fail, if its signature shows that.
    pub warning: Option<String>,
}

/// Why the application was not loaded.
#[derive(Debug)]
pub struct LoadError {
    /// What is wrong, and what to write instead.
    pub message: String,
    /// The traceback, if the application's code raised an exception.
    pub traceback: Option<String>,
    /// True if SIGINT interrupted the import.
    pub interrupted: bool,
    /// True if a module was not found.
    pub missing: bool,
    /// The exception, if one was raised.
    pub cause: Option<Box<PyErr>>,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LoadError {}

/// The names to look up if only the module is given. gunicorn and mod_wsgi look for `application`,
/// which in many modules is `app` wrapped in middleware.
const NAMES: [&str; 2] = ["application", "app"];

/// Loads the application that `spec` names. If it names only a module, looks up [`NAMES`] in it.
pub fn load(py: Python<'_>, spec: &AppSpec) -> Result<Loaded, LoadError> {
    fork::watch(py)
        .map_err(|error| load_error_from(py, "cannot register a fork hook".to_owned(), &error))?;
    let module = py.import(PyString::new(py, &spec.module));
    fork::exit_if_forked(py, module.as_ref().err());
    let module = module.map_err(|error| import_failed(py, spec, &error))?;
    let found = match &spec.attr {
        Some(path) => lookup(&module, path)
            .map_err(|error| attribute_failed(py, spec, path, &module, &error))?,
        None => default_application(spec, &module)?,
    };
    let app = match &spec.arguments {
        Some(arguments) => call(spec, &found, arguments)?,
        None => found,
    };
    if !app.is_callable() {
        let found = app.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        let advice = match &spec.attr {
            Some(path) if found == "module" => submodule(py, &spec.module, path),
            _ => None,
        };
        let advice = advice.map_or_else(String::new, |advice| format!("; {advice}"));
        return Err(load_error(format!(
            "the object {spec} is not a WSGI application: an object of type {found} cannot be \
             called{advice}"
        )));
    }
    if let Some(refusal) = green_threads_error(py) {
        return Err(load_error(refusal));
    }
    let warning = check_signature(spec, &app);
    Ok(Loaded { app: app.unbind(), warning })
}

/// The application of a module of which no attribute is named.
fn default_application<'py>(
    spec: &AppSpec,
    module: &Bound<'py, PyModule>,
) -> Result<Bound<'py, PyAny>, LoadError> {
    let name = &spec.module;
    match NAMES.map(|name| module.getattr(name).ok()) {
        [Some(application), Some(app)] => {
            if !application.is(&app) {
                warn!(
                    target: "app.ambiguous",
                    "The module {name:?} has `application` and `app`, which differ: serving \
                     {name}:application; name the one to serve"
                );
            }
            Ok(application)
        }
        [Some(found), None] | [None, Some(found)] => Ok(found),
        [None, None] => {
            let advice = submodule(module.py(), name, "wsgi").unwrap_or_else(|| {
                format!("name the object that is the WSGI application, as in {name}:my_app")
            });
            Err(load_error(format!(
                "the module {name:?} has neither `application` nor `app`: {advice}"
            )))
        }
    }
}

/// Calls the factory. Its arguments must be literals, so that a command line cannot contain code.
fn call<'py>(
    spec: &AppSpec,
    factory: &Bound<'py, PyAny>,
    arguments: &str,
) -> Result<Bound<'py, PyAny>, LoadError> {
    let py = factory.py();
    let check = |made: PyResult<Bound<'py, PyAny>>| {
        fork::exit_if_forked(py, made.as_ref().err());
        made.map_err(|error| {
            load_error_from(
                py,
                format!("the application factory {spec} raised an exception"),
                &error,
            )
        })
    };
    if arguments.is_empty() {
        return check(factory.call0());
    }
    let parse = || -> PyResult<(Bound<'py, PyTuple>, Bound<'py, PyDict>)> {
        py.import("rustwsgi._factory_arguments")?.call_method1("parse", (arguments,))?.extract()
    };
    let (positional, named) = parse().map_err(|error| {
        load_error(format!(
            "the arguments of {spec} cannot be parsed; they must be literals, as in \
             {}:create_app('production', debug=False): {error}",
            spec.module
        ))
    })?;
    check(factory.call(positional, Some(&named)))
}

/// Suggests the submodule `name` of the package `parent` if there is one, such as the module `wsgi`
/// of a Django project.
fn submodule(py: Python<'_>, parent: &str, name: &str) -> Option<String> {
    let full = format!("{parent}.{name}");
    let known =
        py.import("importlib.util").and_then(|util| util.call_method1("find_spec", (&full,)));
    let is_module = known.is_ok_and(|spec| !spec.is_none());
    let attr = if name == "wsgi" { ":application" } else { "" };
    is_module.then(|| format!("there is a module {full:?}; did you mean {full}{attr}?"))
}

/// The warning about a callable that does not take the two arguments of a WSGI application. It is
/// not an error, because a hook of a gunicorn configuration may replace the application.
fn check_signature(spec: &AppSpec, app: &Bound<'_, PyAny>) -> Option<String> {
    // CO_VARARGS, CO_COROUTINE and CO_ASYNC_GENERATOR of the module `inspect`.
    const VARARGS: u32 = 0x04;
    const ASYNC: u32 = 0x80 | 0x200;
    let is_function = app.get_type().name().is_ok_and(|name| name == "function");
    let called = if is_function { app.clone() } else { app.get_type().getattr("__call__").ok()? };
    // `co_argcount` counts `self`, which the caller passes neither to a bound method nor to a
    // `__call__` that is not a `staticmethod`.
    let is_bound = called.hasattr("__self__").ok()?;
    let implicit =
        usize::from(is_bound || !is_function && !is_static(&app.get_type(), "__call__")?);
    let code = called.getattr("__code__").ok()?;
    let flags: u32 = code.getattr("co_flags").ok()?.extract().ok()?;
    if flags & ASYNC != 0 {
        return Some(format!(
            "{spec} is an async function; this server runs WSGI applications, not ASGI ones"
        ));
    }
    let max: usize = code.getattr("co_argcount").ok()?.extract().ok()?;
    let max = max.saturating_sub(implicit);
    let count = |name: &str| called.getattr(name).and_then(|values| values.len()).unwrap_or(0);
    let min = max.saturating_sub(count("__defaults__"));
    let keyword_only: usize = code.getattr("co_kwonlyargcount").ok()?.extract().ok()?;
    let required_keywords = keyword_only.saturating_sub(count("__kwdefaults__"));
    if min <= 2 && required_keywords == 0 && (max >= 2 || flags & VARARGS != 0) {
        return None;
    }
    let advice = match is_function {
        false => String::new(),
        _ if min == 0 && required_keywords == 0 => format!(": if it is a factory, write {spec}()"),
        _ => format!(": if it is a factory, write {spec}(ARGUMENTS)"),
    };
    Some(format!("{spec} cannot be called with two arguments, as a WSGI application is{advice}"))
}

/// Whether the attribute `name` of a class, looked up along its MRO, is a `staticmethod`. `None` if
/// there is no such attribute.
fn is_static(class: &Bound<'_, PyType>, name: &str) -> Option<bool> {
    let kind = class.py().import("builtins").and_then(|all| all.getattr("staticmethod")).ok()?;
    let found = class.mro().iter().find_map(|class| {
        class.getattr("__dict__").and_then(|members| members.get_item(name)).ok()
    });
    found?.is_instance(&kind).ok()
}

fn lookup<'py>(module: &Bound<'py, PyAny>, path: &str) -> PyResult<Bound<'py, PyAny>> {
    path.split('.').try_fold(module.clone(), |object, name| object.getattr(name))
}

fn load_error(message: String) -> LoadError {
    LoadError { message, traceback: None, interrupted: false, missing: false, cause: None }
}

fn load_error_from(py: Python<'_>, message: String, error: &PyErr) -> LoadError {
    LoadError {
        message,
        traceback: Some(traceback::format(py, error)),
        interrupted: error.is_instance_of::<pyo3::exceptions::PyKeyboardInterrupt>(py),
        missing: error.is_instance_of::<pyo3::exceptions::PyModuleNotFoundError>(py),
        cause: Some(Box::new(error.clone_ref(py))),
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
            let advice = dotted_attribute(py, module);
            match (advice, name.rsplit_once('.')) {
                (None, Some((package, submodule))) if is_package(py, package) => {
                    format!("the package {package:?} has no module {submodule:?}")
                }
                (advice, _) => {
                    let advice = advice.unwrap_or_else(|| {
                        "run rustwsgi in the directory that has it, or name that directory with \
                         --chdir or --pythonpath"
                            .to_owned()
                    });
                    format!("there is no module {name:?}: {advice}")
                }
            }
        }
        Some(name) => format!(
            "{module:?} imports {name:?}, which is not installed in this Python environment"
        ),
        None => format!("the module {module:?} raised an exception while it was imported"),
    };
    load_error_from(py, format!("cannot import the application: {hint}"), error)
}

/// Suggests `hello:app` for `hello.app` if the last part of the name is an attribute.
fn dotted_attribute(py: Python<'_>, module: &str) -> Option<String> {
    let (parent, name) = module.rsplit_once('.')?;
    // The failed import of `hello.app` has imported `hello`.
    let loaded = py.import("sys").and_then(|sys| sys.getattr("modules")?.get_item(parent)).ok()?;
    loaded.hasattr(name).ok()?.then(|| format!("did you mean {parent}:{name}?"))
}

/// Whether this is a package that was imported.
fn is_package(py: Python<'_>, name: &str) -> bool {
    let loaded = py.import("sys").and_then(|sys| sys.getattr("modules")?.get_item(name));
    loaded.is_ok_and(|module| module.hasattr("__path__").unwrap_or(false))
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
        return load_error_from(py, message, error);
    }
    let hint = NAMES
        .iter()
        .find(|name| module.hasattr(**name).unwrap_or(false))
        .map(|name| format!("did you mean {}:{name}?", spec.module))
        .or_else(|| submodule(py, &spec.module, path))
        // A Django project: the package has the name of the project.
        .or_else(|| submodule(py, &spec.module, "wsgi"))
        .map_or_else(String::new, |hint| format!("; {hint}"));
    load_error(format!("the module {:?} has no attribute {path:?}{hint}", spec.module))
}
