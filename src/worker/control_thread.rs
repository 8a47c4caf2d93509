//! The thread that controls the server of a worker while the main thread runs the application or
//! waits.
//!
//! It is started before the worker reports that it is ready, and gets its work afterwards: from
//! that report on, a signal may come at any time, whose handler raises an exception on the main
//! thread. Handing over the work runs no Python code, in which such an exception could surface.

use std::sync::mpsc::{Sender, channel};

use pyo3::prelude::*;

use super::python_thread;
use crate::sync::{Mutex, ignore_poison};
use crate::sys::signals::without_signals;

type Work = Box<dyn FnOnce(Python<'_>) + Send>;

/// The thread. When it is dropped without work, it ends.
pub struct ControlThread {
    thread: Py<PyAny>,
    /// Takes the work once.
    work: Option<Sender<Work>>,
}

impl ControlThread {
    /// Starts it. It waits for its work, detached from the interpreter.
    ///
    /// # Errors
    /// If the system refuses, or a signal handler has raised an exception.
    pub fn start(py: Python<'_>) -> PyResult<ControlThread> {
        let (sender, work) = channel::<Work>();
        let work = Mutex::new(work);
        let run = move |py: Python<'_>| {
            if let Ok(work) = py.detach(|| ignore_poison(work.lock()).recv()) {
                work(py);
            }
            Ok(())
        };
        // The kernel must deliver signals to the main thread: they interrupt its system calls.
        let thread = without_signals(|| python_thread::start(py, "rustwsgi-control", run))?;
        Ok(ControlThread { thread, work: Some(sender) })
    }

    /// Gives it its work; runs no Python code.
    pub(super) fn give(&mut self, work: impl FnOnce(Python<'_>) + Send + 'static) {
        // Fails only if the thread has ended, and drops the work then.
        let _ = self.work.take().map(|sender| sender.send(Box::new(work)));
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// What a signal handler has raised meanwhile.
    pub(super) fn join(&self, py: Python<'_>) -> PyResult<()> {
        self.thread.call_method0(py, "join").map(drop)
    }
}

impl Drop for ControlThread {
    /// No thread may come back from its wait while the interpreter is finalized.
    fn drop(&mut self) {
        if self.work.take().is_some() {
            Python::attach(|py| {
                let _ = self.join(py);
            });
        }
    }
}
