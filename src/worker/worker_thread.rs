//! A thread that runs the application. It is attached to the interpreter while it serves requests,
//! and detached from it for everything else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use log::error;
use pyo3::prelude::*;

use super::dispatch::{Dispatcher, Seat};
use super::inspector::KnownThreads;
use super::main_thread::{MainThreadLink, MainThreadSignals, guarded};
use super::request_limit::RequestLimit;
use super::scheduler::Role;
use super::shown::{ShownThreads, show_end};
use super::slow_requests::SlowRequests;
use super::threads::Threads;
use super::upgrade::{ThreadUpgrader, Upgrades};
use super::upgraded::UpgradedExchange;
use super::watch::Watch;
use crate::config::Settings;
use crate::http1::{Head, ResponseHead};
use crate::net::Connection;
use crate::observe::{self, AccessLog, Record, ThreadRow};
use crate::sys::clock::{self, Moment};
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
    /// How many requests may run, with `--max-requests`.
    pub(super) request_limit: Option<RequestLimit>,
    /// Logs slow requests, with `--slow-request`.
    pub(super) slow: Option<Arc<SlowRequests>>,
    pub(super) access_log: Option<Arc<AccessLog>>,
    /// Python's logger for the lines of requests that have run.
    pub(super) access_logger: Option<AccessLogger>,
    /// The only worker thread is the main thread.
    pub(super) serves_on_main_thread: bool,
    pub(super) main_thread: MainThreadLink,
    pub(super) threads: Threads,
    pub(super) upgrades: Upgrades,
    /// Shows the master what the threads do, with `--metrics`.
    pub(super) shown: Option<ShownThreads>,
    /// Where the threads note who they are, with `--control-socket`.
    pub(super) inspected: Option<Arc<KnownThreads>>,
}

