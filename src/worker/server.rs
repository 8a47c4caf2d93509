//! Starts and stops the server of one process: starts its threads, joins them. [`alone`] starts one
//! without a master.

mod access_log;
mod alone;
mod parallelism;
mod shutdown;
mod static_files;

use access_log::build_access_log;
use alone::RenewalThread;
use parallelism::parallelism;
pub use shutdown::GracefulEnd;
use shutdown::{UPGRADE_END, has_ended_within};

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log::{info, warn};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyCFunction, PyDict, PyTuple};

use super::dispatch::Dispatcher;
use super::forks::close_in_children;
use super::inspector::KnownThreads;
use super::main_thread::{MainThread, MainThreadLink};
use super::python_thread::{self, join_all};
use super::request_limit::RequestLimit;
use super::shown::ShownThreads;
use super::slow_requests::SlowRequests;
use super::threads::Threads;
use super::upgrade::Upgrades;
use super::watch::Watch;
use super::worker_thread::{self, Shared};
use crate::config::Settings;
use crate::net::{self, Listener, Local, Membership, Poller, Tls};
use crate::observe::{self, Sink, WorkerSlot};
use crate::sys::signals::without_signals;
use crate::wsgi::{self, AccessLogger, Application, ServerAddress, Wsgi, green_threads_error};

/// How long the end of the server waits for a reader of the access log that does not keep up.
const LAST_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be bound. Holds the error of the system call, if one failed.
    #[error("{0:#}")]
    Bind(anyhow::Error),
    /// The access log could not be opened.
    #[error("--access-logfile: cannot open {0:#}")]
    AccessLog(anyhow::Error),
    /// Python code raised an exception.
    #[error("{0}")]
    Python(#[from] PyErr),
    /// The certificates cannot be used.
    #[error("{0}")]
    Tls(String),
    /// Another system call failed.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    sentinel: Option<JoinHandle<()>>,
    addresses: Vec<(Option<SocketAddr>, String)>,
    /// The `atexit` hook, for a program that ends while the server runs.
    exit_hook: Option<Py<PyAny>>,
    /// See [`Server::skip_exit_wait`].
    skips_exit_wait: Arc<AtomicBool>,
    /// The certificates, if there are any.
    tls: Option<Arc<Tls>>,
    /// Renews them, if there is no master.
    _renewal: Option<RenewalThread>,
    /// The process that started the server. A forked process has a copy of this struct, but no
    /// threads, and must not stop or close what belongs to its parent.
    pid: u32,
}

/// The arguments of [`Server::start_with`].
pub struct ServerParts {
    /// The application.
    pub app: Application,
    /// The bound sockets.
    pub listeners: Vec<Listener>,
    /// The hand-over between this worker and others.
    pub hand_over: Option<Membership>,
    /// The certificates, if there are any.
    pub tls: Option<Arc<Tls>>,
    /// The slot that shows the master what the worker does, with `--metrics`.
    pub slot: Option<Arc<WorkerSlot>>,
    /// How many requests may run, with `--max-requests`.
    pub request_limit: Option<RequestLimit>,
    /// Where the threads note who they are, with `--control-socket`.
    pub inspected: Option<Arc<KnownThreads>>,
    /// The sink of the access log, if there is one.
    pub access_log: Option<Sink>,
    /// The settings.
    pub settings: Arc<Settings>,
    /// See [`Server::set_multiprocess`].
    pub multiprocess: bool,
    /// The caller is the main thread, and runs [`Server::main_thread`]. With `--threads 1` the
    /// application runs there.
    pub has_main_thread: bool,
}

