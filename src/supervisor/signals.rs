//! Waiting for signals, and for other processes at the same time.
//!
//! Signals go through Python's own machinery: its C-level handler writes the signal's number to a socket
//! and the wait below ends. So the handlers an application sets for other signals keep working in a
//! worker, and a fork has nothing of ours to clean up but what Python knows of.

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
use crate::observe;

/// Signals that are caught, and the place where they are told.
pub(super) struct Signals {
    /// Python's `signal` module.
    module: Py<PyModule>,
    caught: &'static [i32],
    receiver: UnixStream,
    /// Python's C-level handler writes here.
    sender: UnixStream,
    /// What came while [`Signals::lend`] was at work.
    kept: Vec<u8>,
}

impl Signals {
    /// Catches the signals. Only the main thread may do that.
    pub(super) fn catch(py: Python<'_>, caught: &'static [i32]) -> PyResult<Signals> {
        let (receiver, sender) = UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        let module = py.import("signal")?;
        forks::mind(py, caught)?;
        let signals =
            Signals { module: module.unbind(), caught, receiver, sender, kept: Vec::new() };
        signals.listen(py)?;
        Ok(signals)
    }

    /// Waits until a signal comes, one of `others` can be read or has ended, or `limit` is over. Other
    /// Python threads run meanwhile, and Python's own handlers afterwards.
    pub(super) fn wait(
        &self,
        py: Python<'_>,
        others: &[BorrowedFd<'_>],
        limit: Option<Duration>,
    ) -> PyResult<()> {
        let mut watched = vec![PollFd::from_borrowed_fd(self.receiver.as_fd(), PollFlags::IN)];
        watched.extend(others.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        });
        let limit = if self.kept.is_empty() { limit } else { Some(Timespec::default()) };
        let waited = py.detach(|| rustix::event::poll(&mut watched, limit.as_ref()));
        while let Err(failure) = py.check_signals() {
            shrug(py, failure)?;
        }
        match waited {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// The signals that have come since the last time, in their order.
    pub(super) fn take(&mut self) -> Vec<i32> {
        let mut bytes = [0; 256];
        let count = self.receiver.read(&mut bytes).unwrap_or(0);
        self.kept.drain(..).chain(bytes[..count].iter().copied()).map(i32::from).collect()
    }

    /// Delays all caught signals, for the moment in which there are two processes and one socket.
    pub(super) fn hold(&self, py: Python<'_>) -> PyResult<()> {
        self.mask(py, "SIG_BLOCK")
    }

    /// Lets held signals come.
    pub(super) fn release(&self, py: Python<'_>) -> PyResult<()> {
        self.mask(py, "SIG_UNBLOCK")
    }

    fn mask(&self, py: Python<'_>, how: &str) -> PyResult<()> {
        let module = self.module.bind(py);
        module.call_method1("pthread_sigmask", (module.getattr(how)?, self.caught.to_vec()))?;
        Ok(())
    }

    /// Lets all caught signals do what they do by default, and those in `deaf` nothing. These keep a handler,
    /// as commands that are started by the application would inherit that a signal is ignored.
    pub(super) fn reset(&self, py: Python<'_>, deaf: &[i32]) -> PyResult<()> {
        let module = self.module.bind(py);
        module.call_method1("set_wakeup_fd", (-1,))?;
        forks::wakes(-1);
        for number in self.caught.iter().filter(|number| !deaf.contains(number)) {
            module.call_method1("signal", (number, module.getattr("SIG_DFL")?))?;
        }
        Ok(())
    }

    /// Runs code that is not ours, which TERM, INT and QUIT may end by `KeyboardInterrupt`; if that does not
    /// help, `guarded` says how the process ends. The code may also have set handlers of its own.
    pub(super) fn lend<T>(
        &mut self,
        py: Python<'_>,
        guarded: &Guarded<'_>,
        run: impl FnOnce() -> T,
    ) -> PyResult<T> {
        let module = self.module.bind(py);
        for number in [libc::SIGTERM, libc::SIGQUIT] {
            module.call_method1("signal", (number, forks::interrupt(py)?))?;
        }
        module.call_method1("signal", (libc::SIGINT, module.getattr("default_int_handler")?))?;
        let ran = guarded.run(py, &self.receiver, run);
        // A signal that came too late for the code is kept all the same.
        while let Err(failure) = self.listen(py) {
            if !failure.is_instance_of::<PyKeyboardInterrupt>(py) {
                return Err(failure);
            }
        }
        let (result, kept) = ran?;
        self.kept.extend(kept);
        Ok(result)
    }

    fn listen(&self, py: Python<'_>) -> PyResult<()> {
        let module = self.module.bind(py);
        let options = PyDict::new(py);
        options.set_item("warn_on_full_buffer", false)?;
        module.call_method("set_wakeup_fd", (self.sender.as_raw_fd(),), Some(&options))?;
        forks::wakes(self.sender.as_raw_fd());
        for number in self.caught {
            module.call_method1("signal", (number, forks::nothing(py)?))?;
        }
        Ok(())
    }
}

impl Drop for Signals {
    /// The number of the descriptor may soon be that of another file, and signals go on coming.
    fn drop(&mut self) {
        Python::attach(|py| {
            let _ = self.module.bind(py).call_method1("set_wakeup_fd", (-1,));
        });
        forks::wakes(-1);
    }
}

/// What the application's handler of a signal raises is for the code that it interrupts, and that is none of
/// the application's: it is logged. A `SystemExit` is meant for the process.
///
/// # Errors
/// What does not stem from `Exception`.
pub(super) fn shrug(py: Python<'_>, failure: PyErr) -> PyResult<()> {
    if !failure.is_instance_of::<PyException>(py) {
        return Err(failure);
    }
    error!("a signal handler of the application failed: {failure}");
    let lines = failure.traceback(py).and_then(|traceback| traceback.format().ok());
    observe::write_raw(lines.unwrap_or_default().as_bytes());
    Ok(())
}

/// `SIGTERM` for 15.
pub(super) fn name(py: Python<'_>, number: i32) -> String {
    let named = || -> PyResult<String> {
        py.import("signal")?.getattr("Signals")?.call1((number,))?.getattr("name")?.extract()
    };
    named().unwrap_or_else(|_| format!("signal {number}"))
}
