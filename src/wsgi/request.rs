//! Serves one request: calls the application, sends what it returns, and closes it.
//! [PEP 3333, "Specification Details"]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use log::{debug, error, warn};
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PySystemError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::application::{Application, HookedRequest};
use super::environ::{EnvironBuilder, ServerAddress};
use super::exchange::Exchange;
use super::ffi::RequestContext;
use super::iterable::{send_iterable, send_sequence};
use super::response::{Response, SendError};
use super::thread_state::{Responses, ThreadState};
use super::timeout::RequestTimeout;
use super::{fork, traceback};
use crate::config::Settings;
use crate::http1::{BodyTooShort, ResponseHead};
use crate::observe;

/// The application, and the state that all its requests share.
pub struct Wsgi {
    app: Application,
    environs: EnvironBuilder,
    /// The environ keys whose values the access log prints.
    log_keys: Vec<String>,
    /// The responses of all worker threads.
    responses: Responses,
}

/// An exchange that was served.
pub struct Outcome {
    /// The exchange, with its response complete or aborted.
    pub exchange: Box<dyn Exchange>,
    /// Environ keys and values for the access log.
    pub logged: Vec<(String, String)>,
}

/// Why the response of an application is incomplete.
pub(super) enum Failure {
    /// The application raised an exception, or violated PEP 3333.
    App(PyErr),
    /// The client has disconnected, or stopped reading.
    Disconnected(io::Error),
}

impl Failure {
    fn exception(&self) -> Option<&PyErr> {
        match self {
            Failure::App(error) => Some(error),
            Failure::Disconnected(_) => None,
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
            SendError::NotStarted => Failure::App(PyAssertionError::new_err(
                "the application did not call start_response() before its first block",
            )),
            SendError::Ended => {
                Failure::App(PyRuntimeError::new_err("the response has already ended"))
            }
        }
    }
}

impl Wsgi {
    /// Prepares to serve `app`. `servers` are the addresses of the listeners, in the order of
    /// [`Exchange::listener`]. `multiprocess` is true while other processes serve the same
    /// application. `log_keys` are the environ keys that the access log prints.
    pub fn new(
        py: Python<'_>,
        app: Application,
        servers: &[ServerAddress],
        settings: &Arc<Settings>,
        multiprocess: Arc<AtomicBool>,
        log_keys: Vec<String>,
    ) -> PyResult<Wsgi> {
        let environs = EnvironBuilder::new(py, servers, settings, multiprocess)?;
        fork::watch(py)?;
        Ok(Wsgi { app, environs, log_keys, responses: Responses::default() })
    }

    /// Makes the state that a worker thread passes to [`Wsgi::serve`].
    pub fn thread_state(&self, py: Python<'_>) -> PyResult<ThreadState> {
        ThreadState::new(py, &self.responses)
    }

    /// The requests that the application is processing, as the error log names them.
    pub fn running(&self, py: Python<'_>) -> Vec<String> {
        self.responses.running(py)
    }

    /// Serves one request. Whatever the application does, the exchange comes back with its response
    /// complete or aborted, and [`ThreadState::head`] is the head of that response. All code of the
    /// application runs in the context of the request.
    pub fn serve(
        &self,
        py: Python<'_>,
        thread_state: &mut ThreadState,
        mut exchange: Box<dyn Exchange>,
    ) -> Outcome {
        let mut context = None;
        let environ = catch_panic(|| {
            context = Some(RequestContext::enter(py)?);
            thread_state.disconnected.get().watch(exchange.client());
            Ok(self.environs.build(
                py,
                &mut thread_state.environ_cache,
                &mut *exchange,
                &thread_state.disconnected,
            )?)
        });
        thread_state.callables.response.put_exchange(py, exchange);
        let mut logged = Vec::new();
        let mut hooked = None;
        let served = environ.and_then(|environ| {
            let served = catch_panic(|| {
                self.call_pre_request(&environ, &mut hooked)?;
                self.call(py, thread_state, &environ)
            });
            logged = self.values_to_log(&environ);
            served
        });
        let complete = served.is_ok();
        let mut exchange = end_response(py, thread_state, served);
        if let (Some(hooks), Some(hooked)) = (&self.app.hooks, hooked) {
            if complete {
                // The client need not wait for the hook. If it has disconnected, the worker finds
                // out when it next uses the exchange.
                let _ = exchange.flush_soon();
            }
            hooks.call_post_request(&hooked, &thread_state.head, exchange.http().sent_bytes());
        }
        drop(context);
        // A destructor of the environ or of a value of the context may have forked.
        fork::exit_if_forked(py, None);
        if let Err(error) = thread_state.replace_retained(py, &self.responses) {
            error!(
                target: "request.no_memory",
                "Out of memory: cannot replace start_response, which the application has kept; a \
                 late call may reach the next request: {error}"
            );
        }
        Outcome { exchange, logged }
    }

