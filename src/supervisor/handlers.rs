//! The Python handlers of the signals that the server catches.
//!
//! Signals reach the server over the wakeup descriptor, whichever Python handler is set. So most of
//! these do nothing. But an application may keep the handler that it finds while it is imported,
//! and call it from its own: then that call must stop the worker.

use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::sys::{descriptors, signals};

/// What a call of the stopping handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnCall {
    /// Nothing: the wakeup descriptor has the signal, or the worker has ended.
    Ignore,
    /// What the signal does without a handler: the worker boots.
    Default,
    /// The same, with Python's own handler of SIGINT: this is a process of the application.
    DefaultInChild,
    /// Writes the signal's number to this descriptor, which stays open meanwhile.
    Write(i32),
}

const IGNORE: i32 = -1;
const DEFAULT: i32 = -2;
const DEFAULT_IN_CHILD: i32 = -3;

/// An [`OnCall`] as one number, which a handler on any thread can read.
static ON_CALL: AtomicI32 = AtomicI32::new(IGNORE);

impl OnCall {
    /// Applies to all calls from now on.
    pub(super) fn apply(self) {
        let value = match self {
            OnCall::Ignore => IGNORE,
            OnCall::Default => DEFAULT,
            OnCall::DefaultInChild => DEFAULT_IN_CHILD,
            OnCall::Write(fd) => fd,
        };
        ON_CALL.store(value, Relaxed);
    }

    fn current() -> OnCall {
        match ON_CALL.load(Relaxed) {
            DEFAULT => OnCall::Default,
            DEFAULT_IN_CHILD => OnCall::DefaultInChild,
            fd if fd >= 0 => OnCall::Write(fd),
            _ => OnCall::Ignore,
        }
    }
}

/// The handler of signals that only the wakeup descriptor reports.
pub(super) fn empty_handler(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static HANDLER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || -> PyResult<Py<PyAny>> {
        let handler = PyCFunction::new_closure(py, Some(c"rustwsgi_signal"), None, |_, _| {})?;
        Ok(handler.into_any().unbind())
    };
    Ok(HANDLER.get_or_try_init(py, make)?.bind(py))
}

/// The handler of a signal that ends foreign code. It raises KeyboardInterrupt, as
/// `default_int_handler` does, but is a distinct object: the foreign code may have set that handler
/// itself.
pub(super) fn interrupting_handler(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static HANDLER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || -> PyResult<Py<PyAny>> {
        let raise = |_: &Bound<'_, _>, _: Option<&Bound<'_, _>>| -> PyResult<()> {
            Err(PyKeyboardInterrupt::new_err(()))
        };
        let handler = PyCFunction::new_closure(py, Some(c"rustwsgi_interrupt"), None, raise)?;
        Ok(handler.into_any().unbind())
    };
    Ok(HANDLER.get_or_try_init(py, make)?.bind(py))
}

/// The handler of the signals that a worker catches.
pub(super) fn stopping_handler(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static HANDLER: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || -> PyResult<Py<PyAny>> {
        let handler = PyCFunction::new_closure(py, Some(c"rustwsgi_stop"), None, on_call)?;
        Ok(handler.into_any().unbind())
    };
    Ok(HANDLER.get_or_try_init(py, make)?.bind(py))
}

/// Python calls it for a signal, with the number and the frame; a handler of the application may
/// call it without one.
fn on_call(arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
    let number = arguments.get_item(0).and_then(|number| number.extract::<i32>());
    let number = number.unwrap_or(libc::SIGTERM);
    if !matches!(number, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT) {
        return Ok(());
    }
    match OnCall::current() {
        OnCall::Ignore => Ok(()),
        OnCall::DefaultInChild if number == libc::SIGINT => Err(PyKeyboardInterrupt::new_err(())),
        OnCall::Default | OnCall::DefaultInChild => {
            signals::raise_with_default_action(number);
            Ok(())
        }
        // A second copy of a signal that the wakeup descriptor has reported changes nothing.
        OnCall::Write(fd) => {
            write_signal(fd, number);
            Ok(())
        }
    }
}

/// Writes a signal's number as Python's C-level handler does.
pub(super) fn write_signal(fd: i32, number: i32) {
    // A full descriptor holds unread signals, which already wake the control thread.
    let _ = u8::try_from(number).map(|byte| descriptors::write_byte(fd, byte));
}

/// Whether this is one of the server's handlers.
pub(super) fn is_ours(handler: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = handler.py();
    Ok(handler.is(empty_handler(py)?)
        || handler.is(interrupting_handler(py)?)
        || handler.is(stopping_handler(py)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_does_survives_its_encoding() {
        for on_call in [
            OnCall::Default,
            OnCall::DefaultInChild,
            OnCall::Write(0),
            OnCall::Write(7),
            OnCall::Ignore,
        ] {
            on_call.apply();
            assert_eq!(OnCall::current(), on_call);
        }
    }
}