impl Server {
    /// Serves with `parts`. Calls `on_ready` when everything else has succeeded, before the first
    /// request is accepted, and also returns its result.
    pub fn start_with<T>(
        py: Python<'_>,
        parts: ServerParts,
        on_ready: impl FnOnce() -> Result<T, StartError>,
    ) -> Result<(Server, T), StartError> {
        // A program, or a hook of a configuration file, may have patched `threading` after the
        // application was loaded.
        if let Some(refusal) = green_threads_error(py) {
            return Err(PyRuntimeError::new_err(refusal).into());
        }
        wsgi::route_logs(py, &parts.settings)?;
        let ServerParts { app, mut listeners, tls, hand_over, access_log, settings, .. } = parts;
        let ServerParts { multiprocess, has_main_thread, slot, inspected, request_limit, .. } =
            parts;
        net::assign_services(&mut listeners, tls.as_ref());
        close_in_children(py, &listeners)?;
        let access_log = access_log.map(|sink| build_access_log(&settings, sink));
        let access_log = access_log.transpose()?.flatten();
        let addresses: Vec<_> = listeners.iter().map(|l| (l.tcp_address(), l.url())).collect();
        let servers: Vec<_> = listeners
            .iter()
            .enumerate()
            .map(|(i, listener)| listener.local(i))
            .map(|Local { name, port, is_https, .. }| ServerAddress { name, port, is_https })
            .collect();
        let log_keys = access_log.as_ref().map_or_else(Vec::new, |(_, keys)| keys.clone());
        let access_log = access_log.map(|(log, _)| Arc::new(log));
        let access_logger = match &access_log {
            Some(log) if settings.has_access_lines() => AccessLogger::attach(py, log)?,
            _ => None,
        };
        let mut network = Poller::new(listeners, settings.clone(), access_log.clone())?;
        network.0.join_hand_over(hand_over)?;
        slot.iter().for_each(|slot| network.0.show_in(slot));
        observe::count_lost_lines_in(network.1.counters().clone());
        if let Some(challenges) = tls.as_ref().and_then(|tls| tls.challenges()) {
            network.0.answer_challenges(challenges.clone());
        }
        let sendfile = static_files::open(py, &app, &settings, &mut network.0)?;
        let multiprocess = Arc::new(AtomicBool::new(multiprocess));
        let wsgi = Wsgi::new(py, app, &servers, &settings, multiprocess.clone(), log_keys)?
            .with_sendfile(sendfile);
        let slow = SlowRequests::new(&settings, &network.1, slot.as_ref());
        let watch = Watch::new(&settings, access_log.clone(), slot.as_ref(), slow.clone());
        let watch = Arc::new(watch);
        let parallelism = parallelism(py);
        let shared = Arc::new(Shared {
            dispatcher: Dispatcher::new(network, parallelism, &settings, multiprocess, &watch),
            wsgi,
            started: OnceLock::new(),
            watch,
            request_limit,
            slow,
            serves_on_main_thread: has_main_thread && settings.threads == 1,
            main_thread: MainThreadLink::default(),
            settings,
            access_log,
            access_logger,
            threads: Threads::default(),
            upgrades: Upgrades::default(),
            shown: slot.map(ShownThreads::new),
            inspected,
        });
        let mut server = Server {
            shared,
            sentinel: None,
            addresses,
            exit_hook: None,
            skips_exit_wait: Arc::default(),
            tls,
            _renewal: None,
            pid: std::process::id(),
        };
        let started = server
            .start_threads(py)
            .and_then(|()| server.register_exit_hook(py))
            .and_then(|()| on_ready());
        if started.is_err() {
            server.stop();
            server.shared.main_thread.set_served();
        }
        // From now on the application may run, and this thread may run its signal handlers.
        server.shared.started.set(()).ok();
        match started {
            Ok(result) => Ok((server, result)),
            Err(failure) => {
                server.join(py, None)?;
                Err(failure)
            }
        }
    }

    fn start_threads(&mut self, py: Python<'_>) -> Result<(), StartError> {
        let shared = self.shared.clone();
        let sentinel = std::thread::Builder::new().name("rustwsgi-sentinel".into());
        let run_sentinel = move || shared.run_sentinel();
        self.sentinel = Some(without_signals(|| sentinel.spawn(run_sentinel))?);
        self.shared.slow.as_ref().map_or(Ok(()), |slow| slow.start_reader(py))?;
        if self.shared.serves_on_main_thread {
            let current = py.import("threading")?.call_method0("current_thread")?;
            self.shared.threads.add_main(py, current.unbind());
            return Ok(());
        }
        for index in 0..self.shared.settings.threads {
            let shared = self.shared.clone();
            let run = move |py: Python<'_>| worker_thread::run(py, &shared, index, None);
            let thread = python_thread::start(py, &format!("rustwsgi-{index}"), run)?;
            self.shared.threads.add(py, thread);
        }
        Ok(())
    }

    /// The main thread, if the caller has set [`ServerParts::has_main_thread`].
    pub fn main_thread(&self) -> MainThread {
        MainThread(self.shared.clone())
    }