    fn call_pre_request<'py>(
        &self,
        environ: &Bound<'py, PyDict>,
        hooked: &mut Option<HookedRequest<'py>>,
    ) -> Result<(), Failure> {
        if let Some(hooks) = &self.app.hooks {
            let hooked = hooked.insert(hooks.make_request(environ)?);
            hooks.call_pre_request(hooked)?;
        }
        Ok(())
    }

    /// Calls the application, sends what it returns, and calls `close()` on that.
    fn call(
        &self,
        py: Python<'_>,
        thread_state: &ThreadState,
        environ: &Bound<'_, PyDict>,
    ) -> Result<(), Failure> {
        let response = &*thread_state.callables.response;
        let start_response = thread_state.callables.start_response.bind(py);
        let returned = self.app.callable.bind(py).call1((environ, start_response));
        fork::exit_if_forked(py, returned.as_ref().err());
        let returned = returned?;
        // Most applications return a list or a tuple: all blocks exist, and there is no close().
        if let Ok(list) = returned.cast_exact::<PyList>() {
            return match list.len() {
                1 => send_sequence(py, response, &[list.get_item(0)?]),
                _ => send_sequence(py, response, &list.iter().collect::<Vec<_>>()),
            };
        }
        if let Ok(tuple) = returned.cast_exact::<PyTuple>() {
            return send_sequence(py, response, tuple.as_slice());
        }
        let sent = send_iterable(py, response, &returned);
        // A generator may also have forked after its last block.
        fork::exit_if_forked(py, sent.as_ref().err().and_then(Failure::exception));
        let sent = sent.and_then(|()| report_length(py, response, response.finish(py)));
        match returned.getattr_opt(intern!(py, "close")) {
            Ok(None) => sent,
            Ok(Some(close)) => {
                // `close()` may take long, and the client need not wait for it.
                let sent = sent.and_then(|()| Ok(response.flush_soon(py)?));
                let closed = close.call0();
                fork::exit_if_forked(py, closed.as_ref().err());
                if let Err(error) = closed {
                    report_close(py, response, &error);
                }
                sent
            }
            Err(error) => {
                report_close(py, response, &error);
                sent
            }
        }
    }

    fn values_to_log(&self, environ: &Bound<'_, PyDict>) -> Vec<(String, String)> {
        let value = |key: &String| {
            let value = environ.get_item(key).ok().flatten()?;
            Some((key.clone(), value.str().ok()?.to_string_lossy().into_owned()))
        };
        self.log_keys.iter().filter_map(value).collect()
    }
}

/// Runs one step of a request. A panic, which is a bug of the server, fails this request only.
fn catch_panic<T>(step: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| {
        Err(Failure::App(PySystemError::new_err("the server has a bug: see the panic above")))
    })
}

/// Completes or aborts the response, and takes the exchange back. If the application failed before
/// the head was sent, the response is an error page.
fn end_response(
    py: Python<'_>,
    thread_state: &mut ThreadState,
    served: Result<(), Failure>,
) -> Box<dyn Exchange> {
    // From here on a late call of start_response or write fails.
    let exchange = thread_state.callables.response.take_exchange(py, &mut thread_state.head);
    let mut exchange = exchange.expect("put in before the application was called");
    match served {
        Ok(()) => {}
        Err(Failure::Disconnected(error)) => {
            debug!("the client disconnected before the response was complete: {error}");
            exchange.http().abort();
        }
        Err(Failure::App(error)) => {
            let status = match error.is_instance_of::<RequestTimeout>(py) {
                true => "504 Gateway Timeout",
                false => "500 Internal Server Error",
            };
            let request = exchange.http().head().to_string();
            if exchange.http().has_begun() {
                exchange.http().abort();
                error!(
                    target: "request.failed",
                    "Error handling request {request}: closing the connection, as the response \
                     has begun"
                );
            } else {
                thread_state.head = send_error_page(&mut *exchange, status);
                error!(
                    target: "request.failed",
                    "Error handling request {request}: responding with {status}"
                );
            }
            observe::write_text(&traceback::format(py, &error));
        }
    }
    exchange
}

/// Queues an error page without details: they are in the error log.
fn send_error_page(exchange: &mut dyn Exchange, status: &str) -> ResponseHead {
    let page = format!("{status}\n");
    let page = page.as_bytes();
    let mut head = ResponseHead::default();
    let built = head
        .start(status.as_bytes())
        .and_then(|()| head.add_field(b"Content-Type", b"text/plain; charset=utf-8"));
    debug_assert!(built.is_ok());
    exchange.begin(&head, Some(page.len() as u64));
    let frame = exchange.http().frame(page.len());
    exchange.queue_copy(&page[..frame.take]);
    let _ = exchange.finish();
    head
}

/// Logs if the application sent more or less content than it declared. `ended` is the result of
/// ending the response.
pub(super) fn report_length(
    py: Python<'_>,
    response: &Response,
    ended: Result<Result<(), BodyTooShort>, SendError>,
) -> Result<(), Failure> {
    let ended = ended?;
    if response.take_exceeded_length(py) {
        warn!(
            target: "response.excess",
            "Response to {} is longer than its Content-Length: dropping the excess",
            request(py, response)
        );
    }
    if let Err(BodyTooShort { missing_bytes }) = ended {
        // `finish` has aborted the response.
        error!(
            target: "response.short",
            "Response to {} is {missing_bytes} bytes shorter than its Content-Length: closing the \
             connection",
            request(py, response)
        );
    }
    Ok(())
}

/// Logs that `close()` of the returned iterable failed.
fn report_close(py: Python<'_>, response: &Response, error: &PyErr) {
    error!(
        target: "request.close_failed",
        "close() of the iterable returned for {} raised an exception; the response is not affected",
        request(py, response)
    );
    observe::write_text(&traceback::format(py, error));
}

/// The request as the error log names it.
fn request(py: Python<'_>, response: &Response) -> String {
    response.with_exchange(py, |exchange| exchange.http().head().to_string()).unwrap_or_default()
}
