//! `environ["wsgi.early_hints"]`: sends a 103 response, so that the client loads what the page
//! needs while the application makes it. The same callable as gunicorn's. [RFC 8297]

use std::sync::Arc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::ffi::latin1_bytes;
use super::response::{Response, SendError};
use super::{fork, timeout};
use crate::http1;

/// The callable. A thread uses one object for request after request, unless the application keeps
/// a reference beyond its request.
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct EarlyHints {
    response: Arc<Response>,
}

impl EarlyHints {
    pub(super) fn new(response: Arc<Response>) -> EarlyHints {
        EarlyHints { response }
    }
}

#[pymethods]
impl EarlyHints {
    /// Sends a 103 with these header fields, an iterable of pairs of `str` or `bytes`, at once. Has
    /// no effect for a client of HTTP/1.0, and once the head of the final response was sent. Raises
    /// ValueError for bytes that HTTP does not allow, TypeError for other types, OSError once the
    /// client has disconnected.
    #[pyo3(signature = (headers, /))]
    fn __call__(&self, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = headers.py();
        if fork::is_child() || !self.response.accepts_hints(py) {
            return Ok(());
        }
        let mut hints = http1::EarlyHints::default();
        for header in headers.try_iter()? {
            let pair = header?.try_iter()?.collect::<PyResult<Vec<_>>>()?;
            let [name, value] = &pair[..] else {
                return Err(PyValueError::new_err(
                    "each early hint must be a pair, the name and the value of a header",
                ));
            };
            let (name_bytes, value) = (bytes(name)?, bytes(value)?);
            // The value is not shown: it may be a secret.
            hints.add_field(&name_bytes, &value).map_err(|why| {
                PyValueError::new_err(format!("{why}: {}", name_bytes.escape_ascii()))
            })?;
        }
        match self.response.send_hints(py, &hints.into_bytes()) {
            Ok(()) | Err(SendError::Ended | SendError::NotStarted) => Ok(()),
            Err(SendError::Disconnected(error)) => Err(error.into()),
            Err(SendError::TimedOut) => Err(timeout::raised_now(py)),
        }
    }
}

/// The bytes of a name or a value.
fn bytes(object: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec());
    }
    let text = object.cast::<PyString>().map_err(|_| {
        PyTypeError::new_err("names and values of early hints must be of the type str or bytes")
    })?;
    let bytes = latin1_bytes(text).ok_or_else(|| {
        PyValueError::new_err("an early hint has characters outside of latin-1, which HTTP lacks")
    })?;
    Ok(bytes.to_vec())
}
