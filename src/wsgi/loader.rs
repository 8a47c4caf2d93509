//! Loads the application: imports the module, looks up the attribute, calls the factory.

use std::fmt;

use log::warn;
use pyo3::call::PyCallArgs;
use pyo3::exceptions::{PyAttributeError, PyKeyboardInterrupt, PyModuleNotFoundError};
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyDict, PyModule, PyString, PyTuple};

use super::green_threads::green_threads_error;
use super::signature::{self, Doubt};
use super::{fork, traceback};
use crate::config::AppSpec;

/// The application, loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The application: a callable.
    pub app: Py<PyAny>,
    /// Why every request to it will fail, if its signature shows that.
    pub doubt: Option<Doubt>,
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
    let doubt = signature::check(&spec.to_string(), &app);
    Ok(Loaded { app: app.unbind(), doubt })
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
            let advice = submodule(module.py(), name, "wsgi");
            let advice = advice.or_else(|| similar_attribute(module, None)).unwrap_or_else(|| {
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
/// of a Django project. `name` may be the path of an attribute: then its first part counts, because
/// `find_spec()` imports all others.
fn submodule(py: Python<'_>, parent: &str, name: &str) -> Option<String> {
    let (name, attr) = match name.split_once('.') {
        Some((name, attr)) => (name, format!(":{attr}")),
        None if name == "wsgi" => (name, ":application".to_owned()),
        None => (name, String::new()),
    };
    let full = format!("{parent}.{name}");
    let known =
        py.import("importlib.util").and_then(|util| util.call_method1("find_spec", (&full,)));
    let is_module = known.is_ok_and(|spec| !spec.is_none());
    is_module.then(|| format!("there is a module {full:?}; did you mean {full}{attr}?"))
}

fn lookup<'py>(module: &Bound<'py, PyAny>, path: &str) -> PyResult<Bound<'py, PyAny>> {
    path.split('.').try_fold(module.clone(), |object, name| object.getattr(name))
}

fn load_error(message: String) -> LoadError {
    LoadError { message, traceback: None, interrupted: false, missing: false, cause: None }
}

fn load_error_from(py: Python<'_>, message: String, error: &PyErr) -> LoadError {
    let module = py.import("rustwsgi._load_errors");
    let formatted = module.and_then(|module| {
        let text = |name: &str| -> PyResult<String> {
            let text = module.call_method1(name, (error.value(py),))?;
            traceback::to_utf8(text.cast::<PyString>()?)
        };
        Ok((text("format_traceback")?, text("summary")?))
    });
    let (traceback, message) = match formatted {
        Ok((traceback, summary)) => (traceback, format!("{message}: {summary}")),
        Err(_) => (traceback::format(py, error), message),
    };
    LoadError {
        message,
        traceback: Some(traceback),
        interrupted: error.is_instance_of::<PyKeyboardInterrupt>(py),
        missing: error.is_instance_of::<PyModuleNotFoundError>(py),
        cause: Some(Box::new(error.clone_ref(py))),
    }
}

fn import_failed(py: Python<'_>, spec: &AppSpec, error: &PyErr) -> LoadError {
    const FAILED: &str = "cannot import the application";
    let missing: Option<String> = error
        .is_instance_of::<PyModuleNotFoundError>(py)
        .then(|| error.value(py).getattr("name").and_then(|name| name.extract()).ok())
        .flatten();
    let module = &spec.module;
    let Some(name) = missing else {
        let message =
            format!("{FAILED}: the module {module:?} raised an exception while it was imported");
        return load_error_from(py, message, error);
    };
    if *module != name && !module.starts_with(&format!("{name}.")) {
        let hint = missing_import(py, spec, &name, error);
        return LoadError {
            message: format!("{FAILED}: {module:?} imports {name:?}, {hint}"),
            ..load_error_from(py, String::new(), error)
        };
    }
    let advice = dotted_attribute(py, module);
    let hint = match (advice, name.rsplit_once('.')) {
        (None, Some((package, submodule))) if is_package(py, package) => {
            format!("the package {package:?} has no module {submodule:?}")
        }
        (advice, _) => {
            let advice = advice.unwrap_or_else(|| missing_module(py, spec));
            format!("ModuleNotFoundError: No module named '{name}'; {advice}")
        }
    };
    // The traceback would only repeat this.
    LoadError { missing: true, ..load_error(format!("{FAILED}: {hint}")) }
}

/// Advice about a module that does not exist.
fn missing_module(py: Python<'_>, spec: &AppSpec) -> String {
    let arguments = spec.arguments.as_ref().map_or_else(String::new, |text| format!("({text})"));
    let attr = spec.attr.as_ref().map(|attr| format!("{attr}{arguments}"));
    suggestion(py, "missing_module", (&spec.module, attr)).unwrap_or_else(|| {
        "run rustwsgi in the directory that has it, or name that directory with --chdir or \
         --pythonpath"
            .to_owned()
    })
}

/// Advice about a module that the application imports, and that does not exist.
fn missing_import(py: Python<'_>, spec: &AppSpec, name: &str, error: &PyErr) -> String {
    let importer = || -> PyResult<String> {
        let mut last = error.traceback(py).ok_or_else(|| error.clone_ref(py))?.into_any();
        loop {
            let next = last.getattr("tb_next")?;
            if next.is_none() {
                return last
                    .getattr("tb_frame")?
                    .getattr("f_code")?
                    .getattr("co_filename")?
                    .extract();
            }
            last = next;
        }
    };
    suggestion(py, "missing_import", (name, importer().ok(), spec.to_string())).unwrap_or_else(
        || {
            let prefix =
                py.import("sys").and_then(|sys| sys.getattr("prefix")?.extract::<String>());
            let environment = prefix.unwrap_or_else(|_| "this Python environment".to_owned());
            format!(
                "which is not installed in {environment}: install it, or use another environment"
            )
        },
    )
}

/// Advice about an attribute that a module does not have.
fn similar_attribute(module: &Bound<'_, PyAny>, path: Option<&str>) -> Option<String> {
    suggestion(module.py(), "missing_attribute", (module, path))
}

/// Calls a function of `rustwsgi._suggestions`. A failure there must not hide the mistake.
fn suggestion<'py>(
    py: Python<'py>,
    function: &str,
    arguments: impl PyCallArgs<'py>,
) -> Option<String> {
    let module = py.import("rustwsgi._suggestions").ok()?;
    module.getattr(function).ok()?.call1(arguments).ok()?.extract().ok()
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
    if !error.is_instance_of::<PyAttributeError>(py) {
        let message =
            format!("looking up {path:?} in the module {:?} raised an exception", spec.module);
        return load_error_from(py, message, error);
    }
    let similar = module.cast::<PyModule>().ok().filter(|_| !path.contains('.'));
    let hint = similar
        .and_then(|module| similar_attribute(module, Some(path)))
        .or_else(|| submodule(py, &spec.module, path))
        // A Django project: the package has the name of the project.
        .or_else(|| submodule(py, &spec.module, "wsgi"))
        .map_or_else(String::new, |hint| format!("; {hint}"));
    load_error(format!("the module {:?} has no attribute {path:?}{hint}", spec.module))
}
