//! Safe wrappers for calls of CPython's C API that PyO3 does not wrap.
//!
//! Native strings are converted here, too: PEP 3333 passes header fields and most environ values as
//! `str` objects whose code points are bytes. [PEP 3333, "A Note On String Types"]

use std::ffi::c_ulong;
use std::ptr;

use log::debug;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyString, PyType};

/// Makes the native string of `bytes`: a `str` with one code point from 0 to 255 for each byte.
pub(super) fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    // SAFETY: the pointer and length describe `bytes`, which CPython only reads; the result is a
    // new reference to a str, or null with an exception set (out of memory), which
    // `from_owned_ptr` checks.
    unsafe {
        let text = ffi::PyUnicode_DecodeLatin1(
            bytes.as_ptr().cast(),
            bytes.len() as ffi::Py_ssize_t,
            ptr::null(),
        );
        Bound::from_owned_ptr(py, text).cast_into_unchecked()
    }
}

/// Makes a bytes object. Fails with `MemoryError`, where [`PyBytes::new`] panics.
pub(super) fn bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    // SAFETY: the pointer and length describe `bytes`, which CPython only reads; the result is a
    // new reference to a bytes object, or null with an exception set, which `from_owned_ptr_or_err`
    // returns.
    unsafe {
        let object =
            ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), bytes.len() as ffi::Py_ssize_t);
        Ok(Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked())
    }
}

/// The bytes of a native string. `None` if a code point is above 255.
#[inline]
pub(super) fn latin1_bytes<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    if !is_canonical(text) {
        return None;
    }
    // SAFETY: the str is in canonical form. If its code points have one byte each, pointer and
    // length describe them; they are immutable and live as long as `text`, which outlives the
    // result.
    unsafe {
        let text = text.as_ptr();
        // CPython stores wider code points only if at least one of them does not fit one byte.
        let is_latin1 = ffi::PyUnicode_KIND(text) == ffi::PyUnicode_1BYTE_KIND;
        is_latin1.then(|| {
            let length = ffi::PyUnicode_GET_LENGTH(text) as usize;
            std::slice::from_raw_parts(ffi::PyUnicode_DATA(text).cast(), length)
        })
    }
}

/// Brings a str into canonical form, which it has unless an extension has made it with an API that
/// Python 3.12 has removed. False if there is no memory for that.
#[inline]
fn is_canonical(_text: &Bound<'_, PyString>) -> bool {
    #[cfg(not(Py_3_12))]
    {
        // SAFETY: `_text` is a live str, and proves that the thread is attached to the interpreter.
        let is_canonical = unsafe { ffi::PyUnicode_READY(_text.as_ptr()) } == 0;
        if !is_canonical {
            clear_exception(_text.py());
        }
        is_canonical
    }
    #[cfg(Py_3_12)]
    true
}

/// How many references to `object` there are.
pub(super) fn reference_count<T>(_py: Python<'_>, object: &Py<T>) -> ffi::Py_ssize_t {
    // SAFETY: the object is alive, as `object` owns a reference, and `_py` proves that the thread
    // is attached to the interpreter.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// True if a built-in method has weak references. `weakref.getweakrefcount()` answers the same, at
/// the price of a call. True as well for any other type of object, which is not looked into.
pub(super) fn has_weak_references(method: &Bound<'_, PyAny>) -> bool {
    // SAFETY: `method` is alive and the thread is attached. The cast is made only after the check
    // that an object of this type has this layout.
    unsafe {
        let method = method.as_ptr();
        ffi::PyCFunction_Check(method) == 0
            || !(*method.cast::<ffi::PyCFunctionObject>()).m_weakreflist.is_null()
    }
}

/// The `contextvars` context of one request, which the thread leaves when this is dropped.
///
/// It is a copy of the thread's context. Values that the application sets in it, such as a user or
/// a trace, end with the request: the next request on the thread does not see them.
pub(super) struct RequestContext<'py>(Bound<'py, PyAny>);

impl<'py> RequestContext<'py> {
    pub(super) fn enter(py: Python<'py>) -> PyResult<RequestContext<'py>> {
        // SAFETY: `py` proves that the thread is attached to the interpreter. The result is a new
        // reference, or null with an exception set, which `from_owned_ptr_or_err` returns.
        let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? };
        // SAFETY: `context` is a live context that no thread has entered.
        match unsafe { ffi::PyContext_Enter(context.as_ptr()) } {
            0 => Ok(RequestContext(context)),
            _ => Err(PyErr::fetch(py)),
        }
    }

    /// Leaves the context, and returns it.
    pub(super) fn leave(self) -> Bound<'py, PyAny> {
        self.0.clone()
    }
}

impl Drop for RequestContext<'_> {
    fn drop(&mut self) {
        // SAFETY: this is the live context that was entered above, and no exception is set. An
        // extension of the application may have left another one entered: then the call fails with
        // an exception.
        if unsafe { ffi::PyContext_Exit(self.0.as_ptr()) } != 0 {
            let error = PyErr::fetch(self.0.py());
            debug!("cannot leave the context of a request: {error}");
        }
    }
}

/// True if the calling thread is attached to the interpreter. May be called in a signal handler.
pub fn is_attached() -> bool {
    // SAFETY: this reads the state of the calling thread only, attached or not.
    unsafe { ffi::PyGILState_Check() != 0 }
}

/// The `ident` of the calling thread, as `threading` knows it.
pub(super) fn current_thread(_py: Python<'_>) -> c_ulong {
    // SAFETY: the call has no precondition but a running interpreter, which `_py` proves.
    unsafe { ffi::PyThread_get_thread_ident() as c_ulong }
}

/// Clears an exception that a call of CPython has set and that no code has handled.
pub(super) fn clear_exception(_py: Python<'_>) {
    // SAFETY: `_py` proves that the thread is attached to the interpreter.
    unsafe { ffi::PyErr_Clear() };
}

/// Sets the exception that the Python thread with this `ident` raises when it next runs Python
/// code, or clears it. Does nothing if the thread has ended.
pub(super) fn set_async_exception(
    _py: Python<'_>,
    ident: c_ulong,
    exception: Option<&Bound<'_, PyType>>,
) {
    let exception = exception.map_or(ptr::null_mut(), Bound::as_ptr);
    // SAFETY: `_py` proves that the thread is attached to the interpreter. The pointer is null, or
    // that of a live type, to which CPython takes its own reference.
    unsafe { ffi::PyThreadState_SetAsyncExc(ident as _, exception) };
}
