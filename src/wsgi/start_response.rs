//! `start_response` and the `write` callable it returns, exposed from Rust.
//! [PEP 3333, "The start_response() Callable", "The write() Callable"]
//!
//! start_response only remembers what it is told: the head goes out with the first block that is not
//! empty, so that an application may still change its mind with `exc_info` until then. Everything is
//! checked here, while the application can still be told by an exception.

use std::sync::Arc;

use pyo3::exceptions::{
    PyAssertionError, PyBaseException, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyList, PyString, PyTuple};

use super::block::written;
use super::response::{Queued, Response, SendError, StartError};
use super::strings::latin1_bytes;
use crate::http1::{ResponseError, ResponseHead};

/// What an application is given as `start_response`, by way of a bound method.
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct Responder {
    response: Arc<Response>,
    /// What start_response returns, the same object each time.
    write: Py<Writer>,
}

/// What `start_response` returns: call it with bytes to send them at once.
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct Writer {
    response: Arc<Response>,
}

impl Responder {
    pub(super) fn new(response: Arc<Response>, write: Py<Writer>) -> Responder {
        Responder { response, write }
    }
}

impl Writer {
    pub(super) fn new(response: Arc<Response>) -> Writer {
        Writer { response }
    }
}

#[pymethods]
impl Responder {
    /// Starts the response: `status` is `"200 OK"`, `headers` a list of `(name, value)` tuples of `str`.
    /// Returns `write(bytes)`. Raises ValueError or TypeError for what HTTP cannot carry, AssertionError
    /// for a second call without `exc_info`; with `exc_info` re-raises it if the head is already sent.
    #[pyo3(signature = (status, headers, exc_info=None, /))]
    fn start_response<'py>(
        &self,
        py: Python<'py>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Py<Writer>> {
        let exc_info = match exc_info {
            Some(info) if info.is_truthy()? => Some(info),
            _ => None,
        };
        let read = |head: &mut ResponseHead| read_head(head, status, headers);
        match self.response.start(py, exc_info.is_some(), read) {
            Ok(Ok(())) => Ok(self.write.clone_ref(py)),
            Ok(Err(fault)) => Err(fault.into_exception()),
            Err(StartError::Ended) => Err(PyRuntimeError::new_err(
                "start_response() was called after the response had ended",
            )),
            Err(StartError::Repeated) => Err(PyAssertionError::new_err(
                "start_response() was called a second time without exc_info",
            )),
            Err(StartError::HeadSent) => Err(match exc_info {
                Some(info) => reraised(info)?,
                None => PyRuntimeError::new_err("the head is already sent"),
            }),
        }
    }
}

#[pymethods]
impl Writer {
    /// Sends `data` before it returns. Raises OSError once the client is gone, ValueError for more bytes
    /// than the Content-Length allows.
    #[pyo3(signature = (data, /))]
    fn __call__(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let block = written(data)?;
        if block.as_bytes().is_empty() {
            return Ok(());
        }
        match self.response.send(block, None) {
            Ok(Queued::All | Queued::NoContent) => Ok(()),
            Ok(Queued::Excess) => Err(PyValueError::new_err(
                "write() was given more bytes than the Content-Length allows, or after the end",
            )),
            Err(SendError::Disconnected(error)) => Err(error.into()),
            Err(SendError::Ended) => {
                Err(PyRuntimeError::new_err("write() was called after the response had ended"))
            }
            Err(SendError::NotStarted) => {
                Err(PyAssertionError::new_err("write() before start_response()"))
            }
        }
    }
}

/// The exception of an `exc_info` tuple, with its traceback.
fn reraised(info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let info = info.cast::<PyTuple>().map_err(|_| {
        PyTypeError::new_err("exc_info must be a tuple as sys.exc_info() returns it")
    })?;
    let [_, value, traceback] = info.as_slice() else {
        return Err(PyTypeError::new_err("exc_info must be a tuple of three"));
    };
    if !value.is_instance_of::<PyBaseException>() {
        return Err(PyTypeError::new_err("exc_info holds no exception to raise again"));
    }
    Ok(PyErr::from_value(value.call_method1("with_traceback", (traceback,))?))
}

/// What is wrong with a status or a header. The exception is made from it later, because showing
/// an object may run the application's code.
enum Fault<'py> {
    /// HTTP cannot carry it, or the server may not.
    Refused(ResponseError, Bound<'py, PyAny>),
    /// A character is outside of latin-1.
    Wide(Bound<'py, PyAny>),
    /// Something is no `str`.
    NotStr(&'static str, Bound<'py, PyAny>),
    NotList,
    NotPair,
}

/// Reads and checks what start_response was given.
fn read_head<'py>(
    head: &mut ResponseHead,
    status: &Bound<'py, PyAny>,
    headers: &Bound<'py, PyAny>,
) -> Result<(), Fault<'py>> {
    let line = native(status, "the status")?;
    head.start(line).map_err(|why| Fault::Refused(why, status.clone()))?;
    let headers = headers.cast_exact::<PyList>().map_err(|_| Fault::NotList)?;
    for item in headers.iter() {
        let pair = item.cast::<PyTuple>().map_err(|_| Fault::NotPair)?;
        let [name, value] = pair.as_slice() else { return Err(Fault::NotPair) };
        let (name, value) = (native(name, "a header name")?, native(value, "a header value")?);
        head.add_field(name, value).map_err(|why| Fault::Refused(why, item.clone()))?;
    }
    Ok(())
}

/// The bytes of a native string. [PEP 3333, "A Note On String Types"]
fn native<'a, 'py>(
    object: &'a Bound<'py, PyAny>,
    what: &'static str,
) -> Result<&'a [u8], Fault<'py>> {
    let text = object.cast::<PyString>().map_err(|_| Fault::NotStr(what, object.clone()))?;
    latin1_bytes(text).ok_or_else(|| Fault::Wide(object.clone()))
}

impl Fault<'_> {
    fn into_exception(self) -> PyErr {
        let shown = |object: &Bound<'_, PyAny>| {
            object.repr().map_or_else(|_| "?".to_owned(), |repr| repr.to_string_lossy().into())
        };
        match self {
            Fault::Refused(why, object) => {
                PyValueError::new_err(format!("{why}: {}", shown(&object)))
            }
            Fault::Wide(object) => PyValueError::new_err(format!(
                "{} has characters outside of latin-1, which HTTP cannot carry",
                shown(&object)
            )),
            Fault::NotStr(what, object) => {
                let name = object.get_type().name();
                let found = name.map_or_else(|_| "?".to_owned(), |name| name.to_string());
                PyTypeError::new_err(format!("{what} must be a str, not {found}"))
            }
            Fault::NotList => {
                PyTypeError::new_err("the headers must be a list of (name, value) tuples")
            }
            Fault::NotPair => PyTypeError::new_err(
                "each header must be a tuple of two strings, its name and its value",
            ),
        }
    }
}
