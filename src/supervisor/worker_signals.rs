//! The signals of a worker, which it shares with the application.
//!
//! The application may set handlers of its own, also for the signals that stop the server. They run
//! on the main thread. The server does not depend on them: Python's C-level handler writes each
//! signal's number to the wakeup descriptor, which the control thread reads, and the master also
//! sends a message.
//!
//! The server's handlers are set before the application is imported, so that its handlers can call
//! them. Until the worker serves, a signal without a handler of the application ends the process at
//! once, even if the import hangs in C code.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use pyo3::exceptions::PySystemExit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};
use rustix::event::PollFlags;

use super::forks;
use super::handlers::{self, OnCall, stopping_handler};
use super::signals::{log_handler_error, wait_for_input};
use crate::sys::signals::set_default_action;
use crate::worker::MainThreadSignals;

/// TERM finishes running requests, INT and QUIT do not, USR1 logs the counters.
const CAUGHT: &[i32] = &[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1];
/// Those that end a booting worker.
const ENDING: &[i32] = &[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];
/// Those that do not interrupt system calls of the application, as in gunicorn.
const RESTARTING: &[i32] = &[libc::SIGTERM, libc::SIGUSR1];

/// The main thread's half.
pub(super) struct WorkerSignals {
    /// Python's `signal` module.
    module: Py<PyModule>,
    /// The wakeup descriptor. A pipe holds more bytes than a socket: Python reports a full one.
    sender: OwnedFd,
    /// Reads the handler of a signal without a system call.
    handler_of: Py<PyAny>,
    /// The handler of SIGTERM when the handlers were checked last.
    known_handler: RefCell<Option<Py<PyAny>>>,
    /// The exception of a handler that ends the worker.
    exception: RefCell<Option<PyErr>>,
}

/// The control thread's half: receives the signals.
pub(super) struct SignalReceiver(OwnedFd);

impl SignalReceiver {
    /// Waits until a signal comes, one of `others` is readable or closed, or `limit` is over. Other
    /// Python threads run meanwhile.
    pub(super) fn wait(
        &self,
        py: Python<'_>,
        others: &[BorrowedFd<'_>],
        limit: Option<Duration>,
    ) -> io::Result<()> {
        let others: Vec<_> = others.iter().map(|fd| (*fd, PollFlags::IN)).collect();
        wait_for_input(py, self.0.as_fd(), &others, limit)
    }

    /// The signals that have come since the last call, in their order.
    pub(super) fn take(&self) -> Vec<i32> {
        let mut bytes = [0; 256];
        let count = rustix::io::read(&self.0, &mut bytes).unwrap_or(0);
        bytes[..count].iter().copied().map(i32::from).collect()
    }
}

impl WorkerSignals {
    /// Sets the handlers for the boot. Python allows that on the main thread only.
    pub(super) fn install(py: Python<'_>) -> PyResult<(WorkerSignals, SignalReceiver)> {
        let (receiver, sender) = io::pipe()?;
        let (receiver, sender) = (OwnedFd::from(receiver), OwnedFd::from(sender));
        for end in [&receiver, &sender] {
            rustix::io::ioctl_fionbio(end, true).map_err(io::Error::from)?;
        }
        let module = py.import("_signal")?.unbind();
        forks::register_hooks(py, CAUGHT)?;
        let handler_of = py.import("_signal")?.getattr("getsignal")?.unbind();
        let (known_handler, exception) = (RefCell::default(), RefCell::default());
        let signals = WorkerSignals { module, sender, handler_of, known_handler, exception };
        signals.set_wakeup_fd(py)?;
        OnCall::Default.apply();
        for number in CAUGHT {
            signals.module.bind(py).call_method1("signal", (number, stopping_handler(py)?))?;
        }
        ENDING.iter().copied().for_each(set_default_action);
        Ok((signals, SignalReceiver(receiver)))
    }

    /// From now on the signals stop the server. Keeps the handlers that the application has set.
    pub(super) fn begin_serving(&self, py: Python<'_>) -> PyResult<()> {
        OnCall::Write(self.sender.as_raw_fd()).apply();
        self.set_wakeup_fd(py)?;
        self.set_handlers(py)
    }

    /// Lets the control thread handle this signal.
    pub(super) fn request(&self, number: i32) {
        handlers::write_signal(self.sender.as_raw_fd(), number);
    }

