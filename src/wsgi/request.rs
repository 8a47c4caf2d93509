//! One request: call the application, send what it returns, close it. [PEP 3333, "Specification Details"]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use log::{debug, error, warn};
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PySystemError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyDict, PyIterator, PyList, PyString, PyTuple};

use super::application::{Application, HookedRequest};
use super::block::yielded;
use super::environ::{EnvironBuilder, ServerAddress};
use super::exchange::Exchange;
use super::file_wrapper::FileWrapper;
use super::fork;
use super::response::{Queued, Response, SendError};
use super::thread_state::{Responses, ThreadState};
use super::timeout::RequestTimeout;
use super::traceback;
use crate::config::Settings;
use crate::http1::{BodyTooShort, ResponseHead};
use crate::observe;

/// The application and what every request to it shares.
pub struct Wsgi {
    app: Application,
    environs: EnvironBuilder,
    /// Environ keys whose values the access log wants.
    log_keys: Vec<String>,
    /// What every thread_state is at.
    responses: Responses,
}

/// An answered exchange.
pub struct Outcome {
    /// The exchange; its response is complete, or aborted.
    pub exchange: Box<dyn Exchange>,
    /// The environ values that the access log wants.
    pub logged: Vec<(String, String)>,
}

/// Why an application's response did not come to its end.
enum Failure {
    /// The application raised, or broke the rules.
    App(PyErr),
    /// The client is gone.
    Disconnected(io::Error),
}

impl Failure {
    fn raised(&self) -> Option<&PyErr> {
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
                Failure::App(PyRuntimeError::new_err("the response is over already"))
            }
        }
    }
}

impl Wsgi {
    /// Prepares to serve `app`. `servers` are the listeners in the order of their numbers; `multiprocess` says
    /// whether other processes serve the same, at any time.
    pub fn new(
        py: Python<'_>,
        app: Application,
        servers: &[ServerAddress],
        settings: &Settings,
        multiprocess: Arc<AtomicBool>,
        log_keys: Vec<String>,
    ) -> PyResult<Wsgi> {
        let environs = EnvironBuilder::new(py, servers, settings, multiprocess)?;
        fork::watch(py)?;
        Ok(Wsgi { app, environs, log_keys, responses: Responses::default() })
    }

    /// What a thread needs to serve requests.
    pub fn thread_state(&self, py: Python<'_>) -> PyResult<ThreadState> {
        ThreadState::new(py, &self.responses)
    }

    /// The requests that the application is at, as the error log names them.
    pub fn running(&self, py: Python<'_>) -> Vec<String> {
        self.responses.running(py)
    }

    /// Answers one request. Whatever the application does, the exchange comes back with its response
    /// complete or aborted. [`ThreadState::head`] then has the head of the response.
    pub fn serve(
        &self,
        py: Python<'_>,
        thread_state: &mut ThreadState,
        mut exchange: Box<dyn Exchange>,
    ) -> Outcome {
        let environ = guarded(|| {
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
            let served = guarded(|| {
                self.begin(&environ, &mut hooked)?;
                self.call(py, thread_state, &environ)
            });
            logged = self.values_to_log(&environ);
            served
        });
        let complete = served.is_ok();
        let mut exchange = conclude(py, thread_state, served);
        if let (Some(hooks), Some(hooked)) = (&self.app.hooks, hooked) {
            if complete {
                // The client need not wait for what comes now. If it has left, nobody does.
                let _ = exchange.flush_soon();
            }
            hooks.after(&hooked, &thread_state.head, exchange.http().sent_bytes());
        }
        if let Err(failure) = thread_state.replace_retained(py, &self.responses) {
            error!("out of environ_cache: start_response cannot be renewed: {failure}");
        }
        Outcome { exchange, logged }
    }

