//! The callables `start_response` and `write`.
//! [PEP 3333, "The start_response() Callable", "The write() Callable"]
//!
//! `start_response` sends nothing: the head goes out with the first block that is not empty, and
//! until then the application may replace it by a call with `exc_info`. Status and headers are
//! validated here, so that the application gets an exception at the call that caused it.

use std::sync::Arc;
use std::sync::atomic::AtomicU16;

use log::warn;
use pyo3::exceptions::{
    PyAssertionError, PyBaseException, PyRuntimeError, PyTypeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyList, PyString, PyTuple};

use super::block::written;
use super::ffi::latin1_bytes;
use super::response::{Queued, Response, SendError, StartError};
use super::{fork, timeout};
use crate::http1::{DroppedFields, ResponseError, ResponseHead};

/// The object whose bound method is passed to the application as `start_response`.
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct Responder {
    response: Arc<Response>,
    /// What `start_response` returns.
    write: Py<Writer>,
}

/// What `start_response` returns: a callable that sends the `bytes` it is given.
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
    /// Sets the status and the headers of the response, and returns the callable `write`.
    ///
    /// `status` is a `str` such as `"200 OK"`, `headers` a list of `(name, value)` tuples of `str`.
    /// Raises TypeError for other types and ValueError for bytes that HTTP does not allow,
    /// AssertionError for a second call without `exc_info`, RuntimeError after the response has
    /// ended. With `exc_info` it raises that exception again if the head was already sent.
    #[pyo3(signature = (status, headers, /, exc_info=None))]
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
        if fork::is_child() {
            // Its response is never sent, and the process exits when it returns to the server.
            return Ok(self.write.clone_ref(py));
        }
        let mut dropped = DroppedFields::default();
        let parse = |head: &mut ResponseHead| -> Result<(), InvalidHead<'py>> {
            parse_head(head, status, headers)?;
            dropped = head.dropped();
            Ok(())
        };
        match self.response.start(py, exc_info.is_some(), parse) {
            Ok(Ok(())) => {
                if !dropped.is_empty() {
                    warn_of_dropped(dropped);
                }
                Ok(self.write.clone_ref(py))
            }
            Ok(Err(invalid)) => Err(invalid.into_exception()),
            Err(StartError::Ended) => Err(PyRuntimeError::new_err(
                "start_response() was called after the response had ended",
            )),
            Err(StartError::TimedOut) => Err(timeout::raised_now(py)),
            Err(StartError::Repeated) => Err(PyAssertionError::new_err(
                "start_response() was called a second time without exc_info",
            )),
            Err(StartError::HeadSent) => Err(match exc_info {
                Some(info) => reraised(info)?,
                None => PyRuntimeError::new_err("the head was already sent"),
            }),
        }
    }
}

#[pymethods]
impl Writer {
    /// Sends `data`, as far as the socket accepts it, and leaves the rest to the server. Raises
    /// OSError once the client has disconnected, ValueError for more bytes than the Content-Length
    /// allows, TypeError for anything but bytes, RuntimeError in a forked process.
    #[pyo3(signature = (data, /))]
    fn __call__(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let block = written(data)?;
        if block.as_bytes().is_empty() {
            return Ok(());
        }
        if fork::is_child() {
            return Err(PyRuntimeError::new_err(
                "write() was called in a forked process: the response is its parent's",
            ));
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
            Err(SendError::TimedOut) => Err(timeout::raised_now(data.py())),
            Err(SendError::NotStarted) => {
                Err(PyAssertionError::new_err("write() was called before start_response()"))
            }
        }
    }
}

/// Logs which hop-by-hop fields are not sent: once for each name, as every response may have them.
#[cold]
fn warn_of_dropped(dropped: DroppedFields) {
    static WARNED: AtomicU16 = AtomicU16::new(0);
    for name in dropped.add_to(&WARNED).names() {
        let except = if name == "Connection" { " except for `close`" } else { "" };
        warn!(
            target: "response.field_dropped",
            "The application has set the hop-by-hop header field {name}: dropping it{except}, as \
             only the server may set it; this is logged once"
        );
    }
}

