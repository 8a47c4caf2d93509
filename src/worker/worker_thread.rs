//! A thread that runs the application. It is attached to the interpreter while it serves requests,
//! and detached from it for everything else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use log::error;
use pyo3::prelude::*;

use super::dispatch::Dispatcher;
use super::main_thread::{MainThreadLink, MainThreadSignals, guarded};
use super::scheduler::Role;
use super::watch::Watch;
use crate::config::Settings;
use crate::net::Connection;
use crate::observe::AccessLog;
use crate::wsgi::{AccessLogger, LoggedRequest, Outcome, ThreadState, Wsgi, take_deferred_drops};

/// How long a thread runs requests before it returns to polling: one long request, or several short
/// ones.
const BATCH_BUDGET: Duration = Duration::from_millis(2);

/// The minimum time between two checks of the main thread whether requests have replaced the wakeup
/// descriptor. A check takes two system calls.
const RESTORE_INTERVAL: Duration = Duration::from_millis(20);

/// The state that all threads of the process share.
pub(super) struct Shared {
    /// Set when the server has started; until then its threads wait.
    pub(super) started: OnceLock<()>,
    pub(super) dispatcher: Dispatcher,
    pub(super) wsgi: Wsgi,
    pub(super) settings: Arc<Settings>,
    pub(super) watch: Arc<Watch>,
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
    let mut presence = Presence { shared, thread, is_over: false };
    py.detach(|| shared.started.wait());
    let mut thread_state = shared.wsgi.thread_state(py)?;
    if let Some(logger) = &shared.access_logger {
        thread_state.keep_context(logger.is_changed(py));
    }
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
                    && (restored_at.is_none_or(is_due) || signals.were_replaced(py))
                {
                    guarded(py, || signals.restore(py));
                    restored_at = Some(start);
                }
            }
            // The thread only had to attach once: see `Dispatcher::role`.
            Role::Poll => {}
            Role::Quit => break,
        }
        if let Some(signals) = signals {
            shared.main_thread.answer_call(py, signals);
        }
    }
    presence.is_over = true;
    Ok(())
}

/// Detects a thread that ends before the server stops, by a panic or for lack of memory: the others
/// continue without it, and the worker asks for its replacement.
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
            "The thread rustwsgi-{name} has failed unexpectedly: the worker continues without it \
             until it is replaced"
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

fn run_batch(
    py: Python<'_>,
    shared: &Shared,
    thread_state: &mut ThreadState,
    thread: usize,
    start: Instant,
) {
    let mut is_logger_checked = false;
    shared.dispatcher.run_batch(thread, |connection| {
        let mut served = serve(py, shared, thread_state, thread, connection);
        if let (Some(served), Some(log)) = (&mut served, &shared.access_log) {
            let check_logger = !std::mem::replace(&mut is_logger_checked, true);
            served.log(py, log, shared.access_logger.as_ref(), thread_state, check_logger);
        }
        // After the filters of the access log, which may take too long as well.
        shared.watch.end(py, thread);
        if let Some(served) = served {
            shared.dispatcher.handle.return_connection(served.connection);
        }
        start.elapsed() < BATCH_BUDGET
    });
}

/// A request that was served.
struct Served {
    connection: Box<Connection>,
    /// Environ keys and values for the access log.
    logged: Vec<(String, String)>,
    /// The request's context, if filters of the access log may need it.
    context: Option<Py<PyAny>>,
}

/// Serves a request, which is watched from here on. `None` if its connection is not here any more.
fn serve(
    py: Python<'_>,
    shared: &Shared,
    thread_state: &mut ThreadState,
    thread: usize,
    connection: Box<Connection>,
) -> Option<Served> {
    shared.watch.begin(py, thread, &connection, thread_state.response());
    let served = catch_unwind(AssertUnwindSafe(|| shared.wsgi.serve(py, thread_state, connection)));
    let Outcome { exchange, logged, context } = served.unwrap_or_else(|_| {
        let exchange = shared.wsgi.recover_exchange(py, thread_state);
        Outcome { exchange, logged: Vec::new(), context: None }
    });
    // Without an exchange, the poller has taken it.
    let Ok(connection) = exchange?.into_any().downcast::<Connection>() else {
        error!(target: "request.lost", "Bug: the exchange is not a connection: dropping it");
        return None;
    };
    Some(Served { connection, logged, context })
}

impl Served {
    /// Logs the request: through Python's logger if the application has changed it. That is
    /// checked with `check_logger`, and as long as it is changed, so that requests which run in a
    /// row do not each pay for a check.
    fn log(
        &mut self,
        py: Python<'_>,
        log: &AccessLog,
        logger: Option<&AccessLogger>,
        thread_state: &mut ThreadState,
        check_logger: bool,
    ) {
        let Served { connection, logged, context } = self;
        let logged_by_python = catch_unwind(AssertUnwindSafe(|| {
            let context = context.take();
            let logger = logger.filter(|logger| {
                if check_logger || thread_state.keeps_context() {
                    thread_state.keep_context(logger.is_changed(py));
                }
                thread_state.keeps_context()
            });
            let Some(logger) = logger else { return false };
            // The client need not wait for filters and handlers. If it has disconnected, the poller
            // finds out.
            let _ = connection.send_soon();
            let (head, response) = (connection.http.head(), thread_state.head());
            let request = LoggedRequest { head, response, context };
            connection.log_access(response, logged, |record| logger.log(py, log, record, request));
            true
        }));
        if logged_by_python.is_err() {
            // For lack of memory. Without Python it needs none of Python's.
            drop(PyErr::take(py));
        }
        if !logged_by_python.unwrap_or(false) {
            connection.log_access(thread_state.head(), logged, |record| log.log(record));
        }
    }
}
