//! One request: call the application, send what it returns, close it. [PEP 3333, "Specification Details"]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use log::{debug, error, warn};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyBytes, PyDict, PyIterator, PyList, PyString, PyTuple};

use super::environ::{EnvironBuilder, ServerAddress};
use super::exchange::Exchange;
use super::file_wrapper::{FileWrapper, as_block};
use super::start_response::{Responder, SendError};
use super::timeout::RequestTimeout;
use super::traceback;
use crate::http1::ResponseHead;
use crate::observe;

/// Blocks of at least this many bytes are sent while other Python threads run.
const DETACH: usize = 64 * 1024;

/// The application and what every request to it shares.
#[derive(Debug)]
pub struct Wsgi {
    app: Py<PyAny>,
    environs: EnvironBuilder,
    /// Environ keys whose values the access log wants.
    log_keys: Vec<String>,
}

/// What one thread keeps from request to request.
pub struct Seat {
    responder: Py<Responder>,
    /// The responder's bound method.
    start_response: Py<PyAny>,
}

/// An answered exchange.
pub struct Outcome {
    /// The exchange; its response is complete, or aborted.
    pub exchange: Box<dyn Exchange>,
    /// The head of the response.
    pub head: ResponseHead,
    /// The environ values that the access log wants.
    pub logged: Vec<(String, String)>,
}

/// Why an application's response did not come to its end.
enum Failure {
    /// The application raised, or broke the rules.
    App(PyErr),
    /// The client is gone.
    Gone(io::Error),
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Failure {
        Failure::App(error)
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Failure {
        match error {
            SendError::Gone(error) => Failure::Gone(error),
            SendError::NotStarted => Failure::App(pyo3::exceptions::PyAssertionError::new_err(
                "the application did not call start_response() before its first block",
            )),
            SendError::Late => Failure::App(pyo3::exceptions::PyRuntimeError::new_err(
                "the response is being written by another thread",
            )),
        }
    }
}

impl Seat {
    /// What a thread needs to serve requests.
    pub fn new(py: Python<'_>) -> PyResult<Seat> {
        let responder = Bound::new(py, Responder::new())?;
        let start_response = responder.getattr(intern!(py, "start_response"))?.unbind();
        Ok(Seat { responder: responder.unbind(), start_response })
    }

    /// True if an application has kept start_response: its next call must not reach the next request.
    fn is_shared(&self, py: Python<'_>) -> bool {
        let references = |object: *mut pyo3::ffi::PyObject| {
            // SAFETY: both objects are alive, owned by `self`, and `py` proves that we are attached.
            unsafe { pyo3::ffi::Py_REFCNT(object) }
        };
        let _ = py;
        references(self.start_response.as_ptr()) > 1 || references(self.responder.as_ptr()) > 2
    }
}

impl Wsgi {
    /// Prepares to serve `app`. `servers` are the listeners in the order of their numbers.
    pub fn new(
        py: Python<'_>,
        app: Py<PyAny>,
        servers: &[ServerAddress],
        multithread: bool,
        multiprocess: bool,
        log_keys: Vec<String>,
    ) -> PyResult<Wsgi> {
        let environs = EnvironBuilder::new(py, servers, multithread, multiprocess)?;
        Ok(Wsgi { app, environs, log_keys })
    }

    /// Answers one request. Whatever the application does, the exchange comes back with its response
    /// complete or aborted.
    pub fn serve(
        &self,
        py: Python<'_>,
        seat: &mut Seat,
        mut exchange: Box<dyn Exchange>,
    ) -> Outcome {
        let environ = guarded(|| Ok(self.environs.build(py, &mut *exchange)?));
        let responder = seat.responder.clone_ref(py);
        responder.get().arm(exchange);
        let mut logged = Vec::new();
        let served = environ.and_then(|environ| {
            let served = guarded(|| self.call(py, seat, responder.get(), &environ));
            logged = self.values_to_log(&environ);
            served
        });
        let (exchange, head) = conclude(py, responder.get(), served);
        drop(responder);
        if seat.is_shared(py)
            && let Ok(fresh) = Seat::new(py)
        {
            *seat = fresh;
        }
        Outcome { exchange, head, logged }
    }

    fn call(
        &self,
        py: Python<'_>,
        seat: &Seat,
        responder: &Responder,
        environ: &Bound<'_, PyDict>,
    ) -> Result<(), Failure> {
        let returned = self.app.bind(py).call1((environ, seat.start_response.bind(py)))?;
        let sent = send_all(py, responder, &returned);
        // Now or never: `close()` may take its time, and the client need not wait for it.
        let close = match returned.getattr_opt(intern!(py, "close")) {
            Ok(close) => close,
            Err(error) => {
                report(py, responder, "looking up close() failed", &error);
                None
            }
        };
        let sent = match (&close, sent) {
            (Some(_), Ok(())) => finish(responder).and_then(|()| Ok(responder.flush(py, false)?)),
            (_, sent) => sent,
        };
        if let Some(close) = close
            && let Err(error) = close.call0()
        {
            report(py, responder, "close() of the response failed", &error);
        }
        sent
    }