    /// Calls the application's handler of SIGTERM for a worker that stops without that signal,
    /// because it retires: threads of the application may wait for that call.
    pub(super) fn raise_unsent_term(&self, py: Python<'_>) {
        let raise = || -> PyResult<()> {
            let module = self.module.bind(py);
            let handler = module.call_method1("getsignal", (libc::SIGTERM,))?;
            if handler.is_callable() && !handlers::is_ours(&handler)? {
                module.call_method1("raise_signal", (libc::SIGTERM,))?;
            }
            py.check_signals()
        };
        if let Err(exception) = raise() {
            self.on_exception(py, exception);
        }
    }

    /// The exit code of the worker, which is `code` unless a handler has raised SystemExit.
    ///
    /// # Errors
    /// What a handler has raised, if it is neither SystemExit nor an Exception.
    pub(super) fn exit_code(&self, py: Python<'_>, code: i32) -> PyResult<i32> {
        match self.exception.take() {
            None => Ok(code),
            Some(exit) if exit.is_instance_of::<PySystemExit>(py) => code_of_exit(py, &exit),
            Some(exception) => Err(exception),
        }
    }

    /// Returns the descriptor that was set before.
    fn set_wakeup_fd(&self, py: Python<'_>) -> PyResult<i32> {
        let fd = self.sender.as_raw_fd();
        let options = PyDict::new(py);
        options.set_item(intern!(py, "warn_on_full_buffer"), false)?;
        let module = self.module.bind(py);
        let previous =
            module.call_method(intern!(py, "set_wakeup_fd"), (fd,), Some(&options))?.extract()?;
        forks::set_wakeup_fd(fd);
        Ok(previous)
    }

    fn handler_of_term(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.handler_of.call1(py, (libc::SIGTERM,))
    }

    /// Sets the server's handlers where the application has none of its own. Python's default
    /// actions count as none: asyncio leaves them behind.
    fn set_handlers(&self, py: Python<'_>) -> PyResult<()> {
        let module = self.module.bind(py);
        let (default, interrupting) =
            (module.getattr("SIG_DFL")?, module.getattr("default_int_handler")?);
        for number in CAUGHT {
            let handler = module.call_method1("getsignal", (number,))?;
            let is_free = handlers::is_ours(&handler)?
                || handler.is_none()
                || handler.eq(&default)?
                || handler.is(&interrupting);
            if is_free {
                module.call_method1("signal", (number, stopping_handler(py)?))?;
                if RESTARTING.contains(number) {
                    module.call_method1("siginterrupt", (number, false))?;
                }
            }
        }
        self.known_handler.replace(Some(self.handler_of_term(py)?));
        Ok(())
    }
}

/// The exit code that a SystemExit names.
pub(super) fn code_of_exit(py: Python<'_>, exit: &PyErr) -> PyResult<i32> {
    let code = exit.value(py).getattr("code")?;
    // Any other value than a number is an error message for Python.
    Ok(if code.is_none() { 0 } else { code.extract().unwrap_or(1) })
}

impl MainThreadSignals for WorkerSignals {
    fn were_replaced(&self, py: Python<'_>) -> bool {
        let Ok(handler) = self.handler_of_term(py) else { return false };
        let known = self.known_handler.borrow();
        known.as_ref().is_some_and(|known| !known.is(&handler))
    }

    fn restore(&self, py: Python<'_>) {
        let replaced = self.were_replaced(py);
        let restored = self.set_wakeup_fd(py).and_then(|previous| {
            let changed = replaced || previous != self.sender.as_raw_fd();
            if changed { self.set_handlers(py) } else { Ok(()) }
        });
        // Setting a handler runs those of signals that have come.
        if let Err(exception) = restored {
            self.on_exception(py, exception);
        }
    }

    fn run_handlers(&self, py: Python<'_>) {
        while let Err(exception) = py.check_signals() {
            self.on_exception(py, exception);
        }
    }

    /// Logs an Exception; another one, such as SystemExit, ends the worker.
    fn on_exception(&self, py: Python<'_>, exception: PyErr) {
        if let Err(exception) = log_handler_error(py, exception) {
            self.exception.borrow_mut().get_or_insert(exception);
            self.request(libc::SIGTERM);
        }
    }
}

impl Drop for WorkerSignals {
    /// Unsets the wakeup descriptor: signals may still come, and its number may be reused by
    /// another file.
    fn drop(&mut self) {
        OnCall::Ignore.apply();
        Python::attach(|py| {
            let _ = self.module.bind(py).call_method1("set_wakeup_fd", (-1,));
        });
        forks::set_wakeup_fd(-1);
    }
}