/// The exception of an `exc_info` tuple, with its traceback, to be raised again.
fn reraised(info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let info = info.cast::<PyTuple>().map_err(|_| {
        PyTypeError::new_err("exc_info must be a tuple as sys.exc_info() returns it")
    })?;
    let [_, value, traceback] = info.as_slice() else {
        return Err(PyTypeError::new_err("exc_info must be a tuple of three items"));
    };
    if !value.is_instance_of::<PyBaseException>() {
        return Err(PyTypeError::new_err("exc_info holds no exception"));
    }
    Ok(PyErr::from_value(value.call_method1("with_traceback", (traceback,))?))
}

/// What is wrong with a status or a header. The exception is made from it once the response is
/// unlocked, because the `repr` of an object may run code of the application.
enum InvalidHead<'py> {
    /// HTTP does not allow it, or PEP 3333 does not allow an application to set it.
    Refused(ResponseError, Bound<'py, PyAny>),
    /// A code point is above 255.
    NotLatin1(Bound<'py, PyAny>),
    /// The named item is not a `str`.
    NotStr(&'static str, Bound<'py, PyAny>),
    /// The headers are not a list.
    NotList,
    /// A header is not a tuple of two.
    NotPair,
}

/// Parses and validates the arguments of `start_response` into `head`.
fn parse_head<'py>(
    head: &mut ResponseHead,
    status: &Bound<'py, PyAny>,
    headers: &Bound<'py, PyAny>,
) -> Result<(), InvalidHead<'py>> {
    let line = native(status, "the status")?;
    if let Ok(headers) = headers.cast_exact::<PyList>()
        && repeats(head, line, headers)
    {
        return Ok(());
    }
    head.start(line).map_err(|why| InvalidHead::Refused(why, status.clone()))?;
    let headers = headers.cast_exact::<PyList>().map_err(|_| InvalidHead::NotList)?;
    for item in headers.iter() {
        let (name, value) = pair(&item)?;
        head.add_field(name, value).map_err(|why| InvalidHead::Refused(why, item.clone()))?;
    }
    Ok(())
}

/// True if `head` has this status line and these headers already.
fn repeats(head: &ResponseHead, line: &[u8], headers: &Bound<'_, PyList>) -> bool {
    let is_field = |(index, item): (usize, Bound<'_, PyAny>)| {
        pair(&item).is_ok_and(|(name, value)| head.is_field(index, name, value))
    };
    head.may_repeat(line, headers.len()) && headers.iter().enumerate().all(is_field)
}

/// The name and the value of a header.
fn pair<'a, 'py>(item: &'a Bound<'py, PyAny>) -> Result<(&'a [u8], &'a [u8]), InvalidHead<'py>> {
    let pair = item.cast::<PyTuple>().map_err(|_| InvalidHead::NotPair)?;
    let [name, value] = pair.as_slice() else { return Err(InvalidHead::NotPair) };
    Ok((native(name, "a header name")?, native(value, "a header value")?))
}

/// The bytes of a native string. [PEP 3333, "A Note On String Types"]
fn native<'a, 'py>(
    object: &'a Bound<'py, PyAny>,
    what: &'static str,
) -> Result<&'a [u8], InvalidHead<'py>> {
    let text = object.cast::<PyString>().map_err(|_| InvalidHead::NotStr(what, object.clone()))?;
    latin1_bytes(text).ok_or_else(|| InvalidHead::NotLatin1(object.clone()))
}

impl InvalidHead<'_> {
    fn into_exception(self) -> PyErr {
        let shown = |object: &Bound<'_, PyAny>| {
            object.repr().map_or_else(|_| "?".to_owned(), |repr| repr.to_string_lossy().into())
        };
        match self {
            InvalidHead::Refused(why, object) => {
                PyValueError::new_err(format!("{why}: {}", shown(&object)))
            }
            InvalidHead::NotLatin1(object) => PyValueError::new_err(format!(
                "{} has characters outside of latin-1, which HTTP cannot carry",
                shown(&object)
            )),
            InvalidHead::NotStr(what, object) => {
                let name = object.get_type().name();
                let found = name.map_or_else(|_| "?".to_owned(), |name| name.to_string());
                PyTypeError::new_err(format!("{what} must be a str, not {found}"))
            }
            InvalidHead::NotList => {
                PyTypeError::new_err("the headers must be a list of (name, value) tuples")
            }
            InvalidHead::NotPair => PyTypeError::new_err(
                "each header must be a tuple of two strings, its name and its value",
            ),
        }
    }
}
