//! Processes that the application forks: they hear signals as if there were no server around them.
//!
//! A fork inherits Python's handlers, which do nothing here, and the socket to which its parent listens. So
//! a signal to the child would not end the child, but be taken for one to the parent.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyModule};

use crate::sys::fork::{self, ForkHooks};
use crate::sys::signals::Blocked;

/// The descriptor that Python's C-level handler writes to, if it is ours.
static WAKEUP: AtomicI32 = AtomicI32::new(-1);

thread_local! {
    /// Blocks signals while this thread forks.
    static BLOCKED: Cell<Option<Blocked>> = const { Cell::new(None) };
    /// What it forks is a worker: the master sees to the signals of that.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// What Python calls for a caught signal: nothing, as the number that is written is all that counts.
pub(super) fn nothing(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static NOTHING: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || -> PyResult<Py<PyAny>> {
        let nothing = PyCFunction::new_closure(py, Some(c"rustwsgi_signal"), None, |_, _| {})?;
        Ok(nothing.into_any().unbind())
    };
    Ok(NOTHING.get_or_try_init(py, make)?.bind(py))
}

/// What Python calls for a TERM that ends code which is not ours: the same as for INT by default, and yet to
/// be told from what that code has set.
pub(super) fn interrupt(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static INTERRUPT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || -> PyResult<Py<PyAny>> {
        let raise = |_: &Bound<'_, _>, _: Option<&Bound<'_, _>>| -> PyResult<()> {
            Err(pyo3::exceptions::PyKeyboardInterrupt::new_err(()))
        };
        let interrupt = PyCFunction::new_closure(py, Some(c"rustwsgi_interrupt"), None, raise)?;
        Ok(interrupt.into_any().unbind())
    };
    Ok(INTERRUPT.get_or_try_init(py, make)?.bind(py))
}

/// From now on signals are written to this descriptor; to none of ours, if it is -1.
pub(super) fn wakes(fd: i32) {
    WAKEUP.store(fd, Relaxed);
}

/// Forks a worker by `fork`, which is left alone.
pub(super) fn of_worker<T>(fork: impl FnOnce() -> T) -> T {
    IS_WORKER.set(true);
    let forked = fork();
    IS_WORKER.set(false);
    forked
}

static HOOKS: ForkHooks = ForkHooks {
    // A signal that comes before the child is ready for it would be the parent's.
    before: || BLOCKED.set(Blocked::these(caught())),
    in_parent: || drop(BLOCKED.take()),
    in_child: |py| {
        let reset = if IS_WORKER.get() { Ok(()) } else { reset(py, caught()) };
        drop(BLOCKED.take());
        reset
    },
};

/// The signals that this process or its workers will ever catch.
static CAUGHT: OnceLock<&'static [i32]> = OnceLock::new();

fn caught() -> &'static [i32] {
    CAUGHT.get().copied().unwrap_or_default()
}

/// Joins Python's fork hooks. `signals` are those that this process or its workers will ever catch.
pub(super) fn mind(py: Python<'_>, signals: &'static [i32]) -> PyResult<()> {
    CAUGHT.get_or_init(|| signals);
    fork::register(py, &HOOKS)
}

/// In the child: what is ours becomes Python's own; what the application has set stays.
fn reset(py: Python<'_>, caught: &[i32]) -> PyResult<()> {
    let module = py.import("signal")?;
    let wakeup = module.call_method1("set_wakeup_fd", (-1,))?.extract::<i32>()?;
    if wakeup != WAKEUP.load(Relaxed) {
        module.call_method1("set_wakeup_fd", (wakeup,))?;
    }
    for &number in caught {
        let handler = module.call_method1("getsignal", (number,))?;
        if handler.is(nothing(py)?) || handler.is(interrupt(py)?) {
            module.call_method1("signal", (number, by_default(&module, number)?))?;
        }
    }
    Ok(())
}

fn by_default<'py>(module: &Bound<'py, PyModule>, number: i32) -> PyResult<Bound<'py, PyAny>> {
    module.getattr(if number == libc::SIGINT { "default_int_handler" } else { "SIG_DFL" })
}
