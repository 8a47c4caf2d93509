//! The exceptions of `wsgi.input` for content that cannot be read to its end, which only happens if
//! the application runs while its request arrives (`--request-buffering off`).
//!
//! All are subclasses of OSError, which frameworks expect of an input that breaks. They have types
//! of their own, so that the server knows them if the application does not catch them: then the
//! response has the status of the error, rather than 500.

use log::Level;
use pyo3::exceptions::{PyConnectionResetError, PyOSError, PyTimeoutError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{IntoPyDict, PyType};

use super::exchange::{ContentError, ContentErrorCause, Exchange};
use super::response::queue_page;
use crate::http1::ResponseHead;

pyo3::create_exception!(
    rustwsgi,
    RequestBodyError,
    PyOSError,
    "Raised by a read of wsgi.input if the request body is malformed, exceeds a limit, is too slow \
     or breaks off. Too slow is also a TimeoutError, and broken off a ConnectionResetError."
);

/// The type of [`RequestBodyError`].
pub fn request_body_error(py: Python<'_>) -> Bound<'_, PyType> {
    py.get_type::<RequestBodyError>()
}

impl ContentError {
    /// The exception for the application.
    pub(super) fn to_exception(&self, py: Python<'_>) -> PyErr {
        match exception_type(py, self.cause) {
            Ok(exception) => PyErr::from_type(exception, self.detail.clone()),
            Err(error) => error,
        }
    }
}

/// True if the exception was made by [`ContentError::to_exception`].
pub(super) fn is_content_error(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<RequestBodyError>(py)
}

/// The application did not catch the error of a request body that cannot be read: rejects the
/// request, as the server does by itself if it receives the body first. Returns the line for the
/// log; `None` if there is no such error.
#[cold]
pub(super) fn reject(
    exchange: &mut dyn Exchange,
    head: &mut ResponseHead,
) -> Option<(Level, String)> {
    let ContentError { cause, status: (status, reason), detail } = exchange.content_error()?;
    // A client that disconnects is no event for an operator.
    let level = match cause {
        ContentErrorCause::Disconnected => Level::Debug,
        ContentErrorCause::Invalid | ContentErrorCause::Timeout => Level::Info,
    };
    let peer = || exchange.peer().map_or_else(|| "a client".to_owned(), |peer| peer.to_string());
    let client = exchange.forwarded().and_then(|forwarded| forwarded.client);
    let from = client.map_or_else(peer, |client| client.ip.to_string());
    let request = exchange.http().head().to_string();
    let line = if exchange.http().has_begun() {
        exchange.http().abort();
        format!(
            "Rejected {request} from {from}: {detail}: closing the connection, as the response has \
             begun"
        )
    } else {
        let page = format!("{status} {reason}: {detail}\n");
        *head = queue_page(exchange, &format!("{status} {reason}"), &page);
        format!("Rejected {request} from {from} with {status}: {detail}")
    };
    Some((level, line))
}

fn exception_type(py: Python<'_>, cause: ContentErrorCause) -> PyResult<Bound<'_, PyType>> {
    static TIMEOUT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static DISCONNECTED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let (made, name, base) = match cause {
        ContentErrorCause::Invalid => return Ok(request_body_error(py)),
        ContentErrorCause::Timeout => {
            (&TIMEOUT, "RequestBodyTimeout", py.get_type::<PyTimeoutError>())
        }
        ContentErrorCause::Disconnected => {
            (&DISCONNECTED, "RequestBodyDisconnected", py.get_type::<PyConnectionResetError>())
        }
    };
    let made = made.get_or_try_init(py, || -> PyResult<_> {
        let namespace = [("__module__", "rustwsgi")].into_py_dict(py)?;
        let bases = (request_body_error(py), base);
        let made = py.get_type::<PyType>().call1((name, bases, namespace))?;
        Ok(made.cast_into::<PyType>()?.unbind())
    })?;
    Ok(made.bind(py).clone())
}