    fn values_to_log(&self, environ: &Bound<'_, PyDict>) -> Vec<(String, String)> {
        let value = |key: &String| {
            let value = environ.get_item(key).ok().flatten()?;
            Some((key.clone(), value.str().ok()?.to_string_lossy().into_owned()))
        };
        self.log_keys.iter().filter_map(value).collect()
    }
}

/// Sends every block of what the application returned.
fn send_all(
    py: Python<'_>,
    responder: &Responder,
    returned: &Bound<'_, PyAny>,
) -> Result<(), Failure> {
    if let Ok(list) = returned.cast_exact::<PyList>() {
        return send_known(responder, &list.iter().collect::<Vec<_>>());
    }
    if let Ok(tuple) = returned.cast_exact::<PyTuple>() {
        return send_known(responder, &tuple.iter().collect::<Vec<_>>());
    }
    if returned.is_instance_of::<PyBytes>() || returned.is_instance_of::<PyString>() {
        // Iterating would yield a number or a character for each byte.
        let what = returned.get_type().name()?;
        return Err(Failure::App(pyo3::exceptions::PyTypeError::new_err(format!(
            "a WSGI application must return an iterable of bytes, not {what}: return [body]"
        ))));
    }
    if let Ok(wrapper) = returned.cast_exact::<FileWrapper>()
        && responder.is_started()
        && let Some(mut extent) = wrapper.get().extent(py)
    {
        if let Some(declared) = responder.declared() {
            extent.length = extent.length.min(declared);
        }
        return Ok(responder.queue_file(extent)?);
    }
    // "If len(iterable) is 1, the server can know the length": [PEP 3333, "Handling the
    // Content-Length Header"]
    let single = returned.hasattr(intern!(py, "__len__"))? && matches!(returned.len(), Ok(1));
    send_blocks(py, responder, returned.try_iter()?, single)
}

/// A list or tuple exists as a whole: its length is known, and it goes out as one piece.
fn send_known(responder: &Responder, items: &[Bound<'_, PyAny>]) -> Result<(), Failure> {
    let mut total = 0;
    for item in items {
        total += as_block(item)?.as_bytes().len() as u64;
    }
    for item in items {
        let block = as_block(item)?;
        if !block.as_bytes().is_empty() && !responder.queue(block, Some(total))? {
            break;
        }
    }
    Ok(())
}

/// Sends each block before the next is asked for. Blocks that are empty send nothing, not even the head:
/// the application may not have decided yet.
fn send_blocks(
    py: Python<'_>,
    responder: &Responder,
    blocks: Bound<'_, PyIterator>,
    single: bool,
) -> Result<(), Failure> {
    for item in blocks {
        let item = item?;
        let block = as_block(&item)?;
        let size = block.as_bytes().len();
        if size == 0 {
            continue;
        }
        if !responder.queue(block, single.then_some(size as u64))? {
            break;
        }
        responder.flush(py, size >= DETACH)?;
    }
    Ok(())
}

/// Completes the response.
fn finish(responder: &Responder) -> Result<(), Failure> {
    if responder.take_excess() {
        warn!("the application gave more bytes than its Content-Length; the rest was not sent");
    }
    match responder.finish()? {
        Ok(()) => Ok(()),
        Err(short) => {
            // The exchange is aborted by this, so nothing is left to do but to say it.
            error!("{short}: the connection is closed");
            Ok(())
        }
    }
}

/// Runs one step of a request; a panic in it, which is a bug of the server, costs this request only.
fn guarded<T>(step: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| {
        Err(Failure::App(pyo3::exceptions::PySystemError::new_err(
            "the server has a bug: see the panic above",
        )))
    })
}

/// Brings the response to its end, whatever happened, and takes the exchange back.
fn conclude(
    py: Python<'_>,
    responder: &Responder,
    served: Result<(), Failure>,
) -> (Box<dyn Exchange>, ResponseHead) {
    responder.settle(py);
    let failure = served.and_then(|()| finish(responder)).err();
    if let Some(Failure::App(error)) = &failure {
        report(py, responder, "the application failed", error);
    }
    // From here on a late call of start_response or write finds nothing.
    let (mut exchange, mut head) = responder.disarm(py);
    match failure {
        None => {}
        Some(Failure::Gone(error)) => {
            debug!("the client left before the response was complete: {error}");
            exchange.http().abort();
        }
        Some(Failure::App(_)) if exchange.http().has_begun() => exchange.http().abort(),
        Some(Failure::App(error)) if error.is_instance_of::<RequestTimeout>(py) => {
            head = send_error_page(&mut *exchange, "504 Gateway Timeout");
        }
        Some(Failure::App(_)) => {
            head = send_error_page(&mut *exchange, "500 Internal Server Error");
        }
    }
    (exchange, head)
}

/// Says in the error log what failed, at which request, with the traceback.
fn report(py: Python<'_>, responder: &Responder, what: &str, failure: &PyErr) {
    let request = responder.with(|exchange| {
        let head = exchange.http().head();
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        format!("{} {}", text(head.method()), text(head.raw_target()))
    });
    error!("{what}: {}", request.unwrap_or_default());
    observe::log::write_raw(traceback::format(py, failure).as_bytes());
}

/// A page that says no more than it must: details are in the error log, for whoever may read it.
fn send_error_page(exchange: &mut dyn Exchange, status: &str) -> ResponseHead {
    let page = format!("{status}\n");
    let page = page.as_bytes();
    let mut head = ResponseHead::default();
    let built = head
        .start(status.as_bytes())
        .and_then(|()| head.field(b"Content-Type", b"text/plain; charset=utf-8"));
    debug_assert!(built.is_ok());
    exchange.begin(&head, Some(page.len() as u64));
    let frame = exchange.http().frame(page.len());
    exchange.copy(&page[..frame.take]);
    let _ = exchange.finish();
    head
}
