//! The exception that ends a request which has run too long.

use std::ffi::c_ulong;
use std::ptr;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

pyo3::create_exception!(
    rustwsgi,
    RequestTimeout,
    PyBaseException,
    "Raised in the thread of a request that has run longer than --timeout allows.\n\n\
     Not an Exception, so that a loop that survives every error does not survive this one."
);

/// Raises [`RequestTimeout`] in the Python thread with this `ident`, when it next runs Python code. Does
/// nothing if the thread has ended.
pub fn raise_in_thread(py: Python<'_>, ident: c_ulong) {
    let exception = py.get_type::<RequestTimeout>();
    // SAFETY: attached, as `py` proves; the exception's type is alive and the call takes a reference of its
    // own. A thread that has ended meanwhile is not found, which is no error.
    unsafe { pyo3::ffi::PyThreadState_SetAsyncExc(ident as _, exception.as_ptr()) };
}

/// Withdraws an exception that [`raise_in_thread`] has left pending and that the thread has not raised yet.
pub fn withdraw_from_thread(_py: Python<'_>, ident: c_ulong) {
    // SAFETY: attached, as `_py` proves; NULL clears a pending exception, and does nothing without one.
    unsafe { pyo3::ffi::PyThreadState_SetAsyncExc(ident as _, ptr::null_mut()) };
}
