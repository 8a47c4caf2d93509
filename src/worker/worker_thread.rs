//! A thread that runs the application. It is attached to the interpreter while it serves requests,
//! and detached from it for everything else.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use log::error;
use pyo3::prelude::*;

use super::dispatch::Dispatcher;
use super::main_thread::{MainThreadLink, MainThreadSignals};
use super::scheduler::Role;
use super::watch::Watch;
use crate::config::Settings;
use crate::net::Connection;
use crate::observe::AccessLog;
use crate::wsgi::{AccessLogger, ThreadState, Wsgi, take_deferred_drops};

/// How long a thread runs requests before it returns to polling: one long request, or several short
/// ones.
const BATCH_BUDGET: Duration = Duration::from_millis(2);

/// How often the main thread checks at most whether requests have replaced signal handlers. A check
/// takes two system calls.
const RESTORE_INTERVAL: Duration = Duration::from_millis(20);

/// The state that all threads of the process share.
pub(super) struct Shared {
    /// Set when the server has started; until then its threads wait.
    pub(super) started: OnceLock<()>,
    pub(super) dispatcher: Dispatcher,
    pub(super) wsgi: Wsgi,
    pub(super) settings: Arc<Settings>,
    pub(super) watch: Watch,
    pub(super) access_log: Option<Arc<AccessLog>>,
    /// Python's logger for the lines of requests that have run.
    pub(super) access_logger: Option<AccessLogger>,
    /// The only worker thread is the main thread.
    pub(super) serves_on_main_thread: bool,
    pub(super) main_thread: MainThreadLink,
}

/// The main function of worker thread `thread`. With `signals` it is the main thread, which also
/// runs signal handlers.
pub(super) fn run(
    py: Python<'_>,
    shared: &Shared,
    thread: usize,
    signals: Option<&dyn MainThreadSignals>,
) -> PyResult<()> {
    py.detach(|| shared.started.wait());
    let mut thread_state = shared.wsgi.thread_state(py)?;
    let is_main_thread = signals.is_some();
    let is_called = || is_main_thread && shared.main_thread.is_called();
    let mut restored_at = None::<Instant>;
    loop {
        // Only the application runs attached. The end of `detach` waits for the GIL.
        match py.detach(|| shared.dispatcher.role(thread, take_deferred_drops, is_called)) {
            Role::Run => {
                let start = Instant::now();
                run_batch(py, shared, &mut thread_state, thread, start);
                let is_due = |at| start.saturating_duration_since(at) >= RESTORE_INTERVAL;
                if let Some(signals) = signals
                    && restored_at.is_none_or(is_due)
                {
                    signals.restore(py);
                    restored_at = Some(start);
                }
            }
            // The thread only had to attach once: see `Dispatcher::role`.
            Role::Poll => {}
            Role::Quit => return Ok(()),
        }
        if let Some(signals) = signals {
            shared.main_thread.answer_call(py, signals);
        }
    }
}

fn run_batch(
    py: Python<'_>,
    shared: &Shared,
    thread_state: &mut ThreadState,
    thread: usize,
    start: Instant,
) {
    shared.dispatcher.run_batch(thread, |connection| {
        serve(py, shared, thread_state, thread, connection);
        start.elapsed() < BATCH_BUDGET
    });
}

fn serve(
    py: Python<'_>,
    shared: &Shared,
    thread_state: &mut ThreadState,
    thread: usize,
    connection: Box<Connection>,
) {
    shared.watch.begin(py, thread, &connection);
    let outcome = shared.wsgi.serve(py, thread_state, connection);
    shared.watch.end(py, thread);
    let Ok(connection) = outcome.exchange.into_any().downcast::<Connection>() else {
        error!(target: "request.lost", "Bug: the exchange is not a connection: dropping it");
        return;
    };
    if let Some(log) = &shared.access_log {
        let (request, response) = (connection.http.head(), thread_state.head());
        connection.log_access(response, &outcome.logged, |record| match &shared.access_logger {
            Some(logger) => logger.log(py, log, record, (request, response)),
            None => log.log(record),
        });
    }
    shared.dispatcher.handle.return_connection(connection);
}