    /// Registers an `atexit` hook that stops the server. No thread may be inside the application
    /// when the interpreter is finalized: CPython before 3.14 then ends it with `pthread_exit`,
    /// which must not unwind the frames of Rust.
    fn register_exit_hook(&mut self, py: Python<'_>) -> Result<(), StartError> {
        let shared = self.shared.clone();
        let pid = self.pid;
        let skips_wait = self.skips_exit_wait.clone();
        let stop = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            if std::process::id() != pid {
                return Ok(());
            }
            let py = args.py();
            shared.dispatcher.handle.stop();
            let limit = match skips_wait.load(Ordering::Relaxed) {
                true => Duration::ZERO,
                false => shared.settings.timeouts.graceful,
            };
            let join = |limit| join_all(py, &shared.threads.started(py), Some(limit));
            let has_ended =
                join(limit)? || shared.threads.shut_down_upgrades(py) && join(UPGRADE_END)?;
            shared.slow.iter().for_each(|slow| slow.end_reader(py));
            if !has_ended {
                warn!(
                    target: "server.exit",
                    "The program ends while requests are still running: aborting them"
                );
                exit_now(py, 1);
            }
            PyResult::Ok(())
        };
        let hook = PyCFunction::new_closure(py, Some(c"rustwsgi_at_exit"), None, stop)?;
        py.import("atexit")?.call_method1("register", (&hook,))?;
        self.exit_hook = Some(hook.into_any().unbind());
        Ok(())
    }

    /// The addresses of the listeners: as a socket address if it is TCP, and as a URL.
    pub fn addresses(&self) -> &[(Option<SocketAddr>, String)] {
        &self.addresses
    }

    /// Lets the program exit without waiting for running requests: the caller has waited.
    pub fn skip_exit_wait(&self) {
        self.skips_exit_wait.store(true, Ordering::Relaxed);
    }

    fn is_own_process(&self) -> bool {
        std::process::id() == self.pid
    }

    /// Sets whether other processes accept from the same sockets.
    pub fn set_multiprocess(&self, multiprocess: bool) {
        self.shared.dispatcher.set_multiprocess(multiprocess);
    }

    /// Logs how often each limit was reached.
    pub fn log_counters(&self) {
        let counters = self.shared.dispatcher.handle.counters();
        info!(target: "server.counters", "Limits reached since the start: {counters}");
    }

    /// The number of requests that were answered.
    pub fn requests_served(&self) -> u64 {
        self.shared.watch.requests_served()
    }

    /// A number that changes whenever the poller makes a turn or a thread finishes a request.
    pub fn progress(&self) -> u64 {
        let turns = self.shared.dispatcher.handle.turns() as u64;
        turns.wrapping_add(self.requests_served())
    }

    /// Ends the poller's current wait for events, so that an idle server makes progress.
    pub fn wake_poller(&self) {
        self.shared.dispatcher.handle.wake();
    }

    /// True if a thread of the server has failed unexpectedly: this process should be replaced.
    pub fn has_lost_thread(&self) -> bool {
        self.shared.watch.has_lost_thread()
    }

    /// Takes the next step to end each request that has run longer than `--timeout`. Returns
    /// whether one is stuck. To be called once a second.
    pub fn end_overdue_requests(&self, py: Python<'_>) -> PyResult<bool> {
        self.shared.watch.end_overdue_requests(py, &self.shared.threads.seats(py))
    }

    /// Flushes the access log, if there is one, and continues it in another sink.
    pub fn redirect_access_log(&self, sink: Sink) {
        if let Some(log) = &self.shared.access_log {
            log.redirect(sink);
        }
    }

    /// Lets new connections use certificates that the master has renewed.
    ///
    /// # Errors
    /// A sentence; the old ones stay.
    pub fn renew_certificates(&self, encoded: &[u8]) -> Result<(), String> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.replace_encoded(encoded))
    }

    /// Waits until all threads have ended, at most for `limit`. Returns whether they have. Other
    /// Python threads run meanwhile. Returns at once in a forked process, which has no such
    /// threads.
    pub fn join(&mut self, py: Python<'_>, limit: Option<Duration>) -> PyResult<bool> {
        if !self.is_own_process() {
            return Ok(true);
        }
        if !join_all(py, &self.shared.threads.started(py), limit)? {
            return Ok(false);
        }
        let shared = &self.shared;
        if shared.serves_on_main_thread
            && !py.detach(|| shared.main_thread.wait_until_served(limit))
        {
            return Ok(false);
        }
        // If all worker threads have failed, the sentinel still sends responses.
        if let (Some(sentinel), Some(limit)) = (&self.sentinel, limit)
            && !py.detach(|| has_ended_within(sentinel, limit))
        {
            return Ok(false);
        }
        // All requests have ended. A library may have left a thread with a connection, which would
        // keep the interpreter from its exit.
        self.shared.threads.shut_down_upgrades(py);
        self.shared.slow.iter().for_each(|slow| slow.end_reader(py));
        if let Some(hook) = self.exit_hook.take() {
            py.import("atexit")?.call_method1("unregister", (hook,))?;
        }
        if let Some(sentinel) = self.sentinel.take() {
            py.detach(|| sentinel.join()).ok();
            if !self.shared.dispatcher.handle.counters().are_zero() {
                self.log_counters();
            }
        }
        if let Some(log) = &self.shared.access_log {
            log.flush_until(Instant::now() + LAST_FLUSH_TIMEOUT);
        }
        wsgi::stop_routing(py);
        observe::finish();
        Ok(true)
    }
}

/// Exits the process without waiting for threads that are stuck in the application: Python's
/// finalization could wait for them forever.
pub fn exit_now(py: Python<'_>, code: i32) {
    for stream in ["stdout", "stderr"] {
        let _ = py.import("sys").and_then(|sys| sys.getattr(stream)?.call_method0("flush"));
    }
    wsgi::stop_routing(py);
    observe::finish();
    let _ = py.import("os").and_then(|os| os.call_method1("_exit", (code,)));
}
