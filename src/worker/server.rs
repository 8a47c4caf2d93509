//! Starts and stops one process's server: binds, starts the threads, waits for them.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use log::{info, warn};
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyCFunction, PyDict, PyTuple};

use super::dispatch::Dispatcher;
use super::forks::close_in_children;
use super::watch::Watch;
use super::worker_thread::{self, Shared};
use crate::config::{AccessLogSettings, Settings};
use crate::net::{self, Listener, Poller};
use crate::observe::{AccessLog, Format, Sink, remedy};
use crate::sys::signals::without_signals;
use crate::wsgi::{Application, ServerAddress, Wsgi, green_threads_error};

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be bound. Holds the system's error, if there is one.
    #[error("{0:#}")]
    Bind(anyhow::Error),
    /// The access log could not be opened.
    #[error("cannot open the access log (--access-logfile) {0:#}")]
    AccessLog(anyhow::Error),
    /// Python raised.
    #[error("{0}")]
    Python(#[from] PyErr),
    /// The system refused something else.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    runners: Vec<Py<PyAny>>,
    sentinel: Option<JoinHandle<()>>,
    addresses: Vec<(Option<SocketAddr>, String)>,
    /// What Python calls when the program ends with the server still up.
    at_exit: Option<Py<PyAny>>,
    /// See [`Server::give_up`].
    given_up: Arc<AtomicBool>,
    /// The process that serves. One that is forked has a copy of all this, but no threads, and what it would
    /// stop or close is its parent's.
    process: u32,
}

/// What a server is made from.
pub struct Parts {
    /// What is served.
    pub app: Application,
    /// What is listened on already.
    pub listeners: Vec<Listener>,
    /// Where the access log goes, if there is one.
    pub access_log: Option<Sink>,
    /// How.
    pub settings: Arc<Settings>,
    /// Whether other processes serve the same; see [`Server::set_multiprocess`].
    pub multiprocess: bool,
}

/// Binds everything that `settings` names.
fn bind(settings: &Settings) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    let umask = settings.processes.socket_umask();
    for address in &settings.binds {
        listeners.extend(net::bind(address, settings.backlog, umask).map_err(StartError::Bind)?);
    }
    Ok(listeners)
}

impl Server {
    /// Binds, and serves `app` on threads of its own until [`Server::stop`].
    pub fn start(
        py: Python<'_>,
        app: Application,
        settings: Arc<Settings>,
    ) -> Result<Server, StartError> {
        let (listeners, access_log) = (bind(&settings)?, open_access_log(&settings)?);
        let parts = Parts { app, listeners, access_log, settings, multiprocess: false };
        let server = Server::start_on(py, parts, || Ok(()))?;
        for (_, url) in &server.addresses {
            info!("Listening at: {url}");
        }
        Ok(server)
    }

    /// The same on what somebody else has opened. `ready` is called when nothing can go wrong any more,
    /// just before the first request may be taken.
    pub fn start_on(
        py: Python<'_>,
        parts: Parts,
        ready: impl FnOnce() -> io::Result<()>,
    ) -> Result<Server, StartError> {
        // A program, or a hook of a configuration, may have replaced them since the application was loaded.
        if let Some(refusal) = green_threads_error(py) {
            return Err(PyRuntimeError::new_err(refusal).into());
        }
        let Parts { app, listeners, access_log, settings, multiprocess } = parts;
        close_in_children(py, &listeners)?;
        let access_log = settings.access_log.as_ref().zip(access_log);
        let access_log = access_log.map(|(settings, sink)| format_access_log(settings, sink));
        let access_log = access_log.transpose()?;
        let addresses: Vec<_> = listeners.iter().map(|l| (l.tcp_address(), l.url())).collect();
        let servers: Vec<_> = listeners
            .iter()
            .enumerate()
            .map(|(i, listener)| listener.local(i))
            .map(|local| ServerAddress { name: local.name, port: local.port })
            .collect();
        let log_keys = access_log.as_ref().map_or_else(Vec::new, |(_, keys)| keys.clone());
        let access_log = access_log.map(|(log, _)| Arc::new(log));
        let network = Poller::new(listeners, settings.clone(), access_log.clone())?;
        let multiprocess = Arc::new(AtomicBool::new(multiprocess));
        let wsgi = Wsgi::new(py, app, &servers, &settings, multiprocess.clone(), log_keys)?;
        let shared = Arc::new(Shared {
            dispatcher: Dispatcher::new(network, parallelism(py), settings.clone(), multiprocess),
            wsgi,
            begun: OnceLock::new(),
            watch: Watch::new(settings.threads, settings.timeouts.request),
            settings,
            access_log,
        });
        let mut server = Server {
            shared,
            runners: Vec::new(),
            sentinel: None,
            addresses,
            at_exit: None,
            given_up: Arc::default(),
            process: std::process::id(),
        };
        let started = server
            .start_threads(py)
            .and_then(|()| server.mind_exit(py))
            .and_then(|()| Ok(ready()?));
        if started.is_err() {
            server.stop();
        }
        // From here on the application runs, and in this thread the handlers of its signals.
        server.shared.begun.set(()).ok();
        if let Err(failure) = started {
            server.join(py, None)?;
            return Err(failure);
        }
        Ok(server)
    }

