//! How a response ends that is incomplete: its client must notice, and the error log says why.

use std::io;

use log::{debug, error, info, log};
use pyo3::exceptions::{PyAssertionError, PyConnectionError, PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;

use super::response::{Response, SendError, TIMED_OUT, Upgrade, queue_error_page};
use super::step::step;
use super::timeout::RequestTimeout;
use super::{content_error, traceback};

/// Why the response of an application is incomplete.
pub(super) enum Failure {
    /// The application raised an exception, or violated PEP 3333.
    App(PyErr),
    /// The client has disconnected, or stopped reading.
    Disconnected(io::Error),
    /// The request has run longer than `--timeout`, and the poller has ended the response.
    TimedOut,
}

impl Failure {
    /// True if a request that has taken its connection has failed, so that nothing uses the
    /// connection any more.
    pub(super) fn abandons_connection(&self, py: Python<'_>) -> bool {
        self.exception().is_some_and(|error| !ends_upgrade(py, error))
    }

    pub(super) fn exception(&self) -> Option<&PyErr> {
        match self {
            Failure::App(error) => Some(error),
            Failure::Disconnected(_) | Failure::TimedOut => None,
        }
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Failure {
        Failure::App(error)
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Failure {
        match error {
            SendError::Disconnected(error) => Failure::Disconnected(error),
            SendError::TimedOut => Failure::TimedOut,
            SendError::NotStarted => Failure::App(PyAssertionError::new_err(
                "the application did not call start_response() before its first block",
            )),
            SendError::Ended => {
                Failure::App(PyRuntimeError::new_err("the response has already ended"))
            }
        }
    }
}

/// The poller has ended the response before.
fn end_late(py: Python<'_>, response: &Response) {
    response.end(py, |exchange, _| exchange.http().abort());
    info!(
        target: "request.late",
        "{} has ended after its response: its output is discarded",
        request(py, response)
    );
}

/// The application has raised an exception after it has taken its connection, or after the server
/// has refused that.
#[cold]
fn report_after_upgrade(py: Python<'_>, response: &Response, error: &PyErr) {
    if response.upgrade(py) == Upgrade::Refused || ends_upgrade(py, error) {
        return;
    }
    error!(
        target: "socket.failed",
        traceback = traceback::format(py, error).as_str();
        "Error handling request {}, which has taken its connection",
        request(py, response)
    );
}

/// Whether the exception is no failure of an upgrade. Libraries end one by StopIteration under
/// gunicorn, and by ConnectionError under Werkzeug, as does a client that disconnects.
fn ends_upgrade(py: Python<'_>, error: &PyErr) -> bool {
    let ends = step(py, || {
        Ok(error.is_instance_of::<PyStopIteration>(py)
            || error.is_instance_of::<PyConnectionError>(py))
    });
    ends.unwrap_or(false)
}

/// How a failed response has ended, for the log.
enum Ended {
    Aborted,
    ErrorPage,
}

/// Aborts the response of a failed request. If the application failed before the head was sent, the
/// response is an error page.
pub(super) fn end_response(py: Python<'_>, response: &Response, failure: Failure) {
    let error = match failure {
        Failure::App(error) => error,
        Failure::Disconnected(error) => {
            debug!("the client disconnected before the response was complete: {error}");
            response.end(py, |exchange, _| exchange.http().abort());
            return;
        }
        Failure::TimedOut => return end_late(py, response),
    };
    if response.upgrade(py) != Upgrade::None {
        return report_after_upgrade(py, response, &error);
    }
    let is_content_error = step(py, || Ok(content_error::is_content_error(py, &error)));
    if is_content_error.unwrap_or(false) {
        match response.end(py, content_error::reject) {
            Some(Some((level, line))) => {
                log!(target: "request.rejected", level, "{line}");
                return;
            }
            // The takeover has ended the read.
            None => return end_late(py, response),
            Some(None) => {}
        }
    }
    // Making the exception may need memory.
    let is_timeout = step(py, || Ok(error.is_instance_of::<RequestTimeout>(py)));
    let status = if is_timeout.unwrap_or(false) { TIMED_OUT } else { "500 Internal Server Error" };
    let ended = response.end(py, |exchange, head| match exchange.http().has_begun() {
        true => {
            exchange.http().abort();
            Ended::Aborted
        }
        false => {
            *head = queue_error_page(exchange, status);
            Ended::ErrorPage
        }
    });
    let request = request(py, response);
    let traceback = traceback::format(py, &error);
    let traceback = traceback.as_str();
    match ended {
        Some(Ended::Aborted) => error!(
            target: "request.failed", traceback;
            "Error handling request {request}: closing the connection, as the response has begun"
        ),
        Some(Ended::ErrorPage) => error!(
            target: "request.failed", traceback;
            "Error handling request {request}: responding with {status}"
        ),
        None => error!(
            target: "request.failed", traceback;
            "Error handling request {request}, which has run longer than --timeout: its response \
             has ended before"
        ),
    }
}

/// The request as the error log names it.
pub(super) fn request(py: Python<'_>, response: &Response) -> String {
    response.describe_request(py).unwrap_or_default()
}
