//! Whether the object that was loaded can be called as a WSGI application.

use pyo3::prelude::*;
use pyo3::types::{PyAny, PyString, PyType, PyTypeMethods};

/// Why every request to an application will fail, if its signature shows that.
///
/// It is not an error by itself, because a hook of a gunicorn configuration may replace the
/// application.
#[derive(Debug)]
pub enum Doubt {
    /// It is a coroutine function or has one as `__call__`: an ASGI application.
    Async(String),
    /// It does not take the two arguments of a WSGI application.
    Arguments(String),
}

impl Doubt {
    /// The sentence for the log.
    pub fn into_text(self) -> String {
        match self {
            Doubt::Async(text) | Doubt::Arguments(text) => text,
        }
    }
}

/// The parameters of an ASGI application.
const ASGI_PARAMETERS: [&str; 3] = ["scope", "receive", "send"];

/// The doubt about an object that a program serves.
pub fn doubt(app: &Bound<'_, PyAny>) -> Option<Doubt> {
    check("app", app)
}

/// The doubt about an application, if there is one. `spec` is its name.
pub(super) fn check(spec: &str, app: &Bound<'_, PyAny>) -> Option<Doubt> {
    // CO_VARARGS of the module `inspect`.
    const VARARGS: u32 = 0x04;
    let is_function = app.get_type().name().is_ok_and(|name| name == "function");
    let called = if is_function { app.clone() } else { app.get_type().getattr("__call__").ok()? };
    if is_async(app).unwrap_or(false) || is_async(&called).unwrap_or(false) {
        return Some(Doubt::Async(refusal(spec, app, is_function)));
    }
    // `co_argcount` counts `self`, which the caller passes neither to a bound method nor to a
    // `__call__` that is not a `staticmethod`.
    let is_bound = called.hasattr("__self__").ok()?;
    let implicit =
        usize::from(is_bound || !is_function && !is_static(&app.get_type(), "__call__")?);
    let code = called.getattr("__code__").ok()?;
    let flags: u32 = code.getattr("co_flags").ok()?.extract().ok()?;
    let max: usize = code.getattr("co_argcount").ok()?.extract().ok()?;
    let max = max.saturating_sub(implicit);
    let count = |name: &str| called.getattr(name).and_then(|values| values.len()).unwrap_or(0);
    let min = max.saturating_sub(count("__defaults__"));
    let keyword_only: usize = code.getattr("co_kwonlyargcount").ok()?.extract().ok()?;
    let required_keywords = keyword_only.saturating_sub(count("__kwdefaults__"));
    if min <= 2 && required_keywords == 0 && (max >= 2 || flags & VARARGS != 0) {
        return None;
    }
    let names: Vec<String> = code.getattr("co_varnames").ok()?.extract().ok()?;
    let text = format!("{spec} cannot be called with two arguments, as a WSGI application is");
    if names.iter().skip(implicit).take(3).eq(ASGI_PARAMETERS) {
        return Some(Doubt::Async(format!(
            "{text}; its parameters are those of an ASGI application: {INSTEAD}"
        )));
    }
    let advice = match is_function {
        false => String::new(),
        _ if min == 0 && required_keywords == 0 => format!(": if it is a factory, write {spec}()"),
        _ => format!(": if it is a factory, write {spec}(ARGUMENTS)"),
    };
    Some(Doubt::Arguments(text + &advice))
}

/// What to do with an ASGI application.
const INSTEAD: &str = "run it with an ASGI server, such as uvicorn or hypercorn, or serve \
                       a2wsgi.ASGIMiddleware(app)";

fn refusal(spec: &str, app: &Bound<'_, PyAny>, is_function: bool) -> String {
    let what = match app.get_type().fully_qualified_name() {
        _ if is_function => "is an async function".to_owned(),
        Ok(kind) => format!("({kind}) has an async function as its __call__"),
        Err(_) => "has an async function as its __call__".to_owned(),
    };
    format!(
        "the object {spec} {what}, so it is an ASGI application, and rustwsgi serves WSGI \
         applications: {INSTEAD}"
    )
}

/// Whether a call returns a coroutine or an asynchronous generator. Asks the module `inspect` if
/// the application has imported it: a function can be marked with it. To import it takes 1 MiB.
fn is_async(called: &Bound<'_, PyAny>) -> PyResult<bool> {
    let modules = called.py().import("sys")?.getattr("modules")?;
    match modules.get_item("inspect") {
        Ok(inspect) => is_async_by(&inspect, called),
        Err(_) => has_async_code(called),
    }
}

/// The same by the flags of the code, without the module. Looks through methods and
/// `functools.partial`, and only at functions, as the module does.
fn has_async_code(called: &Bound<'_, PyAny>) -> PyResult<bool> {
    // CO_COROUTINE and CO_ASYNC_GENERATOR of the module `inspect`.
    const ASYNC: u32 = 0x80 | 0x200;
    let mut function = called.clone();
    loop {
        let inner = match &*function.get_type().fully_qualified_name()?.to_string_lossy() {
            "method" => "__func__",
            "functools.partial" => "func",
            "function" => break,
            _ => return Ok(false),
        };
        function = function.getattr(inner)?;
    }
    let flags: u32 = function.getattr("__code__")?.getattr("co_flags")?.extract()?;
    Ok(flags & ASYNC != 0)
}

/// A mock answers any question with a truthy object, so only `True` counts.
fn is_async_by(inspect: &Bound<'_, PyAny>, called: &Bound<'_, PyAny>) -> PyResult<bool> {
    for question in ["iscoroutinefunction", "isasyncgenfunction"] {
        let answer = inspect.call_method1(PyString::new(called.py(), question), (called,))?;
        if answer.extract::<bool>().unwrap_or(false) {
            return Ok(true);
        }
    }
    Ok(false)
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
