//! `rustwsgi.serve()` in a program: serves until a signal comes, or, in a thread that receives
//! none, until the program ends.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use log::info;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use crate::config::Settings;
use crate::sync::ignore_poison;
use crate::worker::{GracefulEnd, Server, StartError};

/// How long the end of the program waits for `serve()` beyond the grace period.
const EXIT_MARGIN: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT. During the graceful shutdown that follows, SIGINT stops at once.
/// Returns whether all requests have finished.
pub fn run_until_signal(
    py: Python<'_>,
    app: Py<PyAny>,
    settings: &Arc<Settings>,
) -> Result<bool, StartError> {
    let mut signals = Signals::install(py)?;
    // After the server's own hook, as the last one is called first, and before the first request:
    // its response may be what the program waits for to end.
    let stop_at_exit = || Ok(signals.stop_at_exit(py, settings.timeouts.graceful)?);
    let started = Server::start(py, app.into(), settings.clone(), stop_at_exit);
    let result = started.and_then(|mut server| {
        let stopped = wait_and_stop(py, &mut signals, &mut server, settings.timeouts.graceful);
        match stopped {
            Ok(false) => server.skip_exit_wait(),
            Ok(true) => {}
            Err(_) => server.stop(),
        }
        Ok(stopped?)
    });
    signals.restore(py)?;
    result
}

fn wait_and_stop(
    py: Python<'_>,
    signals: &mut Signals,
    server: &mut Server,
    graceful: Duration,
) -> PyResult<bool> {
    // If polling fails, the server stops by itself.
    while signals.wait(py, Duration::from_secs(1))? == 0 {
        server.end_overdue_requests(py)?;
        if server.join(py, Some(Duration::ZERO)).is_ok_and(|ended| ended) {
            return Err(PyRuntimeError::new_err(
                "the server has stopped after an error: see the error log",
            ));
        }
    }
    info!(
        target: "server.stopping",
        "Shutting down: waiting up to {} s for running requests; SIGINT stops at once",
        graceful.as_secs_f64()
    );
    server.stop();
    let end = std::time::Instant::now().checked_add(graceful);
    loop {
        if server.join(py, Some(Duration::from_millis(50)))? {
            info!(target: "server.stopped", "Shut down");
            return Ok(true);
        }
        // A second SIGTERM does not: a process manager may send several.
        if signals.wait(py, Duration::ZERO)? == libc::SIGINT {
            info!(target: "server.stopped", "Shut down at once: SIGINT");
            return Ok(false);
        }
        if end.is_some_and(|end| std::time::Instant::now() >= end) {
            return Ok(server.end_graceful_period(py)? != GracefulEnd::Aborted);
        }
    }
}

/// What ends the server.
enum Signals {
    /// SIGINT and SIGTERM, which Python's `signal` module handles on the main thread. The
    /// application's handlers for other signals keep working, and the previous handlers are
    /// restored.
    OfProcess {
        /// Waits for a signal: `wait(seconds) -> int`.
        wait: Py<PyAny>,
        /// Restores the previous handlers.
        restore: Option<Py<PyAny>>,
    },
    /// The end of the program: another thread receives no signals.
    ProgramEnd(ProgramEnd),
}

impl Signals {
    fn install(py: Python<'_>) -> PyResult<Signals> {
        let installed = py.import("rustwsgi._signals")?.call_method0("install")?;
        Ok(match installed.extract::<Option<(Py<PyAny>, Py<PyAny>)>>()? {
            Some((wait, restore)) => Signals::OfProcess { wait, restore: Some(restore) },
            None => Signals::ProgramEnd(ProgramEnd::default()),
        })
    }

    fn stop_at_exit(&mut self, py: Python<'_>, graceful: Duration) -> PyResult<()> {
        match self {
            Signals::OfProcess { .. } => Ok(()),
            Signals::ProgramEnd(end) => end.register(py, graceful.saturating_add(EXIT_MARGIN)),
        }
    }

    /// Waits for SIGINT or SIGTERM and returns its number, or 0 if none came within `limit`.
    fn wait(&mut self, py: Python<'_>, limit: Duration) -> PyResult<i32> {
        match self {
            Signals::OfProcess { wait, .. } => {
                wait.bind(py).call1((limit.as_secs_f64(),))?.extract()
            }
            Signals::ProgramEnd(end) => {
                let has_begun = py.detach(|| end.link.wait(|stage| stage.has_begun, limit));
                Ok(if has_begun { libc::SIGTERM } else { 0 })
            }
        }
    }

    fn restore(&mut self, py: Python<'_>) -> PyResult<()> {
        match self {
            Signals::OfProcess { restore, .. } => {
                restore.take().map_or(Ok(()), |restore| restore.bind(py).call0().map(drop))
            }
            Signals::ProgramEnd(end) => end.unregister(py),
        }
    }
}

/// Stops `serve()` at the end of the program, and lets that wait until the thread has left the
/// server: CPython before 3.14 ends a thread that comes back to the finalized interpreter by
/// unwinding its stack, which aborts the process at a frame of Rust.
#[derive(Default)]
struct ProgramEnd {
    link: Arc<Link>,
    /// The `atexit` hook.
    hook: Option<Py<PyAny>>,
}

#[derive(Default)]
struct Link {
    stage: Mutex<Stage>,
    changed: Condvar,
}

#[derive(Default)]
struct Stage {
    /// The program ends.
    has_begun: bool,
    /// The thread leaves `serve()`: it stays attached until it runs Python code again.
    is_left: bool,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, Stage> {
        ignore_poison(self.stage.lock())
    }

    /// Returns whether the condition holds, after `limit` at most.
    fn wait(&self, holds: impl Fn(&Stage) -> bool, limit: Duration) -> bool {
        let end = Instant::now().checked_add(limit);
        let mut stage = self.lock();
        while !holds(&stage) {
            let left =
                end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            // A wait that is too long for the system would panic.
            let left = left.min(Duration::from_secs(3600));
            stage = ignore_poison(self.changed.wait_timeout(stage, left)).0;
        }
        true
    }
}

impl ProgramEnd {
    fn register(&mut self, py: Python<'_>, limit: Duration) -> PyResult<()> {
        let (link, pid) = (self.link.clone(), std::process::id());
        let end = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            // A forked process does not have the thread.
            if std::process::id() == pid {
                link.lock().has_begun = true;
                link.changed.notify_all();
                args.py().detach(|| link.wait(|stage| stage.is_left, limit));
            }
        };
        let hook = PyCFunction::new_closure(py, Some(c"rustwsgi_stop_at_exit"), None, end)?;
        py.import("atexit")?.call_method1("register", (&hook,))?;
        self.hook = Some(hook.into_any().unbind());
        Ok(())
    }

    /// Does nothing while the hook runs: `atexit` calls each only once.
    fn unregister(&mut self, py: Python<'_>) -> PyResult<()> {
        let Some(hook) = self.hook.take() else { return Ok(()) };
        if !self.link.lock().has_begun {
            py.import("atexit")?.call_method1("unregister", (hook,))?;
        }
        Ok(())
    }
}

impl Drop for ProgramEnd {
    fn drop(&mut self) {
        self.link.lock().is_left = true;
        self.link.changed.notify_all();
    }
}
