//! `start_response` and the `write` callable it returns, exposed from Rust.
//! [PEP 3333, "The start_response() Callable", "The write() Callable"]
//!
//! start_response only remembers what it is told: the head goes out with the first block that is not
//! empty, so that an application may still change its mind with `exc_info` until then. Everything is
//! checked here, while the application can still be told by an exception.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pyo3::exceptions::{PyAssertionError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyAny, PyBytes, PyList, PyString, PyTuple};

use super::exchange::Exchange;
use super::file_wrapper::Extent;
use super::strings::with_latin1;
use crate::http1::{ResponseError, ResponseHead, TooShort};

/// Blocks of at least this many bytes are sent from where Python keeps them.
const SHARE: usize = 16 * 1024;

/// What stands between an application and one exchange. Its bound method is the application's
/// `start_response`; it holds the exchange while the application runs, so that a call that comes too
/// late finds nothing and reaches nobody's socket.
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct Responder {
    /// Held for moments only, and never while Python code may run.
    state: Mutex<State>,
    /// Told when a flush puts the exchange back.
    returned: Condvar,
}

#[derive(Default)]
struct State {
    /// The exchange, unless a thread is flushing it.
    exchange: Option<Box<dyn Exchange>>,
    /// A thread has taken the exchange and will put it back.
    flushing: bool,
    head: ResponseHead,
    /// start_response was called successfully.
    started: bool,
    /// The application gave more than its Content-Length allows.
    excess: bool,
}

/// Why a block could not be sent.
#[derive(Debug)]
pub(super) enum SendError {
    /// start_response was not called yet.
    NotStarted,
    /// The client is gone.
    Gone(std::io::Error),
    /// The exchange is over, or another thread is sending.
    Late,
}

impl Responder {
    pub(super) fn new() -> Responder {
        Responder { state: Mutex::default(), returned: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes charge of an exchange.
    pub(super) fn arm(&self, exchange: Box<dyn Exchange>) {
        let mut state = self.state();
        state.started = false;
        state.excess = false;
        state.exchange = Some(exchange);
    }

    /// Waits for a thread that the application may have left behind in `write()`.
    pub(super) fn settle(&self, py: Python<'_>) {
        if self.state().flushing {
            py.detach(|| {
                let idle = self.returned.wait_while(self.state(), |state| state.flushing);
                drop(idle.unwrap_or_else(PoisonError::into_inner));
            });
        }
    }

    /// Gives the exchange back with the head of its response; later calls find nothing.
    pub(super) fn disarm(&self, py: Python<'_>) -> (Box<dyn Exchange>, ResponseHead) {
        loop {
            self.settle(py);
            let mut state = self.state();
            if let Some(exchange) = state.exchange.take() {
                return (exchange, std::mem::take(&mut state.head));
            }
        }
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut dyn Exchange) -> T) -> Option<T> {
        self.state().exchange.as_mut().map(|exchange| look(&mut **exchange))
    }

    /// True once start_response was called.
    pub(super) fn is_started(&self) -> bool {
        self.state().started
    }

    /// True if the application gave more bytes than it declared; says so once.
    pub(super) fn take_excess(&self) -> bool {
        std::mem::take(&mut self.state().excess)
    }

    /// True if the head was queued already.
    pub(super) fn has_begun(&self) -> bool {
        self.with(|exchange| exchange.http().has_begun()).unwrap_or(true)
    }

    /// The declared Content-Length.
    pub(super) fn declared(&self) -> Option<u64> {
        self.state().head.content_length()
    }

    /// Queues a block, behind the head if it is the first. `length` is the content's length in all, if
    /// the caller knows it. Returns false once no further block can have an effect.
    pub(super) fn queue(
        &self,
        block: &Bound<'_, PyBytes>,
        length: Option<u64>,
    ) -> Result<bool, SendError> {
        let bytes = block.as_bytes();
        let mut state = self.state();
        let exchange = begin(&mut state, length)?;
        let frame = exchange.http().frame(bytes.len());
        exchange.copy(frame.prefix());
        if frame.take < SHARE {
            exchange.copy(&bytes[..frame.take]);
        } else {
            let owner = PyBackedBytes::from(block.clone());
            exchange.share(Bytes::from_owner(owner).slice(..frame.take));
        }
        exchange.copy(frame.suffix);
        let silent = exchange.http().sends_no_content();
        if frame.take < bytes.len() && !silent {
            state.excess = true;
        }
        Ok(!silent && !state.excess)
    }

    /// Queues part of a file.
    pub(super) fn queue_file(&self, extent: Extent) -> Result<(), SendError> {
        let mut state = self.state();
        let exchange = begin(&mut state, Some(extent.length))?;
        let length = usize::try_from(extent.length).unwrap_or(usize::MAX);
        let frame = exchange.http().frame(length);
        exchange.copy(frame.prefix());
        if frame.take > 0 {
            exchange.send_file(extent.file, extent.offset, frame.take as u64);
        }
        exchange.copy(frame.suffix);
        Ok(())
    }

    /// Sends what is queued, and waits while the client is far behind.
    pub(super) fn flush(&self, py: Python<'_>, large: bool) -> Result<(), SendError> {
        // Out of the state while other threads may run: whoever calls meanwhile is told so.
        let mut state = self.state();
        let Some(mut exchange) = state.exchange.take() else { return Err(SendError::Late) };
        state.flushing = true;
        drop(state);
        // A small block is with the kernel sooner than another thread could have the interpreter.
        let mut flushed = if large { py.detach(|| exchange.flush()) } else { exchange.flush() };
        if flushed.is_ok() && exchange.is_full() {
            flushed = py.detach(|| exchange.wait());
        }
        let mut state = self.state();
        state.exchange = Some(exchange);
        state.flushing = false;
        drop(state);
        self.returned.notify_all();
        flushed.map_err(SendError::Gone)
    }

    /// Ends the response with what start_response said, if nothing of it was sent yet with no content.
    pub(super) fn finish(&self) -> Result<Result<(), TooShort>, SendError> {
        let mut state = self.state();
        Ok(begin(&mut state, Some(0))?.finish())
    }
}

/// Queues the head unless it is queued already.
fn begin(state: &mut State, length: Option<u64>) -> Result<&mut dyn Exchange, SendError> {
    let State { exchange, head, started, .. } = state;
    let exchange = exchange.as_mut().ok_or(SendError::Late)?;
    if !*started {
        return Err(SendError::NotStarted);
    }
    if !exchange.http().has_begun() {
        exchange.begin(head, length);
    }
    Ok(&mut **exchange)
}

#[pymethods]
impl Responder {
    /// Starts the response: `status` is `"200 OK"`, `headers` a list of `(name, value)` tuples of `str`.
    /// Returns `write(bytes)`. Raises ValueError or TypeError for what HTTP cannot carry, AssertionError
    /// for a second call without `exc_info`; with `exc_info` re-raises it if the head is already sent.
    #[pyo3(signature = (status, headers, exc_info=None, /))]
    fn start_response<'py>(
        slf: &Bound<'py, Self>,
        status: &Bound<'py, PyAny>,
        headers: &Bound<'py, PyAny>,
        exc_info: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let this = slf.get();
        let py = slf.py();
        let exc_info = match exc_info {
            Some(info) if info.is_truthy()? => Some(info),
            _ => None,
        };
        if this.state().exchange.is_none() {
            return Err(PyRuntimeError::new_err(
                "start_response() was called after the response had ended",
            ));
        }
        match exc_info {
            Some(info) if this.has_begun() => return Err(reraised(info)?),
            None if this.is_started() => {
                return Err(PyAssertionError::new_err(
                    "start_response() was called a second time without exc_info",
                ));
            }
            _ => {}
        }
        let head = read_head(status, headers)?;
        let mut state = this.state();
        state.head = head;
        state.started = true;
        drop(state);
        slf.getattr(intern!(py, "write"))
    }

