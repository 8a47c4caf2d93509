//! Serves one request: calls the application, sends what it returns, and closes it.
//! [PEP 3333, "Specification Details"]

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use log::{error, warn};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::application::{Application, HookedRequest};
use super::environ::{EnvironBuilder, ServerAddress};
use super::exchange::Exchange;
use super::failure::{Failure, end_response, request};
use super::ffi::RequestContext;
use super::iterable::{send_iterable, send_sequence};
use super::response::{Length, Response, SendError, Upgrade};
use super::step::{late_step, step};
use super::thread_state::{Responses, ThreadState};
use super::{fork, raw_connection, timeout, traceback};
use crate::config::Settings;
use crate::http1::BodyTooShort;
use crate::observe;

/// The application, and the state that all its requests share.
pub struct Wsgi {
    app: Application,
    environs: EnvironBuilder,
    /// The environ keys whose values the access log prints.
    log_keys: Vec<String>,
    /// The responses of all worker threads.
    pub(super) responses: Responses,
}

/// An exchange that was served.
pub struct Outcome {
    /// The exchange, with its response complete or aborted. `None` if the poller has taken it, as
    /// the request has run longer than `--timeout`.
    pub exchange: Option<Box<dyn Exchange>>,
    /// Environ keys and values for the access log.
    pub logged: Vec<(String, String)>,
    /// The request's context, if the thread keeps it. Its values may have destructors: drop it
    /// where code of the application may run.
    pub context: Option<Py<PyAny>>,
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
        ThreadState::new(py, &self.responses, self.environs.templates(py)?)
    }

    /// The requests that the application is processing, as the error log names them.
    pub fn running(&self, py: Python<'_>) -> Vec<String> {
        self.responses.running(py)
    }

    /// Serves one request. Whatever the application does, the exchange comes back with its response
    /// complete or aborted, and [`ThreadState::head`] is the head of that response. All code of the
    /// application runs in the context of the request, and in a step that catches panics and ends a
    /// forked process.
    pub fn serve(
        &self,
        py: Python<'_>,
        thread_state: &mut ThreadState,
        mut exchange: Box<dyn Exchange>,
    ) -> Outcome {
        let response = &*thread_state.callables.response;
        let (mut context, mut connection) = (None, None);
        let environ = step(py, || {
            context = Some(RequestContext::enter(py)?);
            let environ = self.environs.build(
                py,
                &mut thread_state.environ_cache,
                &mut *exchange,
                (&thread_state.disconnected, &thread_state.callables.early_hints),
            )?;
            if exchange.http().head().asks_for_upgrade()
                && let Some(upgrader) = &thread_state.upgrader
            {
                let response = &thread_state.callables.response;
                connection = Some(raw_connection::offer(&environ, response, upgrader)?);
            }
            Ok(environ)
        });
        response.put_exchange(py, exchange);
        let mut logged = Vec::new();
        let mut hooked = None;
        let served = environ.and_then(|environ| {
            let served = step(py, || {
                self.call_pre_request(&environ, &mut hooked)?;
                self.call(py, thread_state, &environ, connection.is_some())
            });
            late_step(py, response, || {
                if !self.log_keys.is_empty() {
                    logged = self.values_to_log(&environ);
                }
                drop(environ);
            });
            served
        });
        let complete = served.is_ok();
        if let Some(connection) = &connection {
            let failed = served.as_ref().is_err_and(|failure| failure.abandons_connection(py));
            late_step(py, response, || connection.get().end_use(py, failed));
        }
        if let Err(failure) = served {
            late_step(py, response, || end_response(py, response, failure));
        }
        if let (Some(hooks), Some(hooked)) = (&self.app.hooks, hooked) {
            late_step(py, response, || {
                if complete {
                    // The client need not wait for the hook. If it has disconnected, the worker
                    // finds out when it next uses the exchange.
                    let _ = response.end(py, |exchange, _| exchange.flush_soon());
                }
                let (head, sent_bytes) = response.sent(py);
                hooks.call_post_request(&hooked, &head, sent_bytes);
                drop(hooked);
            });
        }
        let mut left = None;
        late_step(py, response, || {
            let context = context.map(RequestContext::leave);
            left = context.filter(|_| thread_state.keeps_context).map(Bound::unbind);
        });
        thread_state.keep_client_if_retained(py);
        if let Some(connection) = connection {
            connection.get().end();
        }
        let exchange = response.take_exchange(py, &mut thread_state.head);
        let replaced = step(py, || {
            if exchange.is_none() {
                // There is no request to log.
                left = None;
            }
            Ok(thread_state.replace_retained(py, &self.responses)?)
        });
        if let Err(failure) = replaced {
            // To format the exception may need memory.
            let _ = step(py, || {
                report_not_replaced(&failure);
                Ok(())
            });
        }
        Outcome { exchange, logged, context: left }
    }

    /// Takes back the exchange of a request in which [`Wsgi::serve`] has panicked, and aborts its
    /// response. `None` if it is lost.
    pub fn recover_exchange(
        &self,
        py: Python<'_>,
        thread_state: &mut ThreadState,
    ) -> Option<Box<dyn Exchange>> {
        thread_state.callables.response.take_exchange(py, &mut thread_state.head)
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

    /// Calls the application, sends what it returns, and calls `close()` on that. `is_upgradable`:
    /// it may have taken its connection.
    fn call(
        &self,
        py: Python<'_>,
        thread_state: &ThreadState,
        environ: &Bound<'_, PyDict>,
        is_upgradable: bool,
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
        let sent = match is_upgradable && response.upgrade(py) != Upgrade::None {
            // Whatever it is.
            true => Ok(()),
            false => send_iterable(py, response, &returned),
        };
        // A generator may also have forked after its last block.
        fork::exit_if_forked(py, sent.as_ref().err().and_then(Failure::exception));
        let sent = sent.and_then(|()| report_length(py, response, response.finish(py)));
        if matches!(sent, Err(Failure::TimedOut)) {
            // The thread has learned of the timeout: the exception must not disturb the cleanup.
            timeout::withdraw_from_current_thread(py);
        }
        let close = returned.getattr_opt(intern!(py, "close"));
        fork::exit_if_forked(py, close.as_ref().err());
        match close {
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

#[cold]
fn report_not_replaced(failure: &Failure) {
    let reason = failure
        .exception()
        .map_or_else(String::new, |error| format!(": {}", observe::text_of(error)));
    error!(
        target: "request.no_memory",
        "Out of memory: cannot replace start_response, which the application has kept; a late call \
         may reach the next request{reason}"
    );
}

/// Logs if the application sent more or less content than it declared. `ended` is the result of
/// ending the response.
#[inline]
pub(super) fn report_length(
    py: Python<'_>,
    response: &Response,
    ended: Result<Length, SendError>,
) -> Result<(), Failure> {
    let length = ended?;
    if length.is_exceeded || length.missing.is_err() {
        report_wrong_length(py, response, length);
    }
    Ok(())
}

#[cold]
fn report_wrong_length(
    py: Python<'_>,
    response: &Response,
    Length { is_exceeded, missing }: Length,
) {
    if is_exceeded {
        warn!(
            target: "response.excess",
            "Response to {} is longer than its Content-Length: dropping the excess",
            request(py, response)
        );
    }
    if let Err(BodyTooShort { missing_bytes }) = missing {
        // `finish` has aborted the response.
        error!(
            target: "response.short",
            "Response to {} is {} shorter than its Content-Length: closing the connection",
            request(py, response),
            observe::counted(missing_bytes, "byte")
        );
    }
}

/// Logs that `close()` of the returned iterable failed.
fn report_close(py: Python<'_>, response: &Response, error: &PyErr) {
    error!(
        target: "request.close_failed",
        traceback = traceback::format(py, error).as_str();
        "close() of the iterable returned for {} raised an exception; the response is not affected",
        request(py, response)
    );
}
