//! Formats a Python exception for the error log.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyAnyMethods, PyBytes, PyBytesMethods, PyString};

use super::{ffi, fork};

/// Formats the traceback as Python prints it, with a newline at the end. Never fails: if Python
/// cannot format it, the exception alone is formatted.
pub fn format(py: Python<'_>, error: &PyErr) -> String {
    let formatted = || -> PyResult<String> {
        let lines = py.import("traceback")?.call_method1(
            "format_exception",
            (error.get_type(py), error.value(py), error.traceback(py)),
        )?;
        let text = PyString::new(py, "").call_method1("join", (lines,))?;
        to_utf8(text.cast::<PyString>()?)
    };
    // An exception whose __str__ raises must not hide the failure. Neither must an `import` that
    // fails because the worker's user may not read the standard library, nor a lack of memory, for
    // which PyO3 panics.
    let plain = || {
        let mut text = String::new();
        writeln!(text, "{error}").map(|()| text).map_err(|_| PyRuntimeError::new_err(""))
    };
    let text = attempt(py, formatted).or_else(|| attempt(py, plain));
    // Formatting runs code of the application, which may have forked.
    fork::exit_if_forked(py, None);
    text.unwrap_or_else(|| "an exception that cannot be formatted\n".to_owned())
}

fn attempt(py: Python<'_>, format: impl FnOnce() -> PyResult<String>) -> Option<String> {
    let text = catch_unwind(AssertUnwindSafe(|| format().ok()));
    text.unwrap_or_else(|_| {
        ffi::clear_exception(py);
        None
    })
}

/// The text as a Rust string, which cannot hold lone surrogates: Python encodes it.
pub(super) fn to_utf8(text: &Bound<'_, PyString>) -> PyResult<String> {
    let utf8 = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
    Ok(String::from_utf8_lossy(utf8.cast::<PyBytes>()?.as_bytes()).into_owned())
}
