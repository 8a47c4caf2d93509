//! Formats a Python exception for the error log.

use pyo3::prelude::*;
use pyo3::types::{PyAnyMethods, PyBytes, PyBytesMethods, PyString};

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
    // fails because the worker's user may not read the standard library.
    formatted().unwrap_or_else(|_| format!("{error}\n"))
}

/// The text as a Rust string, which cannot hold lone surrogates: Python encodes it.
pub(super) fn to_utf8(text: &Bound<'_, PyString>) -> PyResult<String> {
    let utf8 = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
    Ok(String::from_utf8_lossy(utf8.cast::<PyBytes>()?.as_bytes()).into_owned())
}
