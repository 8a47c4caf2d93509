//! How many threads run Python code at a time.

use pyo3::prelude::*;

/// How many threads the interpreter runs at a time: one, unless it is free-threaded.
pub(super) fn parallelism(py: Python<'_>) -> usize {
    let enabled = || py.import("sys")?.call_method0("_is_gil_enabled")?.is_truthy();
    match enabled() {
        Ok(false) => std::thread::available_parallelism().map_or(1, usize::from),
        // The GIL is enabled, or this Python cannot disable it.
        _ => 1,
    }
}
