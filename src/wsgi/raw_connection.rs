//! `environ["rustwsgi.socket"]`: gives a request that asks for `Upgrade` its connection. gunicorn
//! and Werkzeug offer the same under their own names.
//!
//! The application gets an object of the class `socket.socket` that is not open yet: see
//! `python/rustwsgi/_raw_connection.py`. Its first use calls [`RawConnection::take`]. From then on
//! the application owns the connection, and what it does with `start_response` has no effect.

use std::io;
use std::os::fd::{IntoRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyOSError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::exchange::Exchange;
use super::fork;
use super::response::{Response, TakeError, Upgrade};

/// The worker as a request sees it that takes its connection: the thread of the request no longer
/// counts, and another one takes its place.
pub trait Upgrader: Send + Sync {
    /// Prepares the upgrade of the current request: reserves a place and starts the other thread.
    /// Dropping the result cancels the upgrade.
    fn prepare(&self, py: Python<'_>) -> Result<Box<dyn PreparedUpgrade>, UpgradeRefusal>;

    /// The socket of the current request, as a weak reference: a shutdown ends it.
    fn set_socket(&self, py: Python<'_>, reference: Py<PyAny>);

    /// Shuts that socket down: the request has failed.
    fn shut_down(&self, py: Python<'_>);
}

/// An upgrade that may begin.
pub trait PreparedUpgrade {
    /// Takes the connection out of an exchange. Returns the application's socket, and the exchange
    /// of a request without a connection; or the same exchange and the error of the system. Neither
    /// blocks nor runs Python code.
    fn take(&mut self, exchange: Box<dyn Exchange>) -> TakenSocket;

    /// Lets the other thread begin.
    fn begin(self: Box<Self>, py: Python<'_>);
}

/// The result of [`PreparedUpgrade::take`].
pub type TakenSocket = Result<(OwnedFd, Box<dyn Exchange>), (Box<dyn Exchange>, io::Error)>;

/// Why a request may not take its connection. The worker has logged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeRefusal {
    /// `--max-upgrades` is reached.
    Limit,
    /// The system is out of threads or memory.
    System,
}

impl UpgradeRefusal {
    /// The text of the exception, and of the response.
    pub(super) fn reason(self) -> &'static str {
        match self {
            UpgradeRefusal::Limit => "the server has reached --max-upgrades",
            UpgradeRefusal::System => "the server is short of threads or descriptors",
        }
    }
}

/// The connection of one request, before the application has taken it.
#[pyclass(frozen, module = "rustwsgi._rustwsgi")]
pub struct RawConnection {
    response: Arc<Response>,
    upgrader: Arc<dyn Upgrader>,
    /// The request has ended: the connection is not its own any more.
    is_over: AtomicBool,
}

/// Adds the socket to the environ of a request that asks for `Upgrade`.
pub(super) fn offer(
    environ: &Bound<'_, PyDict>,
    response: &Arc<Response>,
    upgrader: &Arc<dyn Upgrader>,
) -> PyResult<Py<RawConnection>> {
    let py = environ.py();
    let connection = RawConnection {
        response: response.clone(),
        upgrader: upgrader.clone(),
        is_over: AtomicBool::new(false),
    };
    let connection = Py::new(py, connection)?;
    let module = py.import(intern!(py, "rustwsgi._raw_connection"))?;
    let socket = module.call_method1(intern!(py, "make_socket"), (&connection,))?;
    environ.set_item(intern!(py, "gunicorn.socket"), &socket)?;
    environ.set_item(intern!(py, "werkzeug.socket"), &socket)?;
    environ.set_item(intern!(py, "rustwsgi.socket"), &socket)?;
    // An upgraded request runs beside the others, also with `--threads 1`.
    environ.set_item(intern!(py, "wsgi.multithread"), true)?;
    Ok(connection)
}

impl RawConnection {
    /// The application has returned. If it has taken the connection and has `failed`, that ends,
    /// too: a thread of a library may still read from it.
    pub(super) fn end_use(&self, py: Python<'_>, failed: bool) {
        match self.response.upgrade(py) {
            Upgrade::Failed => self.upgrader.shut_down(py),
            Upgrade::Taken if failed => self.upgrader.shut_down(py),
            Upgrade::None | Upgrade::Taken | Upgrade::Refused => {}
        }
    }

    /// The request has ended: the application can take the connection no more.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// True once the request has ended.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

#[pymethods]
impl RawConnection {
    /// Takes the connection; returns the descriptor of the application's socket. Raises OSError if
    /// the request has ended, its response has begun, its content was not read to the end, or
    /// `--max-upgrades` is reached. Then the response is 503.
    fn take(&self, py: Python<'_>) -> PyResult<RawFd> {
        if fork::is_child() {
            return Err(error(libc::EBADF, "the connection is that of the parent process"));
        }
        // Before a thread is started for nothing.
        self.response.check_takable(py, self).map_err(to_exception)?;
        let taken = self.upgrader.prepare(py).and_then(|mut prepared| {
            let taken = self.response.take_connection(py, self, &mut *prepared);
            if taken.is_ok() {
                prepared.begin(py);
            }
            match taken {
                Err(TakeError::System) => Err(UpgradeRefusal::System),
                taken => Ok(taken),
            }
        });
        match taken {
            Ok(taken) => taken.map(OwnedFd::into_raw_fd).map_err(to_exception),
            Err(refusal) => {
                self.response.refuse_upgrade(py, self, refusal);
                Err(error(libc::ECONNABORTED, refusal.reason()))
            }
        }
    }

    /// Takes in a weak reference to the application's socket.
    fn set_socket(&self, reference: &Bound<'_, PyAny>) {
        self.upgrader.set_socket(reference.py(), reference.clone().unbind());
    }
}

fn error(code: i32, text: &str) -> PyErr {
    PyOSError::new_err((code, text.to_owned()))
}

fn to_exception(failure: TakeError) -> PyErr {
    let text = match failure {
        TakeError::Over => "the request has ended, and its connection with it",
        TakeError::Begun => {
            "the connection cannot be taken: the response has begun, the content of the request \
             was not read to its end, or the client has disconnected"
        }
        TakeError::System => UpgradeRefusal::System.reason(),
    };
    error(libc::ENOTCONN, text)
}
