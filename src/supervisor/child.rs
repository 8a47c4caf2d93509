//! A worker's life, from the fork to its exit code.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};
use pyo3::prelude::*;

use super::background;
use super::channel::{
    self, ACCESS_LOG, ALONE, BROKEN, CHANGED, ERROR_LOG, READY, RETIRE, SIBLINGS, WORN,
};
use super::hooks::Hooks;
use super::identity::{self, Identity};
use super::pulse::Pulse;
use super::signals::{self, Signals};
use super::wear::Wear;
use super::{Entrypoints, LoadFailure};
use crate::config::{AccessLogSettings, Settings};
use crate::net::Listener;
use crate::observe::{self, LogTarget, Sink};
use crate::worker::{Application, Server, ServerParts, StartError, close_in_children, exit_now};

/// TERM finishes what was begun, INT and QUIT do not wait for it, USR1 asks for the counters.
const CAUGHT: &[i32] = &[libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGUSR1];
/// How often a worker looks whether its server is still there.
const LOOK: Duration = Duration::from_secs(1);
/// The same while it is stopping.
const LOOK_STOPPING: Duration = Duration::from_millis(20);
/// How long responses that are complete may take to leave when nothing is waited for.
const QUICK: Duration = Duration::from_millis(100);

/// What a worker is born with.
pub(super) struct Birth {
    /// To the master. It ends when the master does.
    pub(super) channel: UnixStream,
    pub(super) settings: Arc<Settings>,
    /// The file of the access log.
    pub(super) access_log: Option<File>,
    /// The user and group that it is to run as.
    pub(super) identity: Option<Identity>,
    pub(super) pulse: Pulse,
    pub(super) hooks: Hooks,
    /// The application, if the master has imported it.
    pub(super) app: Option<Py<PyAny>>,
    /// Others serve beside it.
    pub(super) multiprocess: bool,
    /// The terminal is let go of once it is ready.
    pub(super) in_background: bool,
}

/// Boots, serves, and returns the exit code.
pub(super) fn run(
    py: Python<'_>,
    mut birth: Birth,
    listeners: Vec<Listener>,
    entrypoints: Entrypoints,
) -> i32 {
    info!("Booting worker with pid: {}", std::process::id());
    // The stacks of all threads on standard error, should a C extension crash or the master lose patience.
    let _ = py.import("faulthandler").and_then(|module| module.call_method0("enable"));
    // An application may fork while it is imported.
    if let Err(failure) = close_in_children(py, &listeners) {
        error!("{failure}");
        return 1;
    }
    if let Err(failure) = birth.hooks.try_call(py, "post_fork", &[]) {
        error!("the hook post_fork failed: {failure}");
        return 3;
    }
    if let Some(identity) = &birth.identity
        && let Err(failure) = identity.assume(py)
    {
        error!("cannot become the user that --user and --group name: {failure}");
        return 1;
    }
    identity::set_name(py, "worker", &birth.settings);
    let loaded = match load(py, &mut birth, entrypoints) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let hooks = birth.hooks.share(py);
    let served = serve(py, birth, loaded, listeners);
    hooks.call(py, "worker_exit", &[]);
    match served {
        Ok(code) => code,
        Err(failure) => {
            error!("{failure}");
            1
        }
    }
}

/// For development: what is served while the application does not load, and the files to be mended.
fn broken(py: Python<'_>, failure: &LoadFailure, files: &mut Vec<PathBuf>) -> PyResult<Py<PyAny>> {
    let module = py.import("rustwsgi._reload")?;
    let (app, mentioned): (Py<PyAny>, Vec<PathBuf>) =
        module.call_method1("error_application", (&failure.text,))?.extract()?;
    files.extend(mentioned);
    Ok(app)
}

fn watch(py: Python<'_>, files: Vec<PathBuf>) -> PyResult<Py<PyAny>> {
    Ok(py.import("rustwsgi._reload")?.call_method1("Watcher", (files,))?.unbind())
}

/// What is served, and what tells that it should be loaded anew.
struct Loaded {
    app: Py<PyAny>,
    /// It only says why the application does not load.
    broken: bool,
    watcher: Option<Py<PyAny>>,
}

