//! Starts and joins threads of Python's `threading`. So they have names, Python code can list them,
//! and their thread-local data lives as long as they do.

use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

/// Runs `target` on a new daemon thread with this name; returns the `threading.Thread`.
pub(super) fn start(
    py: Python<'_>,
    name: &str,
    target: impl Fn(Python<'_>) -> PyResult<()> + Send + Sync + 'static,
) -> PyResult<Py<PyAny>> {
    let target = PyCFunction::new_closure(py, Some(c"rustwsgi_thread"), None, move |args, _| {
        target(args.py())
    })?;
    let options = PyDict::new(py);
    options.set_item("target", target)?;
    options.set_item("name", name)?;
    options.set_item("daemon", true)?;
    let thread = py.import("threading")?.getattr("Thread")?.call((), Some(&options))?;
    thread.call_method0("start")?;
    Ok(thread.unbind())
}

/// Waits for threads to end, at most for `limit`; returns whether all have.
pub(super) fn join_all(
    py: Python<'_>,
    threads: &[Py<PyAny>],
    limit: Option<Duration>,
) -> PyResult<bool> {
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    // Checked for all threads at once: none of them ends before the calling request does.
    let current = py.import("threading")?.call_method0(intern!(py, "current_thread"))?;
    if threads.iter().any(|thread| thread.is(&current)) {
        return Err(PyRuntimeError::new_err(
            "a request cannot wait for its own server to stop: call stop() in another thread",
        ));
    }
    for thread in threads {
        let thread = thread.bind(py);
        let remaining = end.map(|end| end.saturating_duration_since(Instant::now()).as_secs_f64());
        // Interned, as this runs every second: new strings would fill the attribute cache.
        thread.call_method1(intern!(py, "join"), (remaining,))?;
        if thread.call_method0(intern!(py, "is_alive"))?.is_truthy()? {
            return Ok(false);
        }
    }
    Ok(true)
}