    /// Calls what is to be called before the application.
    fn begin<'py>(
        &self,
        environ: &Bound<'py, PyDict>,
        hooked: &mut Option<HookedRequest<'py>>,
    ) -> Result<(), Failure> {
        if let Some(hooks) = &self.app.hooks {
            let hooked = hooked.insert(hooks.request(environ)?);
            hooks.before(hooked)?;
        }
        Ok(())
    }

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
        // Lists and tuples, which most applications return, exist as a whole and have no `close()`.
        if let Ok(list) = returned.cast_exact::<PyList>() {
            return match list.len() {
                1 => send_known(py, response, &[list.get_item(0)?]),
                _ => send_known(py, response, &list.iter().collect::<Vec<_>>()),
            };
        }
        if let Ok(tuple) = returned.cast_exact::<PyTuple>() {
            return send_known(py, response, tuple.as_slice());
        }
        let sent = send_all(py, response, &returned);
        // Once more: the last step of an iteration, which yields nothing, may have forked as well.
        fork::exit_if_forked(py, sent.as_ref().err().and_then(Failure::raised));
        let sent = sent.and_then(|()| finish(py, response));
        // Now or never: `close()` may take its time, and the client need not wait for it.
        match returned.getattr_opt(intern!(py, "close")) {
            Ok(None) => sent,
            Ok(Some(close)) => {
                let sent = sent.and_then(|()| Ok(response.flush_soon(py)?));
                let closed = close.call0();
                fork::exit_if_forked(py, closed.as_ref().err());
                if let Err(error) = closed {
                    report(py, response, "close() of the response failed", &error);
                }
                sent
            }
            Err(error) => {
                report(py, response, "looking up close() failed", &error);
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

/// Sends the blocks of a list or tuple: the length of all is known, and they go out as one piece.
fn send_known(
    py: Python<'_>,
    response: &Response,
    items: &[Bound<'_, PyAny>],
) -> Result<(), Failure> {
    let ended = match items {
        [item] => response.queue_all(py, &[yielded(item)?]),
        _ => {
            let blocks = items.iter().map(yielded).collect::<PyResult<Vec<_>>>()?;
            response.queue_all(py, &blocks)
        }
    };
    note_end(py, response, ended)
}

/// Sends every block of what the application returned.
fn send_all(
    py: Python<'_>,
    response: &Response,
    returned: &Bound<'_, PyAny>,
) -> Result<(), Failure> {
    if returned.is_instance_of::<PyBytes>() || returned.is_instance_of::<PyString>() {
        // Iterating would yield a number or a character for each byte.
        let what = returned.get_type().name()?;
        return Err(Failure::App(PyTypeError::new_err(format!(
            "a WSGI application must return an iterable of bytes, not {what}: return [body]"
        ))));
    }
    if let Ok(wrapper) = returned.cast_exact::<FileWrapper>()
        && response.is_started(py)
        && let Some(mut extent) = wrapper.get().extent(py)
    {
        if let Some(declared) = response.declared_length(py) {
            extent.length = extent.length.min(declared);
        }
        return Ok(response.queue_file(py, extent)?);
    }
    // "If len(iterable) is 1, the server can know the length": [PEP 3333, "Handling the
    // Content-Length Header"]
    let single = returned.hasattr(intern!(py, "__len__"))? && matches!(returned.len(), Ok(1));
    let blocks = returned.try_iter().map_err(|error| match is_iterable(returned) {
        true => error,
        false => not_iterable(returned),
    })?;
    send_blocks(py, response, blocks, single)
}

fn is_iterable(returned: &Bound<'_, PyAny>) -> bool {
    let kind = returned.get_type();
    ["__iter__", "__getitem__"].iter().any(|name| kind.hasattr(*name).unwrap_or(true))
}

/// Python's own words name neither the application nor what it should have returned.
fn not_iterable(returned: &Bound<'_, PyAny>) -> PyErr {
    const RULE: &str = "a WSGI application must return an iterable of bytes";
    PyTypeError::new_err(match returned.get_type().name() {
        _ if returned.is_none() => format!(
            "{RULE}, but this one returned None: is there a path through it without `return [body]`?"
        ),
        Ok(what) if returned.is_callable() => format!(
            "{RULE}, not {what}: if it is a factory that returned this, name it with (), as in \
             module:create_app()"
        ),
        Ok(what) => format!("{RULE}, not {what}: return [body]"),
        Err(_) => RULE.to_owned(),
    })
}

/// Sends each block before the next is asked for. Blocks that are empty send nothing, not even the head:
/// the application may not have decided yet.
fn send_blocks(
    py: Python<'_>,
    response: &Response,
    blocks: Bound<'_, PyIterator>,
    single: bool,
) -> Result<(), Failure> {
    for item in blocks {
        fork::exit_if_forked(py, item.as_ref().err());
        let item = item?;
        let block = yielded(&item)?;
        let size = block.as_bytes().len();
        if size == 0 {
            continue;
        }
        if response.send(block, single.then_some(size as u64))? != Queued::All {
            break;
        }
    }
    Ok(())
}

/// Completes the response.
fn finish(py: Python<'_>, response: &Response) -> Result<(), Failure> {
    note_end(py, response, response.finish(py))
}

/// Says in the error log if the content was not what the application had declared.
fn note_end(
    py: Python<'_>,
    response: &Response,
    ended: Result<Result<(), BodyTooShort>, SendError>,
) -> Result<(), Failure> {
    let ended = ended?;
    if response.take_exceeded_length(py) {
        let request = request(py, response);
        warn!(
            "the application gave more bytes than its Content-Length; the rest was not sent: {request}"
        );
    }
    if let Err(short) = ended {
        // The exchange is aborted by this, so nothing is left to do but to say it.
        error!("{short}, so the connection is closed: {}", request(py, response));
    }
    Ok(())
}

/// Runs one step of a request; a panic in it, which is a bug of the server, costs this request only.
fn guarded<T>(step: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| {
        Err(Failure::App(PySystemError::new_err("the server has a bug: see the panic above")))
    })
}

/// Brings the response to its end, whatever happened, and takes the exchange back.
fn conclude(
    py: Python<'_>,
    thread_state: &mut ThreadState,
    served: Result<(), Failure>,
) -> Box<dyn Exchange> {
    if let Err(Failure::App(error)) = &served {
        report(py, &thread_state.callables.response, "the application failed", error);
    }
    // From here on a late call of start_response or write finds nothing.
    let exchange = thread_state.callables.response.take_exchange(py, &mut thread_state.head);
    let mut exchange = exchange.expect("armed before the application was called");
    match served {
        Ok(()) => {}
        Err(Failure::Disconnected(error)) => {
            debug!("the client left before the response was complete: {error}");
            exchange.http().abort();
        }
        Err(Failure::App(_)) if exchange.http().has_begun() => exchange.http().abort(),
        Err(Failure::App(error)) if error.is_instance_of::<RequestTimeout>(py) => {
            thread_state.head = send_error_page(&mut *exchange, "504 Gateway Timeout");
        }
        Err(Failure::App(_)) => {
            thread_state.head = send_error_page(&mut *exchange, "500 Internal Server Error");
        }
    }
    exchange
}

/// Says in the error log what failed, at which request, with the traceback.
fn report(py: Python<'_>, response: &Response, what: &str, failure: &PyErr) {
    error!("{what}: {}", request(py, response));
    observe::write_raw(traceback::format(py, failure).as_bytes());
}

/// Which request it is, for the error log.
fn request(py: Python<'_>, response: &Response) -> String {
    response.with_exchange(py, |exchange| exchange.http().head().to_string()).unwrap_or_default()
}

/// A page that says no more than it must: details are in the error log, for whoever may read it.
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
