//! A thread that runs the application. It is attached to the interpreter while it serves requests,
//! and detached from it for everything else.

use std::panic::{AssertUnwindSafe, catch_unwind};
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
use crate::wsgi::{Outcome, ThreadState, Wsgi, take_deferred_drops};

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
    pub(super) watch: Arc<Watch>,
    pub(super) access_log: Option<Arc<AccessLog>>,
}

/// The main function of worker thread `thread`.
pub(super) fn run(py: Python<'_>, shared: &Shared, thread: usize) -> PyResult<()> {
    let mut presence = Presence { shared, thread, is_over: false };
    py.detach(|| shared.started.wait());
    let mut thread_state = shared.wsgi.thread_state(py)?;
    loop {
        // Only the application runs attached. The end of `detach` waits for the GIL.
        match py.detach(|| shared.dispatcher.role(thread, take_deferred_drops)) {
            Role::Run => run_batch(py, shared, &mut thread_state, thread),
            // The thread only had to attach once: see `Dispatcher::role`.
            Role::Poll => {}
            Role::Quit => break,
        }
    }
    presence.is_over = true;
    Ok(())
}

/// Notices a thread that ends before the server stops, by a panic or for lack of memory: the others
/// go on without it, and the worker asks for its replacement.
struct Presence<'a> {
    shared: &'a Shared,
    thread: usize,
    is_over: bool,
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.on_thread_lost(Some(self.thread));
        }
    }
}

impl Shared {
    /// Goes on without a worker thread that has ended unexpectedly, or starts the sentinel again.
    pub(super) fn on_thread_lost(&self, thread: Option<usize>) {
        let name = thread.map_or_else(|| "sentinel".to_owned(), |thread| thread.to_string());
        error!(
            target: "worker.thread_lost",
            "The thread rustwsgi-{name} has failed unexpectedly: the worker goes on without it until \
             it is replaced"
        );
        self.watch.record_lost_thread();
        self.dispatcher.remove_thread(thread);
    }

    /// The main function of the sentinel.
    pub(super) fn run_sentinel(&self) {
        self.started.wait();
        while catch_unwind(AssertUnwindSafe(|| self.dispatcher.watch())).is_err() {
            self.on_thread_lost(None);
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
    shared.watch.begin(py, thread, &connection, thread_state.response());
    let served = catch_unwind(AssertUnwindSafe(|| shared.wsgi.serve(py, thread_state, connection)));
    shared.watch.end(py, thread);
    let Outcome { exchange, logged } = served.unwrap_or_else(|_| {
        let exchange = shared.wsgi.recover_exchange(py, thread_state);
        Outcome { exchange, logged: Vec::new() }
    });
    // Without an exchange, the poller has taken it.
    let Some(exchange) = exchange else { return };
    let Ok(connection) = exchange.into_any().downcast::<Connection>() else {
        error!(target: "request.lost", "Bug: the exchange is not a connection: dropping it");
        return;
    };
    if let Some(log) = &shared.access_log {
        let head = thread_state.head();
        let _ = catch_unwind(AssertUnwindSafe(|| connection.log_access(log, head, &logged)));
    }
    shared.dispatcher.handle.return_connection(connection);
}
