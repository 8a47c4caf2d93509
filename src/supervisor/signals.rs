//! Waits for signals and descriptors at the same time.
//!
//! Signals go through Python's own machinery: its C-level handler writes the signal's number to the
//! wakeup descriptor, a socket, which ends the wait. So after a fork only Python's state has to be
//! reset. This is the master's half; a worker has [`worker_signals`](super::worker_signals).

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use log::error;
use pyo3::exceptions::{PyException, PyKeyboardInterrupt};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::forks;
use super::guard::Guarded;
use super::handlers;

/// The caught signals, and the socket that receives them.
pub(super) struct Signals {
    /// Python's `signal` module.
    module: Py<PyModule>,
    caught: &'static [i32],
    receiver: UnixStream,
    /// The wakeup descriptor, which Python's C-level handler writes to.
    sender: UnixStream,
    /// Signals that came during [`Signals::run_guarded`].
    kept: Vec<u8>,
}

impl Signals {
    /// Catches the signals. Python allows that on the main thread only.
    pub(super) fn catch(py: Python<'_>, caught: &'static [i32]) -> PyResult<Signals> {
        let (receiver, sender) = UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        let module = py.import("_signal")?;
        forks::register_hooks(py, caught)?;
        let signals =
            Signals { module: module.unbind(), caught, receiver, sender, kept: Vec::new() };
        signals.install_handlers(py)?;
        Ok(signals)
    }

    /// Waits until a signal comes, one of `others` has its event or is closed, or `limit` is over.
    /// Other Python threads run meanwhile; Python's signal handlers run afterwards.
    pub(super) fn wait(
        &self,
        py: Python<'_>,
        others: &[(BorrowedFd<'_>, PollFlags)],
        limit: Option<Duration>,
    ) -> PyResult<()> {
        let limit = if self.kept.is_empty() { limit } else { Some(Duration::ZERO) };
        let waited = wait_for_input(py, self.receiver.as_fd(), others, limit);
        while let Err(failure) = py.check_signals() {
            log_handler_error(py, failure)?;
        }
        Ok(waited?)
    }

    /// The signals that have come since the last call, in their order.
    pub(super) fn take(&mut self) -> Vec<i32> {
        let mut bytes = [0; 256];
        let count = self.receiver.read(&mut bytes).unwrap_or(0);
        self.kept.drain(..).chain(bytes[..count].iter().copied()).map(i32::from).collect()
    }

    /// Blocks the caught signals around a fork, after which both processes share the socket.
    pub(super) fn block(&self, py: Python<'_>) -> PyResult<()> {
        self.mask(py, "SIG_BLOCK")
    }

    /// Delivers the signals that were blocked.
    pub(super) fn unblock(&self, py: Python<'_>) -> PyResult<()> {
        self.mask(py, "SIG_UNBLOCK")
    }

    fn mask(&self, py: Python<'_>, how: &str) -> PyResult<()> {
        let module = self.module.bind(py);
        module.call_method1("pthread_sigmask", (module.getattr(how)?, self.caught.to_vec()))?;
        Ok(())
    }

    /// Gives all caught signals their default action, except those in `ignored`. These keep the
    /// empty handler: `SIG_IGN` would be inherited by commands that the application runs.
    pub(super) fn reset(&self, py: Python<'_>, ignored: &[i32]) -> PyResult<()> {
        let module = self.module.bind(py);
        module.call_method1("set_wakeup_fd", (-1,))?;
        forks::set_wakeup_fd(-1);
        for number in self.caught.iter().filter(|number| !ignored.contains(number)) {
            module.call_method1("signal", (number, module.getattr("SIG_DFL")?))?;
        }
        Ok(())
    }

    /// Runs foreign code, in which TERM, INT and QUIT raise `KeyboardInterrupt`; if that does not
    /// end it, `guarded` ends the process. Handlers that the code sets are replaced afterwards.
    pub(super) fn run_guarded<T>(
        &mut self,
        py: Python<'_>,
        guarded: &Guarded<'_>,
        run: impl FnOnce() -> T,
    ) -> PyResult<T> {
        let module = self.module.bind(py);
        for number in [libc::SIGTERM, libc::SIGQUIT] {
            module.call_method1("signal", (number, handlers::interrupting_handler(py)?))?;
        }
        module.call_method1("signal", (libc::SIGINT, module.getattr("default_int_handler")?))?;
        let ran = guarded.run(py, &self.receiver, run);
        // A signal that interrupts this loop came after the code had ended. It is kept, too.
        while let Err(failure) = self.install_handlers(py) {
            if !failure.is_instance_of::<PyKeyboardInterrupt>(py) {
                return Err(failure);
            }
        }
        let (result, kept) = ran?;
        self.kept.extend(kept);
        Ok(result)
    }

    fn install_handlers(&self, py: Python<'_>) -> PyResult<()> {
        let module = self.module.bind(py);
        let options = PyDict::new(py);
        options.set_item("warn_on_full_buffer", false)?;
        module.call_method("set_wakeup_fd", (self.sender.as_raw_fd(),), Some(&options))?;
        forks::set_wakeup_fd(self.sender.as_raw_fd());
        for number in self.caught {
            module.call_method1("signal", (number, handlers::empty_handler(py)?))?;
        }
        Ok(())
    }
}

impl Drop for Signals {
    /// Unsets the wakeup descriptor: signals may still come, and its number may be reused by
    /// another file.
    fn drop(&mut self) {
        Python::attach(|py| {
            let _ = self.module.bind(py).call_method1("set_wakeup_fd", (-1,));
        });
        forks::set_wakeup_fd(-1);
    }
}

/// Waits until `receiver` is readable, one of `others` has its event or is closed, a signal comes,
/// or `limit` is over. Other Python threads run meanwhile.
///
/// # Errors
/// As poll(2), except EINTR.
pub(super) fn wait_for_input(
    py: Python<'_>,
    receiver: BorrowedFd<'_>,
    others: &[(BorrowedFd<'_>, PollFlags)],
    limit: Option<Duration>,
) -> io::Result<()> {
    let mut watched = vec![PollFd::from_borrowed_fd(receiver, PollFlags::IN)];
    watched.extend(others.iter().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)));
    let limit = limit.map(|limit| Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    });
    match py.detach(|| rustix::event::poll(&mut watched, limit.as_ref())) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Logs an exception of a signal handler of the application, which would otherwise propagate into
/// the server. A `SystemExit` is returned: it is meant to end the process.
///
/// # Errors
/// An exception that is not derived from `Exception`.
pub(super) fn log_handler_error(py: Python<'_>, failure: PyErr) -> PyResult<()> {
    if !failure.is_instance_of::<PyException>(py) {
        return Err(failure);
    }
    let lines = failure.traceback(py).and_then(|traceback| traceback.format().ok());
    error!(
        target: "signal.handler_failed",
        traceback = lines.unwrap_or_default().as_str();
        "A signal handler of the application raised an exception, ignoring it: {failure}"
    );
    Ok(())
}