    /// Sends `data` before it returns. Raises OSError once the client is gone.
    #[pyo3(signature = (data, /))]
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let block = super::file_wrapper::as_block(data)?;
        let size = block.as_bytes().len();
        if size == 0 {
            return Ok(());
        }
        let sent = self.queue(block, None).and_then(|_| self.flush(py, size >= SHARE));
        sent.map_err(|error| match error {
            SendError::Gone(error) => error.into(),
            SendError::Late => {
                PyRuntimeError::new_err("write() was called after the response had ended")
            }
            SendError::NotStarted => PyAssertionError::new_err("write() before start_response()"),
        })
    }
}

/// The exception of an `exc_info` tuple, with its traceback.
fn reraised(info: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let info = info.cast::<PyTuple>().map_err(|_| {
        PyTypeError::new_err("exc_info must be a tuple as sys.exc_info() returns it")
    })?;
    let (_, value, traceback): (Bound<'_, PyAny>, Bound<'_, PyAny>, Bound<'_, PyAny>) =
        info.extract()?;
    Ok(PyErr::from_value(value.call_method1("with_traceback", (traceback,))?))
}

/// Reads and checks what start_response was given. Nothing is remembered unless all of it is right.
fn read_head(status: &Bound<'_, PyAny>, headers: &Bound<'_, PyAny>) -> PyResult<ResponseHead> {
    let mut head = ResponseHead::default();
    let status = native(status, "the status")?;
    with_latin1(status, |bytes| head.start(bytes))?.map_err(|why| refused(why, status))?;
    let headers = headers
        .cast_exact::<PyList>()
        .map_err(|_| PyTypeError::new_err("the headers must be a list of (name, value) tuples"))?;
    for item in headers.iter() {
        let pair = item.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2).ok_or_else(|| {
            PyTypeError::new_err(
                "each header must be a tuple of two strings, its name and its value",
            )
        })?;
        let (name, value) = (pair.get_item(0)?, pair.get_item(1)?);
        let (name, value) = (native(&name, "a header name")?, native(&value, "a header value")?);
        with_latin1(name, |name| with_latin1(value, |value| head.field(name, value)))??
            .map_err(|why| refused(why, &item))?;
    }
    Ok(head)
}

fn native<'a, 'py>(
    object: &'a Bound<'py, PyAny>,
    what: &str,
) -> PyResult<&'a Bound<'py, PyString>> {
    object.cast::<PyString>().map_err(|_| {
        let found =
            object.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        PyTypeError::new_err(format!("{what} must be a str, not {found}"))
    })
}

fn refused(why: ResponseError, what: &Bound<'_, PyAny>) -> PyErr {
    let shown = what.repr().map_or_else(|_| String::new(), |repr| format!(": {repr}"));
    PyValueError::new_err(format!("{why}{shown}"))
}
