//! A thread that runs the application. It is attached to the interpreter while it serves requests,
//! and detached from it for everything else.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use log::error;
use pyo3::prelude::*;

use super::dispatch::Dispatcher;
use super::scheduler::Role;
use super::watch::Watch;
use crate::config::Settings;
use crate::net::Connection;
use crate::observe::AccessLog;
use crate::wsgi::{AccessLogger, ThreadState, Wsgi, take_deferred_drops};

/// How long a thread runs requests before it returns to polling: one long request, or several short
/// ones.
const BATCH_BUDGET: Duration = Duration::from_millis(2);

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
}

/// The main function of worker thread `thread`.
pub(super) fn run(py: Python<'_>, shared: &Shared, thread: usize) -> PyResult<()> {
    py.detach(|| shared.started.wait());
    let mut thread_state = shared.wsgi.thread_state(py)?;
    loop {
        // Only the application runs attached. The end of `detach` waits for the GIL.
        match py.detach(|| shared.dispatcher.role(thread, take_deferred_drops)) {
            Role::Run => run_batch(py, shared, &mut thread_state, thread),
            // The thread only had to attach once: see `Dispatcher::role`.
            Role::Poll => {}
            Role::Quit => return Ok(()),
        }
    }
}

fn run_batch(py: Python<'_>, shared: &Shared, thread_state: &mut ThreadState, thread: usize) {
    let start = Instant::now();
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
