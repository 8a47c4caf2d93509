//! A Python exception as text for the error log.

use pyo3::prelude::*;
use pyo3::types::PyAnyMethods;

/// The traceback as Python prints it, with a line end behind the last line.
pub fn format(py: Python<'_>, error: &PyErr) -> String {
    let formatted = || -> PyResult<String> {
        let lines = py.import("traceback")?.call_method1(
            "format_exception",
            (error.get_type(py), error.value(py), error.traceback(py)),
        )?;
        let lines: Vec<String> = lines.extract()?;
        Ok(lines.concat())
    };
    // An exception whose __str__ raises must not hide that something failed.
    formatted().unwrap_or_else(|_| format!("{}\n", error.get_type(py)))
}
