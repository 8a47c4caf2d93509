//! One step of a request, in which Python code may run: a failure there costs one request, and
//! never the thread that runs it.
//!
//! PyO3 panics where CPython cannot make an object, so a lack of memory is a panic as well.

use std::panic::{AssertUnwindSafe, catch_unwind};

use log::error;
use pyo3::exceptions::PySystemError;
use pyo3::prelude::*;

use super::failure::Failure;
use super::response::Response;
use super::{ffi, fork};

/// Runs one step of a request. A panic, which is a bug of the server or
/// a lack of memory, fails this request only. A process that the step has forked ends here.
pub(super) fn step<T>(
    py: Python<'_>,
    step: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let done = catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| {
        ffi::clear_exception(py);
        Err(Failure::App(PySystemError::new_err(
            "the server has a bug, or no memory: see the panic above",
        )))
    });
    fork::exit_if_forked(py, done.as_ref().err().and_then(Failure::exception));
    done
}

/// As [`step`], for a step that does not change the result of the request.
pub(super) fn late_step(py: Python<'_>, response: &Response, late: impl FnOnce()) {
    let done = step(py, || {
        late();
        Ok(())
    });
    if done.is_err() {
        error!(
            target: "request.panic",
            "The server has a bug, or no memory, see the panic above: the end of {} is incomplete",
            response.describe_request(py).unwrap_or_default()
        );
    }
}
