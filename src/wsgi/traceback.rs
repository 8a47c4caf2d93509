//! A Python exception as text for the error log.

use pyo3::prelude::*;
use pyo3::types::{PyAnyMethods, PyBytes, PyBytesMethods, PyString};

/// The traceback as Python prints it, with a line end behind the last line.
pub fn format(py: Python<'_>, error: &PyErr) -> String {
    let formatted = || -> PyResult<String> {
        let lines = py.import("traceback")?.call_method1(
            "format_exception",
            (error.get_type(py), error.value(py), error.traceback(py)),
        )?;
        // Encoded by Python, which shows lone surrogates; a Rust string cannot hold them.
        let text = PyString::new(py, "").call_method1("join", (lines,))?;
        let utf8 = text.call_method1("encode", ("utf-8", "backslashreplace"))?;
        Ok(String::from_utf8_lossy(utf8.cast::<PyBytes>()?.as_bytes()).into_owned())
    };
    // An exception whose __str__ raises must not hide that something failed, nor a user who may not read
    // Python's own modules.
    formatted().unwrap_or_else(|_| format!("{error}\n"))
}