    /// Threads of Python's own making, so that they have names and are known to `threading`, and their
    /// thread-local data lives as long as they do.
    fn start_threads(&mut self, py: Python<'_>) -> Result<(), StartError> {
        let thread = py.import("threading")?.getattr("Thread")?;
        let shared = self.shared.clone();
        let sentinel = std::thread::Builder::new().name("rustwsgi-sentinel".into());
        let watch = move || {
            shared.begun.wait();
            shared.dispatcher.watch();
        };
        self.sentinel = Some(without_signals(|| sentinel.spawn(watch))?);
        for index in 0..self.shared.settings.threads {
            let shared = self.shared.clone();
            let target =
                PyCFunction::new_closure(py, Some(c"rustwsgi_runner"), None, move |args, _| {
                    worker_thread::run(args.py(), &shared, index)
                })?;
            let options = PyDict::new(py);
            options.set_item("target", target)?;
            options.set_item("name", format!("rustwsgi-{index}"))?;
            options.set_item("daemon", true)?;
            let runner = thread.call((), Some(&options))?;
            runner.call_method0("start")?;
            self.runners.push(runner.unbind());
        }
        Ok(())
    }

    /// Makes sure that no thread is inside the application when the interpreter goes away beneath it, which
    /// CPython before 3.14 answers by ending the thread in a way that no foreign frame survives.
    fn mind_exit(&mut self, py: Python<'_>) -> Result<(), StartError> {
        let shared = self.shared.clone();
        let runners: Vec<_> = self.runners.iter().map(|runner| runner.clone_ref(py)).collect();
        let process = self.process;
        let given_up = self.given_up.clone();
        let leave = move |args: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
            if std::process::id() != process {
                return Ok(());
            }
            let py = args.py();
            shared.dispatcher.handle.stop();
            let patience = match given_up.load(Ordering::Relaxed) {
                true => Duration::ZERO,
                false => shared.settings.timeouts.graceful,
            };
            if !join_all(py, &runners, Some(patience))? {
                warn!("the program ends while requests are still running");
                leave_now(py, 1);
            }
            PyResult::Ok(())
        };
        let leave = PyCFunction::new_closure(py, Some(c"rustwsgi_at_exit"), None, leave)?;
        py.import("atexit")?.call_method1("register", (&leave,))?;
        self.at_exit = Some(leave.into_any().unbind());
        Ok(())
    }

    /// What is listened on: the TCP address if it is one, and a URL for people.
    pub fn addresses(&self) -> &[(Option<SocketAddr>, String)] {
        &self.addresses
    }

    /// Stops accepting, lets requests in flight finish. Returns at once. Nothing in a forked process.
    pub fn stop(&self) {
        if self.is_ours() {
            self.shared.dispatcher.handle.stop();
        }
    }

    /// Requests that are still running have been waited for long enough: the program's end does not wait for
    /// them once more.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    fn is_ours(&self) -> bool {
        std::process::id() == self.process
    }

    /// The same for a process that another one replaces: connections that wait for their next request may
    /// still make it. Returns at once.
    pub fn retire(&self) {
        self.shared.dispatcher.handle.retire();
    }

    /// From now on other processes serve the same, or none does.
    pub fn set_multiprocess(&self, are_there: bool) {
        self.shared.dispatcher.set_multiprocess(are_there);
    }

    /// Says in the error log how often each bound was reached.
    pub fn report(&self) {
        info!("Bounds reached since the start: {}", self.shared.dispatcher.handle.counters);
    }

    /// Requests that were answered.
    pub fn served(&self) -> u64 {
        self.shared.watch.served()
    }

    /// Warns of the requests that nobody waits for any more.
    pub fn tell_what_runs(&self, py: Python<'_>) {
        let running = self.shared.wsgi.running(py);
        let running = match running.is_empty() {
            true => "no request was running, but clients were still sending or reading".to_owned(),
            false => format!("still running: {}", running.join(", ")),
        };
        warn!("Shut down after the graceful timeout; {running}");
    }

    /// Interrupts requests that have run too long. Returns whether one goes on in spite of that. To be
    /// called once a second.
    pub fn interrupt_overdue(&self, py: Python<'_>) -> PyResult<bool> {
        self.shared.watch.check(py, &self.runners)
    }

    /// Writes what waits for the access log, if there is one, and goes on with another file.
    pub fn redirect_access_log(&self, sink: Sink) {
        if let Some(log) = &self.shared.access_log {
            log.redirect(sink);
        }
    }

    /// Waits until all requests have finished and all threads have ended, or `limit` is over. Returns
    /// whether they have. Other Python threads run meanwhile. In a forked process there is nothing to wait for.
    pub fn join(&mut self, py: Python<'_>, limit: Option<Duration>) -> PyResult<bool> {
        if !self.is_ours() {
            return Ok(true);
        }
        if !join_all(py, &self.runners, limit)? {
            return Ok(false);
        }
        if let Some(leave) = self.at_exit.take() {
            py.import("atexit")?.call_method1("unregister", (leave,))?;
        }
        if let Some(sentinel) = self.sentinel.take() {
            py.detach(|| sentinel.join()).ok();
            if !self.shared.dispatcher.handle.counters.are_zero() {
                self.report();
            }
        }
        if let Some(log) = &self.shared.access_log {
            log.flush();
        }
        Ok(true)
    }
}