/// The main function of worker thread `thread`. With `signals` it is the main thread, which also
/// runs signal handlers.
pub(super) fn run(
    py: Python<'_>,
    shared: &Arc<Shared>,
    thread: usize,
    signals: Option<&dyn MainThreadSignals>,
) -> PyResult<()> {
    let is_main_thread = signals.is_some();
    let seat = Arc::new(Seat::new(thread));
    let mut presence = Presence { shared, seat: &seat, is_main_thread, is_over: false };
    py.detach(|| shared.started.wait());
    shared.note_seat(py, thread);
    let mut thread_state = shared.wsgi.thread_state(py)?;
    let upgrader = Arc::new(ThreadUpgrader::new(shared, &seat));
    if shared.settings.max_upgrades > 0 {
        thread_state.set_upgrader(upgrader.clone());
    }
    let row = shared.shown.as_ref().map(|shown| shown.row(thread));
    row.iter().for_each(ThreadRow::adopt);
    let place = Place { seat: &seat, upgrader: &upgrader, row };
    if let Some(logger) = &shared.access_logger {
        thread_state.keep_context(logger.is_changed(py));
    }
    let is_called = || match is_main_thread {
        true => shared.main_thread.is_called(),
        false => shared.main_thread.wants_seat(),
    };
    let mut restored_at = None::<Moment>;
    let mut ready = Vec::new();
    while is_main_thread || !shared.main_thread.wants_seat() {
        // Only the application runs attached. The end of `detach` waits for the GIL.
        let next = || {
            let role = shared.dispatcher.role(thread, &mut ready, take_deferred_drops, is_called);
            if let (Role::Run, Some(row)) = (role, &row) {
                row.attach();
            }
            role
        };
        match py.detach(next) {
            Role::Run => {
                let start = clock::now();
                run_batch(py, shared, &mut thread_state, place, start);
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
        match signals {
            Some(signals) => {
                shared.main_thread.answer_call(py, signals);
                if seat.is_left() {
                    shared.take_seat_back(py, signals, &seat);
                }
            }
            // Another thread has the seat.
            None if seat.is_left() => break,
            None => {}
        }
    }
    presence.is_over = true;
    Ok(())
}

/// A worker thread's place in the scheduler, and how its requests leave it.
#[derive(Clone, Copy)]
struct Place<'a> {
    seat: &'a Seat,
    upgrader: &'a ThreadUpgrader,
    /// Shows the master what the thread does.
    row: Option<ThreadRow>,
}

/// Detects a thread that ends before the server stops, by a panic or for lack of memory: the others
/// continue without it, and the worker asks for its replacement.
struct Presence<'a> {
    shared: &'a Shared,
    seat: &'a Seat,
    is_main_thread: bool,
    is_over: bool,
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        if self.seat.is_left() {
            return;
        }
        if !self.is_over {
            self.shared.on_thread_lost(Some(self.seat.thread()));
        }
        if !self.is_main_thread {
            self.shared.main_thread.free_seat();
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

    /// Counts a request that has ended, before its response is returned: with the last one that
    /// `--max-requests` allows, clients of HTTP/2 learn that they have to connect again.
    pub(super) fn count_request(&self) {
        if self.request_limit.as_ref().is_some_and(RequestLimit::count) {
            self.dispatcher.handle.end_sessions();
        }
    }

    /// The main thread has left its seat for the time of an upgrade, which has ended: waits for
    /// the thread that has it to leave. Answers calls meanwhile.
    fn take_seat_back(&self, py: Python<'_>, signals: &dyn MainThreadSignals, seat: &Seat) {
        self.main_thread.want_seat();
        self.dispatcher.handle.wake();
        while !py.detach(|| self.main_thread.wait_for_seat()) {
            self.main_thread.answer_call(py, signals);
        }
        self.threads.restore_main(py, seat.thread());
        seat.take_back();
        self.note_seat(py, seat.thread());
    }

    /// Notes that the calling thread has a seat.
    fn note_seat(&self, py: Python<'_>, seat: usize) {
        self.inspected.iter().for_each(|threads| threads.take_seat(py, seat));
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
    Place { seat, upgrader, row }: Place<'_>,
    start: Moment,
) {
    let thread = seat.thread();
    let mut is_logger_checked = false;
    let batch_end = start + BATCH_BUDGET;
    let mut now = start;
    // A constant, unless the interpreter may have no GIL.
    let is_parallel = cfg!(Py_GIL_DISABLED) && shared.dispatcher.is_parallel();
    let mut served_requests = 0;
    if let Some(row) = row {
        row.attached();
    }
    shared.dispatcher.run_batch(seat, |mut connection| {
        if connection.is_cancelled() {
            shared.dispatcher.handle.return_connection(connection);
            return true;
        }
        connection.begin_run(now);
        let _scope = connection.enter_scope();
        shared.watch.begin(py, thread, &connection, thread_state.response(), now);
        if let Some(slow) = &shared.slow {
            slow.begin(py, thread, &connection, now);
        }
        let began = now;
        if let Some(row) = row {
            connection.show_begin(&row, now);
        }
        let mut served = serve(py, shared, thread_state, connection);
        if let (Some(served), Some(log)) = (&mut served, &shared.access_log) {
            let check_logger = !std::mem::replace(&mut is_logger_checked, true);
            served.log(py, log, shared.access_logger.as_ref(), thread_state, check_logger);
        }
        if seat.is_left() {
            upgrader.end(py);
            return false;
        }
        // After the filters of the access log, which may take too long as well.
        shared.watch.end(py, thread);
        shared.count_request();
        now = clock::now();
        if let Some(slow) = &shared.slow {
            slow.end(py, thread, now);
        }
        let connection = served.and_then(Served::into_connection);
        if let Some(row) = row {
            let status = thread_state.head().status();
            show_end(&row, connection.as_deref(), status, [began, now]);
        }
        if let Some(mut connection) = connection {
            if is_parallel {
                connection.send_before_return();
                now = clock::now();
            }
            shared.dispatcher.handle.return_connection(connection);
        }
        served_requests += 1;
        now < batch_end
    });
    if is_parallel && served_requests > 0 {
        shared.dispatcher.count_batch(served_requests, now.saturating_duration_since(start));
    }
}

/// A request that was served.
struct Served {
    exchange: ServedExchange,
    /// Environ keys and values for the access log.
    logged: Vec<(String, String)>,
    /// The request's context, if filters of the access log may need it.
    context: Option<Py<PyAny>>,
}

/// What is left of its exchange.
enum ServedExchange {
    Connection(Box<Connection>),
    /// The application has taken the connection.
    Upgraded(Box<UpgradedExchange>),
}

/// Serves a request. `None` if its connection is not here any more.
fn serve(
    py: Python<'_>,
    shared: &Shared,
    thread_state: &mut ThreadState,
    connection: Box<Connection>,
) -> Option<Served> {
    let served = catch_unwind(AssertUnwindSafe(|| shared.wsgi.serve(py, thread_state, connection)));
    observe::flush_text();
    let Outcome { exchange, logged, context } = served.unwrap_or_else(|_| {
        let exchange = shared.wsgi.recover_exchange(py, thread_state);
        Outcome { exchange, logged: Vec::new(), context: None }
    });
    // Without an exchange, the poller has taken it.
    let exchange = match exchange?.into_any().downcast::<Connection>() {
        Ok(connection) => ServedExchange::Connection(connection),
        Err(other) => match other.downcast::<UpgradedExchange>() {
            Ok(upgraded) => ServedExchange::Upgraded(upgraded),
            Err(_) => {
                error!(target: "request.lost", "Bug: the exchange is no connection: dropping it");
                return None;
            }
        },
    };
    Some(Served { exchange, logged, context })
}

impl ServedExchange {
    fn head(&self) -> &Head {
        match self {
            ServedExchange::Connection(connection) => connection.http.head(),
            ServedExchange::Upgraded(upgraded) => upgraded.head(),
        }
    }

    fn log_access(
        &self,
        response: &ResponseHead,
        environ: &[(String, String)],
        log: impl FnOnce(&Record<'_>),
    ) {
        match self {
            ServedExchange::Connection(connection) => {
                connection.log_access(response, environ, log);
            }
            ServedExchange::Upgraded(upgraded) => upgraded.log_access(response, environ, log),
        }
    }
}

impl Served {
    /// The connection, unless the application has taken it.
    fn into_connection(self) -> Option<Box<Connection>> {
        match self.exchange {
            ServedExchange::Connection(connection) => Some(connection),
            ServedExchange::Upgraded(_) => None,
        }
    }

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
        let Served { exchange, logged, context } = self;
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
            if let ServedExchange::Connection(connection) = exchange {
                let _ = connection.send_soon();
            }
            let (head, response) = (exchange.head(), thread_state.head());
            let request = LoggedRequest { head, response, context };
            exchange.log_access(response, logged, |record| logger.log(py, log, record, request));
            true
        }));
        if logged_by_python.is_err() {
            // For lack of memory. Without Python it needs none of Python's.
            drop(PyErr::take(py));
        }
        if !logged_by_python.unwrap_or(false) {
            exchange.log_access(thread_state.head(), logged, |record| log.log(record));
        }
    }
}
