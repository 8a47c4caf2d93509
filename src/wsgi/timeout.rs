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
