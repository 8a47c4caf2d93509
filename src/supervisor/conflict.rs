//! Why a worker could not boot: recognizes an exception that comes from a resource which another
//! process holds, probably the worker's predecessor.

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
