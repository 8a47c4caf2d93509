//! Keeps a process that the application forks from inside a request from going on as a second server.
//!
//! `os.fork()` in an application copies the server: the child shares connections and the poller with its
//! parent. As long as it runs what it was forked for, or replaces itself, that is the application's
//! business. When it comes back to the server instead, by returning or raising, it ends here: a second
//! server would take the first one's clients.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict};

/// The process this is, kept up to date by Python's fork hook: to ask the system each time costs more
/// than some of a request's other steps.
static CURRENT_PID: AtomicU32 = AtomicU32::new(0);
/// The process that serves.
static SERVER_PID: AtomicU32 = AtomicU32::new(0);

/// Takes this process for the one that serves.
pub(super) fn watch(py: Python<'_>) -> PyResult<()> {
    let process = std::process::id();
    SERVER_PID.store(process, Ordering::Relaxed);
    if CURRENT_PID.swap(process, Ordering::Relaxed) == 0 {
        let note = PyCFunction::new_closure(py, Some(c"rustwsgi_forked"), None, |_, _| {
            CURRENT_PID.store(std::process::id(), Ordering::Relaxed);
        })?;
        let hooks = PyDict::new(py);
        hooks.set_item("after_in_child", note)?;
        py.import("os")?.call_method("register_at_fork", (), Some(&hooks))?;
    }
    Ok(())
}

/// Does not return in a process that was forked since. `raised` is what it came back with.
pub(super) fn exit_if_forked(py: Python<'_>, raised: Option<&PyErr>) {
    if CURRENT_PID.load(Ordering::Relaxed) != SERVER_PID.load(Ordering::Relaxed) {
        exit_child(py, raised);
    }
}

/// Ends a forked process as `multiprocessing` ends its own: streams are flushed, nothing else of the
/// parent's is touched.
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
    // SAFETY: _exit may be called at any time; it ends the process without running the parent's exit
    // handlers, which are not this process's to run.
    unsafe { libc::_exit(code) }
}
