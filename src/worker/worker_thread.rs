//! A thread that runs the application: it has the interpreter while it serves requests, and lets it go
//! for everything else.

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
use crate::wsgi::{ThreadState, Wsgi, take_deferred_drops};

/// How long one thread may keep the interpreter for request after request before it looks at the sockets
/// again. One long request, or several short ones.
const BUDGET: Duration = Duration::from_millis(2);

/// What all threads of the process share.
pub(super) struct Shared {
    /// Set when all threads have started; until then they wait.
    pub(super) begun: OnceLock<()>,
    pub(super) dispatcher: Dispatcher,
    pub(super) wsgi: Wsgi,
    pub(super) settings: Arc<Settings>,
    pub(super) watch: Watch,
    pub(super) access_log: Option<Arc<AccessLog>>,
}

/// The life of runner `me`, as the target of a Python thread.
pub(super) fn run(py: Python<'_>, shared: &Shared, me: usize) -> PyResult<()> {
    py.detach(|| shared.begun.wait());
    let mut thread_state = shared.wsgi.thread_state(py)?;
    loop {
        // Everything but the application happens detached. Coming back from here is the wait for the
        // interpreter.
        match py.detach(|| shared.dispatcher.role(me, take_deferred_drops)) {
            Role::Run => run_batch(py, shared, &mut thread_state, me),
            // Attached for a moment, which is all that was wanted.
            Role::Poll => {}
            Role::Quit => return Ok(()),
        }
    }
}

fn run_batch(py: Python<'_>, shared: &Shared, thread_state: &mut ThreadState, me: usize) {
    let start = Instant::now();
    shared.dispatcher.run_batch(me, |connection| {
        serve(py, shared, thread_state, me, connection);
        start.elapsed() < BUDGET
    });
}

fn serve(
    py: Python<'_>,
    shared: &Shared,
    thread_state: &mut ThreadState,
    me: usize,
    connection: Box<Connection>,
) {
    shared.watch.begin(py, me, &connection);
    let outcome = shared.wsgi.serve(py, thread_state, connection);
    shared.watch.end(py, me);
    let Ok(connection) = outcome.exchange.into_any().downcast::<Connection>() else {
        error!("the exchange came back as something else");
        return;
    };
    if let Some(log) = &shared.access_log {
        connection.log_access(log, thread_state.head(), &outcome.logged);
    }
    shared.dispatcher.handle.return_connection(connection);
}
