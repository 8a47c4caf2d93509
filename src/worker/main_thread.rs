//! The main thread of a process whose server is controlled by another thread.
//!
//! Python runs signal handlers on the main thread only, and some code works only there: it sets
//! signal handlers, or uses objects that belong to the thread which imported the application. So
//! with `--threads 1` the main thread is the worker thread, as under gunicorn's sync worker; with
//! more threads it waits. Either way the control thread calls it when a signal has come, and it
//! attaches to the interpreter to run the handlers. A handler may take long or never return,
//! without consequences for the control thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::control_thread::ControlThread;
use super::worker_thread::{self, Shared};
use crate::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering, ignore_poison, pause};

/// How often [`MainThread::run`] joins the control thread again after a signal handler has raised
/// an exception in the join.
const MAX_JOINS: usize = 100;

/// The signal handling of the process, as far as the main thread does it.
pub trait MainThreadSignals {
    /// Sets the wakeup descriptor and the handlers again if the application has removed them.
    /// `loop.add_signal_handler` of asyncio, for example, leaves neither behind.
    fn restore(&self, py: Python<'_>);

    /// Whether the application has replaced the handler of SIGTERM since the last
    /// [`MainThreadSignals::restore`]: without one, the signal ends the process and its requests.
    /// Takes no system call.
    fn were_replaced(&self, py: Python<'_>) -> bool;

    /// Runs the Python handlers of the signals that have come.
    fn run_handlers(&self, py: Python<'_>);

    /// Handles an exception that a signal handler has raised outside a request.
    fn on_exception(&self, py: Python<'_>, exception: PyErr);
}

/// Runs a step of the signal handling. For lack of memory PyO3 panics: that must not end the main
/// thread. The next call repeats the step.
pub(super) fn guarded(py: Python<'_>, step: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(step)).is_err() {
        drop(PyErr::take(py));
    }
}

/// The state that the main thread shares with the other threads.
#[derive(Debug, Default)]
pub(super) struct MainThreadLink {
    /// It must attach to the interpreter once, to run signal handlers.
    is_called: AtomicBool,
    /// It waits for its seat in the scheduler, which another thread has: its upgrade has ended.
    wants_seat: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// It runs no request any more.
    has_served: bool,
    /// The control thread has ended.
    is_released: bool,
    /// It was called, and has not run the handlers yet.
    is_busy: bool,
    /// The thread that had its seat has left it.
    is_seat_free: bool,
}

impl MainThreadLink {
    fn lock(&self) -> MutexGuard<'_, State> {
        ignore_poison(self.state.lock())
    }

    /// Whether the main thread must attach to the interpreter.
    pub(super) fn is_called(&self) -> bool {
        self.is_called.load(Ordering::SeqCst)
    }

    /// Makes the main thread attach, if it waits in this module. The caller also wakes the poller.
    fn call(&self) {
        self.is_called.store(true, Ordering::SeqCst);
        self.lock().is_busy = true;
        self.changed.notify_all();
    }

    /// On the main thread, outside a request: if it was called, runs the handlers of signals.
    pub(super) fn answer_call(&self, py: Python<'_>, signals: &dyn MainThreadSignals) {
        if self.is_called() {
            self.is_called.store(false, Ordering::SeqCst);
            guarded(py, || signals.run_handlers(py));
            guarded(py, || signals.restore(py));
            self.lock().is_busy = self.is_called();
            self.changed.notify_all();
        }
    }

    /// Whether a thread that has the main thread's seat must leave it.
    pub(super) fn wants_seat(&self) -> bool {
        self.wants_seat.load(Ordering::SeqCst)
    }

    /// Asks the thread that has the main thread's seat to leave it. The caller also wakes the
    /// poller.
    pub(super) fn want_seat(&self) {
        self.wants_seat.store(true, Ordering::SeqCst);
    }

    /// A thread that is not the main thread has left its seat, and ends.
    pub(super) fn free_seat(&self) {
        self.lock().is_seat_free = true;
        self.changed.notify_all();
    }

    /// Waits until the seat of the main thread is free, or the main thread is called. Returns
    /// whether it has the seat.
    pub(super) fn wait_for_seat(&self) -> bool {
        let mut state = self.lock();
        while !self.is_called() && !state.is_seat_free {
            state = ignore_poison(self.changed.wait(state));
        }
        let is_free = std::mem::take(&mut state.is_seat_free);
        if is_free {
            self.wants_seat.store(false, Ordering::SeqCst);
        }
        is_free
    }

    /// Waits until the main thread is called, or released. Returns whether it is released.
    fn wait(&self) -> bool {
        let mut state = self.lock();
        while !self.is_called() && !state.is_released {
            state = ignore_poison(self.changed.wait(state));
        }
        state.is_released
    }

    /// Waits until the main thread has left the application for good, at most for `limit`. Returns
    /// whether it has.
    pub(super) fn wait_until_served(&self, limit: Option<Duration>) -> bool {
        self.wait_until(|state| state.has_served, limit)
    }

    /// Waits until the main thread has answered the last call, at most for `limit`.
    fn wait_until_answered(&self, limit: Duration) {
        self.wait_until(|state| !state.is_busy, Some(limit));
    }

    fn wait_until(&self, holds: impl Fn(&State) -> bool, limit: Option<Duration>) -> bool {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut state = self.lock();
        while !holds(&state) {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            state = match left {
                None => ignore_poison(self.changed.wait(state)),
                Some(Duration::ZERO) => return false,
                Some(left) => pause(&self.state, &self.changed, state, left),
            };
        }
        true
    }

    pub(super) fn set_served(&self) {
        self.lock().has_served = true;
        self.changed.notify_all();
    }

    fn release(&self) {
        self.lock().is_released = true;
        self.changed.notify_all();
    }
}

/// The main thread of a server: see [`Server::main_thread`](super::Server::main_thread).
#[derive(Clone)]
pub struct MainThread(pub(super) Arc<Shared>);

impl MainThread {
    /// Whether it is the only worker thread.
    pub fn serves(&self) -> bool {
        self.0.serves_on_main_thread
    }

    /// Makes it run signal handlers, unless it is inside a request: there the interpreter runs
    /// them.
    pub fn call(&self) {
        self.0.main_thread.call();
        if self.serves() {
            self.0.dispatcher.handle.wake();
        }
    }

    /// Waits until it has run the handlers for which it was called, at most for `limit`, or for
    /// `limit_in_request` if it is inside a request.
    pub fn wait_until_answered(&self, py: Python<'_>, limit: Duration, limit_in_request: Duration) {
        let is_in_request = self.serves() && !self.0.dispatcher.is_idle();
        let limit = if is_in_request { limit_in_request } else { limit };
        py.detach(|| self.0.main_thread.wait_until_answered(limit));
    }

    /// Runs `control` on `thread` until it returns, and meanwhile the main thread's part on the
    /// calling thread. Returns the result of `control`.
    ///
    /// # Errors
    /// If the thread has panicked.
    pub fn run<T: Send + 'static>(
        self,
        py: Python<'_>,
        signals: &dyn MainThreadSignals,
        mut thread: ControlThread,
        control: impl FnOnce(Python<'_>) -> T + Send + 'static,
    ) -> PyResult<T> {
        let result = Arc::new(Mutex::new(None));
        let slot = result.clone();
        let release = Release { shared: self.0.clone(), has_returned: false };
        thread.give(move |py| {
            let mut release = release;
            let returned = control(py);
            *ignore_poison(slot.lock()) = Some(returned);
            release.has_returned = true;
        });
        self.serve(py, signals);
        for _ in 0..MAX_JOINS {
            match thread.join(py) {
                Ok(()) => break,
                Err(exception) => signals.on_exception(py, exception),
            }
        }
        let returned = ignore_poison(result.lock()).take();
        returned.ok_or_else(|| PyRuntimeError::new_err("the control thread has failed"))
    }

    /// Serves as the worker thread if there is only one, then waits until it is released.
    fn serve(&self, py: Python<'_>, signals: &dyn MainThreadSignals) {
        let Shared { main_thread, serves_on_main_thread, .. } = &*self.0;
        if *serves_on_main_thread {
            let served = catch_unwind(AssertUnwindSafe(|| {
                worker_thread::run(py, &self.0, 0, Some(signals))
            }));
            main_thread.set_served();
            if let Ok(Err(failure)) = served {
                signals.on_exception(py, failure);
            }
        }
        loop {
            let is_released = py.detach(|| main_thread.wait());
            main_thread.answer_call(py, signals);
            if is_released {
                // A signal that has come just before the end.
                return guarded(py, || signals.run_handlers(py));
            }
        }
    }
}

/// Releases the main thread at the end of the control thread, even if that panics.
struct Release {
    shared: Arc<Shared>,
    /// The work of the control thread is complete.
    has_returned: bool,
}

impl Drop for Release {
    fn drop(&mut self) {
        if !self.has_returned {
            self.shared.dispatcher.handle.stop();
        }
        self.shared.main_thread.release();
    }
}
