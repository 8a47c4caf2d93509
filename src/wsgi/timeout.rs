//! Interrupts a request that exceeds `--timeout`, by an exception in its thread.

use std::ffi::c_ulong;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

use super::ffi;

pyo3::create_exception!(
    rustwsgi,
    RequestTimeout,
    PyBaseException,
    "Raised in the thread of a request that has run longer than --timeout allows.\n\n\
     It is not an Exception: a loop that catches every Exception and goes on does not catch it."
);

/// Raises [`RequestTimeout`] in the Python thread with this `ident`, when it next runs Python code.
/// Does nothing if the thread has ended.
pub fn raise_in_thread(py: Python<'_>, ident: c_ulong) {
    ffi::set_async_exception(py, ident, Some(&py.get_type::<RequestTimeout>()));
}

/// Clears an exception that [`raise_in_thread`] has set and that the thread has not raised yet.
pub fn withdraw_from_thread(py: Python<'_>, ident: c_ulong) {
    ffi::set_async_exception(py, ident, None);
}

/// Clears such an exception of the current thread: the thread has learned of the timeout otherwise.
pub(super) fn withdraw_from_current_thread(py: Python<'_>) {
    ffi::set_async_exception(py, ffi::current_thread(py), None);
}

/// The exception for a call of the application after the server has ended the response. One that is
/// pending would be raised a second time, in the cleanup.
pub(super) fn raised_now(py: Python<'_>) -> PyErr {
    withdraw_from_current_thread(py);
    RequestTimeout::new_err("the request has run longer than --timeout: its response has ended")
}