/// Imports the application, if the master has not. An error is the exit code.
fn load(py: Python<'_>, birth: &mut Birth, entrypoints: Entrypoints) -> Result<Loaded, i32> {
    let mut watched = birth.settings.processes.watch.clone();
    let preloaded = birth.app.take();
    if let (Some(_), Some(directory)) = (&preloaded, &birth.settings.chdir)
        && let Err(failure) = std::env::set_current_dir(directory)
    {
        error!("cannot change to the directory {directory:?} of --chdir: {failure}");
        return Err(2);
    }
    let app = preloaded.map_or_else(|| (entrypoints.load)(py, &birth.settings), Ok);
    let failed = app.is_err();
    let app = app.or_else(|failure| match &mut watched {
        Some(files) => broken(py, &failure, files).map_err(|_| failure.code),
        None => Err(failure.code),
    })?;
    let watcher = watched.map(|files| watch(py, files)).transpose().map_err(|failure| {
        error!("--reload: {failure}");
        1
    })?;
    Ok(Loaded { app, broken: failed, watcher })
}

fn serve(
    py: Python<'_>,
    birth: Birth,
    loaded: Loaded,
    listeners: Vec<Listener>,
) -> Result<i32, StartError> {
    let Birth {
        channel,
        settings,
        mut access_log,
        pulse,
        hooks,
        mut multiprocess,
        in_background,
        ..
    } = birth;
    let Loaded { app, broken, watcher } = loaded;
    channel.set_nonblocking(true)?;
    let signals = Signals::catch(py, CAUGHT)?;
    let app = hooks.worker_init(py, app)?;
    pulse.beat();
    let ready = || {
        // Not before: until now there may have been a reason to tell why it does not start.
        if in_background {
            background::let_go(py);
        }
        if broken {
            channel::say(&channel, BROKEN)?;
        }
        channel::say(&channel, READY)
    };
    let app = Application::new(app, hooks.around(py)?);
    // What was said meanwhile: until it serves, only this.
    while let Ok(Some(word)) = channel::hear(&channel) {
        match (word.byte, word.file) {
            (ERROR_LOG, Some(file)) => observe::redirect(Sink::from(file)),
            (ACCESS_LOG, Some(file)) => access_log = Some(file),
            (ERROR_LOG | ACCESS_LOG, None) => log_was_lost(word.byte),
            (SIBLINGS | ALONE, _) => multiprocess = word.byte == SIBLINGS,
            _ => {}
        }
    }
    let access_log = settings.access_log.as_ref().map(|log| access_sink(log, access_log));
    let access_log = access_log.transpose()?;
    let parts =
        ServerParts { app, listeners, access_log, settings: settings.clone(), multiprocess };
    let server = Server::start_with(py, parts, ready)?;
    let mut worker = Worker {
        signals,
        server,
        channel: Some(channel),
        wear: Wear::new(&settings.processes.recycling),
        worn: false,
        pulse,
        hooks,
        watcher,
        settings,
        stopping: None,
    };
    Ok(worker.work(py)?)
}

/// A file is one that the master has opened; without it neither a start nor a reload comes to this.
fn access_sink(log: &AccessLogSettings, file: Option<File>) -> std::io::Result<Sink> {
    match (&log.target, file) {
        (LogTarget::File(_), Some(file)) => Ok(Sink::from(file)),
        (LogTarget::File(_), None) => Ok(Sink::nowhere()),
        (stream, _) => Sink::open(stream),
    }
}

/// The kernel drops a file for which this process has no descriptor left.
fn log_was_lost(which: u8) {
    let which = if which == ERROR_LOG { "error" } else { "access" };
    error!(
        "worker {} has no descriptor left for the new {which} log, and goes on with the old one: raise \
         LimitNOFILE, and send USR1 again",
        std::process::id()
    );
}

/// A worker that serves.
struct Worker {
    hooks: Hooks,
    /// Looks for changed files, if that is wanted.
    watcher: Option<Py<PyAny>>,
    signals: Signals,
    server: Server,
    /// To the master; `None` once that is gone.
    channel: Option<UnixStream>,
    wear: Wear,
    /// The master has been asked for a successor.
    worn: bool,
    pulse: Pulse,
    settings: Arc<Settings>,
    /// It goes, and this is when it stops waiting for requests; `None` inside is never.
    stopping: Option<Option<Instant>>,
}

impl Worker {
    fn work(&mut self, py: Python<'_>) -> PyResult<i32> {
        loop {
            let limit = if self.stopping.is_some() { LOOK_STOPPING } else { LOOK };
            let channel: Vec<_> = self.channel.iter().map(AsFd::as_fd).collect();
            self.signals.wait(py, &channel, Some(limit))?;
            // What the application does with its own signals it may do in any of these steps, as they run
            // Python code. What is cut short is done by the next turn.
            match self.turn(py) {
                Ok(None) => {}
                Ok(Some(code)) => return Ok(code),
                Err(failure) => signals::shrug(py, failure)?,
            }
        }
    }

