//! Keeps a process that the application forks from inside a request from going on as a second server.
//!
//! `os.fork()` in an application copies the server: the child shares connections and the poller with its
//! parent. As long as it runs what it was forked for, or replaces itself, that is the application's
//! business. When it comes back to the server instead, by returning or raising, it ends here: a second
//! server would take the first one's clients.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;

use crate::sys::fork::{self, ForkHooks};
use crate::sys::process::exit_immediately;

/// The process this is, kept up to date by Python's fork hook: to ask the system each time costs more
/// than some of a request's other steps.
static PROCESS: AtomicU32 = AtomicU32::new(0);
/// The process that serves.
static SERVER: AtomicU32 = AtomicU32::new(0);

static HOOKS: ForkHooks = ForkHooks {
    before: fork::nothing,
    in_parent: fork::nothing,
    in_child: |_| {
        PROCESS.store(std::process::id(), Ordering::Relaxed);
        Ok(())
    },
};

/// Takes this process for the one that serves.
pub(super) fn settle(py: Python<'_>) -> PyResult<()> {
    let process = std::process::id();
    SERVER.store(process, Ordering::Relaxed);
    PROCESS.store(process, Ordering::Relaxed);
    fork::register(py, &HOOKS)?;
    Ok(())
}

/// Does not return in a process that was forked since. `raised` is what it came back with.
pub(super) fn check(py: Python<'_>, raised: Option<&PyErr>) {
    if PROCESS.load(Ordering::Relaxed) != SERVER.load(Ordering::Relaxed) {
        leave(py, raised);
    }
}

/// Ends a forked process as `multiprocessing` ends its own: streams are flushed, nothing else of the
/// parent's is touched.
fn leave(py: Python<'_>, raised: Option<&PyErr>) {
    let code = match raised {
        None => 0,
        Some(error) if error.is_instance_of::<PySystemExit>(py) => {
            let code = error.value(py).getattr("code").ok();
            match code {
                Some(code) if code.is_none() => 0,
                Some(code) => code.extract::<i32>().unwrap_or(1),
                None => 1,
            }
        }
        Some(error) => {
            error.print(py);
            1
        }
    };
    for stream in ["stdout", "stderr"] {
        let _ = py.import("sys").and_then(|sys| sys.getattr(stream)?.call_method0("flush"));
    }
    // The exit handlers are the parent's.
    exit_immediately(code)
}
