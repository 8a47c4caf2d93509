//! PEP 3333's "native strings": `str` objects whose code points are bytes. One place converts.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3::types::string::PyStringData;

/// The `str` whose code points are `bytes`. [PEP 3333, "A Note On String Types"]
pub(super) fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    // SAFETY: the pointer and length describe `bytes`, which CPython only reads; the result is a new
    // reference to a str, or null with an exception set (out of memory), which the check reports.
    unsafe {
        let text = pyo3::ffi::PyUnicode_DecodeLatin1(
            bytes.as_ptr().cast(),
            bytes.len() as pyo3::ffi::Py_ssize_t,
            std::ptr::null(),
        );
        Bound::from_owned_ptr(py, text).cast_into_unchecked()
    }
}

/// Passes the bytes of a native string to `use_bytes`, or fails if a code point is over 255.
pub(super) fn with_latin1<T>(
    text: &Bound<'_, PyString>,
    use_bytes: impl FnOnce(&[u8]) -> T,
) -> PyResult<T> {
    // SAFETY: the data of a str is immutable and lives as long as `text`, which outlives this call; a
    // str that was just borrowed from Python is in canonical form.
    match unsafe { text.data() }? {
        PyStringData::Ucs1(bytes) => Ok(use_bytes(bytes)),
        // Wider storage means that at least one code point does not fit.
        _ => Err(PyValueError::new_err(format!(
            "{} has characters outside of latin-1, which HTTP cannot carry",
            text.repr().map_or_else(|_| "the string".to_owned(), |repr| repr.to_string())
        ))),
    }
}
