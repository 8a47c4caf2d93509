//! Why a worker could not boot: recognizes an exception that comes from a resource which another
//! process holds, probably the worker's predecessor. Also notices that an application has caught
//! such an exception.

use std::os::unix::net::UnixStream;

use pyo3::prelude::*;

use super::messages::FromWorker;

/// Whether an exception comes from a resource that another process holds.
pub fn is_conflict(py: Python<'_>, failure: &PyErr) -> bool {
    let found = py
        .import("rustwsgi._conflicts")
        .and_then(|module| module.call_method1("is_conflict", (failure.value(py),))?.extract());
    found.unwrap_or(false)
}

/// In a worker that cannot boot: reports such an exception to the master.
pub(super) fn report(py: Python<'_>, channel: &UnixStream, failure: &PyErr) {
    if is_conflict(py, failure) {
        // Fails only if the master has exited.
        let _ = FromWorker::BootConflict.send(channel);
    }
}

/// Notes, while the application is imported, what it tries in vain to take.
pub(super) struct Watch(Py<PyAny>);

impl Watch {
    pub(super) fn start(py: Python<'_>) -> PyResult<Watch> {
        Ok(Watch(py.import("rustwsgi._conflicts")?.call_method0("watch")?.unbind()))
    }

    /// Ends it; returns a description of what the application has missed.
    pub(super) fn end(self, py: Python<'_>) -> Option<String> {
        self.0.call_method0(py, "remove").and_then(|missed| missed.extract(py)).ok().flatten()
    }
}
