//! PEP 3333's "native strings": `str` objects whose code points are bytes. One place converts.

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

/// The bytes of a native string; `None` if a code point is over 255.
pub(super) fn latin1_bytes<'a>(text: &'a Bound<'_, PyString>) -> Option<&'a [u8]> {
    // SAFETY: the data of a str is immutable and lives as long as `text`, which outlives the result; a
    // str that was just borrowed from Python is in canonical form.
    match unsafe { text.data() } {
        Ok(PyStringData::Ucs1(bytes)) => Some(bytes),
        // Wider storage means that at least one code point does not fit.
        _ => None,
    }
}
