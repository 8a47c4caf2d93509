//! Ends a process that the application forks inside a request and that returns to the server.
//!
//! `os.fork()` in an application copies the server: the child shares the connections and the poller
//! of its parent. While it does the work it was forked for, or replaces itself by `exec`, the
//! server does not interfere. If it returns from the application, normally or by an exception, it
//! exits here: otherwise it would be a second server on the same connections.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;

use crate::observe;
use crate::sys::fork::{self, ForkHooks};
use crate::sys::process::exit_immediately;

/// The pid of this process, updated by a fork hook of Python: `getpid` is a system call, and too
/// slow to be made several times for each request.
static CURRENT_PID: AtomicU32 = AtomicU32::new(0);
/// The pid of the process that serves requests.
static SERVER_PID: AtomicU32 = AtomicU32::new(0);

static HOOKS: ForkHooks = ForkHooks {
    before: fork::nothing,
    in_parent: fork::nothing,
    in_child: |_| {
        CURRENT_PID.store(std::process::id(), Ordering::Relaxed);
        Ok(())
    },
};

/// Marks this process as the one that serves, and registers the fork hook.
pub(super) fn watch(py: Python<'_>) -> PyResult<()> {
    let process = std::process::id();
    SERVER_PID.store(process, Ordering::Relaxed);
    CURRENT_PID.store(process, Ordering::Relaxed);
    fork::register(py, &HOOKS)?;
    Ok(())
}

/// True if this process was forked from the one that serves. Connections are its parent's: it must
/// not use them, nor wait for their locks, which a thread of its parent may have held.
pub(super) fn is_child() -> bool {
    CURRENT_PID.load(Ordering::Relaxed) != SERVER_PID.load(Ordering::Relaxed)
}

/// Exits if this process was forked from the one that serves. Call it wherever the application
/// returns to the server. `raised` is the exception that it returned with, if any.
pub(super) fn exit_if_forked(py: Python<'_>, raised: Option<&PyErr>) {
    if is_child() {
        exit_child(py, raised);
    }
}

/// Exits as a child of `multiprocessing` does: the standard streams are flushed, and the parent's
/// exit handlers do not run. The exit code is that of a SystemExit, else 1 after an exception.
#[cold]
fn exit_child(py: Python<'_>, raised: Option<&PyErr>) {
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
    observe::finish();
    exit_immediately(code)
}