    /// Does what there is to do; returns the exit code if that was the end.
    fn turn(&mut self, py: Python<'_>) -> PyResult<Option<i32>> {
        let signals = self.signals.take();
        // New log files were sent before the signal whose answer goes there.
        self.listen_to_master();
        for signal in signals {
            match signal {
                libc::SIGUSR1 => self.server.log_counters(),
                // However often: it may come from the master, and from whoever ends all
                // processes of a service or a terminal.
                libc::SIGTERM => {
                    self.server.stop();
                    self.begin_to_stop();
                }
                libc::SIGINT | libc::SIGQUIT => {
                    self.server.stop();
                    self.hooks.call(py, "worker_int", &[self.count()]);
                    let _ = self.server.join(py, Some(QUICK));
                    self.hooks.call(py, "worker_exit", &[self.count()]);
                    exit_now(py, 0);
                    return Ok(Some(0));
                }
                // The application's own.
                _ => {}
            }
        }
        self.pulse.beat();
        self.look_at_wear(py)?;
        self.look_at_files(py)?;
        if self.server.join(py, Some(Duration::ZERO))? {
            self.hooks.call(py, "served", &[self.count()]);
            if self.stopping.is_some() {
                info!("Worker exiting (pid: {})", std::process::id());
                let threads = py.import("rustwsgi._lingering_threads");
                let _ = threads.and_then(|module| module.call_method0("report_soon"));
                return Ok(Some(0));
            }
            error!("the server has stopped by itself");
            return Ok(Some(1));
        }
        if self.stopping.flatten().is_some_and(|end| Instant::now() >= end) {
            self.server.warn_of_running_requests(py);
            self.hooks.call(py, "worker_exit", &[self.count()]);
            exit_now(py, 0);
            return Ok(Some(0));
        }
        Ok(None)
    }

    /// Requests so far.
    fn count(&self) -> i64 {
        self.server.requests_served().try_into().unwrap_or(i64::MAX)
    }

    /// Asks for a successor if this worker has served enough, or has a thread that nobody gets back.
    fn look_at_wear(&mut self, py: Python<'_>) -> PyResult<()> {
        let stuck = self.server.end_overdue_requests(py)?;
        if self.worn || self.stopping.is_some() {
            return Ok(());
        }
        let reason = match stuck {
            true => Some("one of its requests does not end".to_owned()),
            false => self.wear.reason(self.server.requests_served()),
        };
        if let (Some(reason), Some(channel)) = (reason, self.channel.as_ref()) {
            if stuck {
                // gunicorn's workers hear of it by a signal; this one has found out by itself.
                self.hooks.call(py, "worker_abort", &[self.count()]);
            }
            info!("worker {} is replaced: {reason}", std::process::id());
            self.worn = channel::say(channel, WORN).is_ok();
        }
        Ok(())
    }

    /// Asks for a reload if a source file has changed.
    fn look_at_files(&mut self, py: Python<'_>) -> PyResult<()> {
        let (Some(watcher), Some(channel)) = (&self.watcher, self.channel.as_ref()) else {
            return Ok(());
        };
        let changed: Option<String> = watcher.bind(py).call_method0("changed")?.extract()?;
        if let Some(path) = changed
            && self.stopping.is_none()
        {
            info!("{path} has changed");
            let _ = channel::say(channel, CHANGED);
        }
        Ok(())
    }

    fn listen_to_master(&mut self) {
        while let Some(heard) = self.channel.as_ref().map(channel::hear) {
            match heard {
                Ok(Some(word)) => match (word.byte, word.file) {
                    (ERROR_LOG, Some(file)) => observe::redirect(Sink::from(file)),
                    (ACCESS_LOG, Some(file)) => self.server.redirect_access_log(Sink::from(file)),
                    (ERROR_LOG | ACCESS_LOG, None) => log_was_lost(word.byte),
                    (SIBLINGS | ALONE, _) => self.server.set_multiprocess(word.byte == SIBLINGS),
                    (RETIRE, _) => {
                        self.server.retire();
                        self.begin_to_stop();
                    }
                    _ => {}
                },
                Ok(None) => {
                    // Nobody would start a successor, and whoever starts another server wants the address.
                    warn!("the master is gone: worker {} ends", std::process::id());
                    self.channel = None;
                    self.server.stop();
                    self.begin_to_stop();
                }
                Err(_) => return,
            }
        }
    }

    fn begin_to_stop(&mut self) {
        let end = Instant::now().checked_add(self.settings.timeouts.graceful);
        self.stopping.get_or_insert(end);
    }
}