/// How many threads the interpreter can run at a time: one, unless it has no GIL.
fn parallelism(py: Python<'_>) -> usize {
    let enabled = || py.import("sys")?.call_method0("_is_gil_enabled")?.is_truthy();
    match enabled() {
        Ok(false) => std::thread::available_parallelism().map_or(1, usize::from),
        // Enabled, or a Python that has no other way.
        _ => 1,
    }
}

/// Waits for threads to end, `limit` long at most; returns whether all have.
fn join_all(py: Python<'_>, threads: &[Py<PyAny>], limit: Option<Duration>) -> PyResult<bool> {
    let end = limit.and_then(|limit| Instant::now().checked_add(limit));
    // Whichever it is: the others do not end before the request that asks.
    let current = py.import("threading")?.call_method0(intern!(py, "current_thread"))?;
    if threads.iter().any(|thread| thread.is(&current)) {
        return Err(PyRuntimeError::new_err("a request cannot wait for its own server to stop"));
    }
    for thread in threads {
        let thread = thread.bind(py);
        let left = end.map(|end| end.saturating_duration_since(Instant::now()).as_secs_f64());
        // Called every second: names that are made anew would fill the interpreter's cache of attributes.
        thread.call_method1(intern!(py, "join"), (left,))?;
        if thread.call_method0(intern!(py, "is_alive"))?.is_truthy()? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Ends the process without waiting for threads that are stuck in the application: Python's own shutdown
/// could wait for them for ever.
pub fn leave_now(py: Python<'_>, code: i32) {
    for stream in ["stdout", "stderr"] {
        let _ = py.import("sys").and_then(|sys| sys.getattr(stream)?.call_method0("flush"));
    }
    let _ = py.import("os").and_then(|os| os.call_method1("_exit", (code,)));
}

fn open_access_log(settings: &Settings) -> Result<Option<Sink>, StartError> {
    let Some(AccessLogSettings { target, .. }) = &settings.access_log else { return Ok(None) };
    let sink =
        Sink::open(target).map_err(|failure| anyhow!("{target}; {}: {failure}", remedy(&failure)));
    sink.map(Some).map_err(StartError::AccessLog)
}

/// The log, and the keys of the environ that it needs.
fn format_access_log(
    settings: &AccessLogSettings,
    sink: Sink,
) -> Result<(AccessLog, Vec<String>), StartError> {
    let format =
        Format::parse(&settings.format).map_err(|error| StartError::AccessLog(error.into()))?;
    let keys = format.environ_keys().to_vec();
    Ok((AccessLog::new(&settings.target, format, sink), keys))
}
