//! Restores the default signal handling in processes that the application forks.
//!
//! A child inherits Python's handlers, which do nothing here, and the wakeup descriptor, which the
//! parent reads. So a signal to the child would not end the child, and the parent would handle it
//! instead.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use pyo3::prelude::*;
use pyo3::types::PyModule;

use super::handlers::{self, OnCall};
use crate::sys::fork::{self, ForkHooks};
use crate::sys::signals::Blocked;

/// The wakeup descriptor that was set by this server; -1 if there is none.
static WAKEUP: AtomicI32 = AtomicI32::new(-1);

thread_local! {
    /// Blocks signals while this thread forks.
    static BLOCKED: Cell<Option<Blocked>> = const { Cell::new(None) };
    /// This thread forks a worker, whose signals the master sets.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// Records the wakeup descriptor that this server has set; -1 for none.
pub(super) fn set_wakeup_fd(fd: i32) {
    WAKEUP.store(fd, Relaxed);
}

/// Runs `fork`, which forks a worker: the hooks do not change the signals of that child.
pub(super) fn fork_worker<T>(fork: impl FnOnce() -> T) -> T {
    IS_WORKER.set(true);
    let forked = fork();
    IS_WORKER.set(false);
    forked
}

static HOOKS: ForkHooks = ForkHooks {
    // A signal to the child before its handlers are reset would reach the parent instead.
    before: || BLOCKED.set(Blocked::these(caught())),
    in_parent: || drop(BLOCKED.take()),
    in_child: |py| {
        let reset = if IS_WORKER.get() { Ok(()) } else { reset(py, caught()) };
        drop(BLOCKED.take());
        reset
    },
};

/// All signals that this process or its workers catch.
static CAUGHT: OnceLock<&'static [i32]> = OnceLock::new();

fn caught() -> &'static [i32] {
    CAUGHT.get().copied().unwrap_or_default()
}

/// Registers the fork hooks. `signals` are all signals that this process or its workers catch.
pub(super) fn register_hooks(py: Python<'_>, signals: &'static [i32]) -> PyResult<()> {
    CAUGHT.get_or_init(|| signals);
    fork::register(py, &HOOKS)
}

/// In the child: replaces the server's handlers by the default ones, and keeps the application's.
fn reset(py: Python<'_>, caught: &[i32]) -> PyResult<()> {
    // A handler of the application may call the server's handler that it has replaced.
    OnCall::DefaultInChild.apply();
    let module = py.import("_signal")?;
    let wakeup = module.call_method1("set_wakeup_fd", (-1,))?.extract::<i32>()?;
    if wakeup != WAKEUP.load(Relaxed) {
        module.call_method1("set_wakeup_fd", (wakeup,))?;
    }
    for &number in caught {
        let handler = module.call_method1("getsignal", (number,))?;
        if handlers::is_ours(&handler)? {
            module.call_method1("signal", (number, default_handler(&module, number)?))?;
        }
    }
    Ok(())
}

fn default_handler<'py>(module: &Bound<'py, PyModule>, number: i32) -> PyResult<Bound<'py, PyAny>> {
    module.getattr(if number == libc::SIGINT { "default_int_handler" } else { "SIG_DFL" })
}
