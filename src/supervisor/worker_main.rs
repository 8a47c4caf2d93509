//! The boot of a worker, from the fork until it serves: changes the user, imports the application,
//! and starts the server.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use log::{debug, error, info, warn};
use pyo3::exceptions::PySystemExit;
use pyo3::prelude::*;

use super::background;
use super::boot_reports::BootReports;
use super::certificates;
use super::conflict;
use super::entrypoints::{Entrypoints, LoadFailure};
use super::heartbeat::{Heartbeat, Progress};
use super::hooks::Hooks;
use super::identity::{self, Identity};
use super::import_guard::ImportGuard;
use super::messages::{FromWorker, Log, Malformed, Received, ToWorker};
use super::recycling::RecyclingLimits;
use super::source_watch::{Preparation, SourceWatch};
use super::worker_loop::{Ended, Stage, Worker, report_lost_log};
use super::worker_signals::{self, SignalReceiver, WorkerSignals};
use crate::config::{AccessLogSettings, Settings};
use crate::net::{Listener, Membership, Tls};
use crate::observe::{self, LogTarget, Sink, WorkerSlot};
use crate::sys::signals::SignalMask;
use crate::worker::{
    Application, ControlThread, Inspector, KnownThreads, Server, ServerParts, StartError,
    close_in_children, exit_now,
};

/// The exit code of a worker that cannot set itself up.
const SETUP_FAILED: i32 = 1;
/// The exit code of a worker with a mistake in its options.
const USAGE_ERROR: i32 = 2;
/// The exit code of a worker that cannot boot, as in gunicorn.
const BOOT_FAILED: i32 = 3;

/// The values that a worker gets from the master.
pub(super) struct WorkerContext {
    /// The channel to the master. It is closed when the master exits.
    pub(super) channel: UnixStream,
    pub(super) settings: Arc<Settings>,
    /// The certificates, if there are any.
    pub(super) tls: Option<Arc<Tls>>,
    /// The file of the access log.
    pub(super) access_log: Option<File>,
    /// The user and group to run as; `None` if they are the master's.
    pub(super) identity: Option<Identity>,
    pub(super) heartbeat: Heartbeat,
    /// The hand-over of requests between the workers, if the system has it.
    pub(super) hand_over: Option<Membership>,
    /// Shows the master what the worker does, with `--metrics` or `--control-socket`.
    pub(super) slot: Option<Arc<WorkerSlot>>,
    /// The channel to its inspector, with `--control-socket`.
    pub(super) inspection: Option<UnixStream>,
    pub(super) boot_reports: Arc<BootReports>,
    pub(super) hooks: Hooks,
    /// The master's, until this process is the workers' user.
    pub(super) import_guard: ImportGuard,
    /// The application, if the master has imported it.
    pub(super) app: Option<Py<PyAny>>,
    /// Other workers serve beside it.
    pub(super) multiprocess: bool,
    /// It boots beside the worker that it replaces, which may hold what the application needs.
    pub(super) has_predecessor: bool,
    /// Stop writing to the terminal once ready (`--daemon`).
    pub(super) detaches: bool,
}

/// The first line of a worker, which is gunicorn's.
pub(super) fn booting(pid: u32) -> String {
    format!("Booting worker with pid: {pid}")
}

/// Boots, serves, and returns the exit code.
pub(super) fn run(
    py: Python<'_>,
    mut context: WorkerContext,
    listeners: Vec<Listener>,
    entrypoints: Entrypoints,
) -> i32 {
    // While the master holds back the lines of the start, it writes this one too.
    if !observe::forget_start() {
        info!(target: "worker.booting", "{}", booting(std::process::id()));
    }
    let signals = match WorkerSignals::install(py) {
        Ok(signals) => signals,
        Err(failure) => {
            error!(target: "worker.failed", "Cannot set signal handlers, exiting: {failure}");
            return SETUP_FAILED;
        }
    };
    if let Err(code) = set_up(py, &mut context, &listeners) {
        return code;
    }
    // From now on, for an import that hangs as well.
    let inspector = start_inspector(py, &mut context);
    let loaded = match load(py, &mut context, entrypoints) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let hooks = context.hooks.share(py);
    let (signals, receiver) = signals;
    let threads = inspector.as_ref().map(Inspector::threads);
    let served = serve(py, context, (&signals, receiver), loaded, (listeners, threads));
    drop(inspector);
    hooks.call(py, "worker_exit", &[]);
    served.unwrap_or_else(|failure| {
        if let StartError::Python(exit) = &failure
            && exit.is_instance_of::<PySystemExit>(py)
        {
            // Of a signal handler or hook: as in gunicorn, it is no failure.
            return worker_signals::code_of_exit(py, exit).unwrap_or(SETUP_FAILED);
        }
        error!(target: "worker.failed", "Worker {} failed, exiting: {failure}", std::process::id());
        SETUP_FAILED
    })
}

/// Prepares the process for the application. An error is the exit code.
fn set_up(py: Python<'_>, context: &mut WorkerContext, listeners: &[Listener]) -> Result<(), i32> {
    // Writes the stacks of all threads to standard error after a crash, and when the master sends
    // SIGABRT.
    let _ = py.import("faulthandler").and_then(|module| module.call_method0("enable"));
    // The application may fork while it is imported.
    close_in_children(py, listeners).map_err(|failure| {
        error!(target: "worker.failed", "Cannot register a fork hook, exiting: {failure}");
        SETUP_FAILED
    })?;
    context.hand_over.iter().for_each(Membership::close_in_children);
    if context.identity.is_some() {
        // Before the first hook: a thread that the hook starts inherits it, but nothing later.
        identity::forbid_new_privileges().map_err(|failure| {
            error!(target: "worker.failed", "Cannot set no_new_privs, exiting: {failure}");
            SETUP_FAILED
        })?;
    }
    context.hooks.try_call(py, "post_fork", &[]).map_err(|failure| {
        error!(target: "hook.failed", "The hook post_fork failed, exiting: {failure}");
        conflict::report(py, &context.channel, &failure);
        BOOT_FAILED
    })?;
    if let Some(identity) = &context.identity {
        identity.assume(py, &context.settings).map_err(|failure| {
            error!(
                target: "worker.failed",
                "Cannot change to the user and group of --user and --group, exiting: {failure}"
            );
            SETUP_FAILED
        })?;
    }
    context.import_guard.remove(py).map_err(|failure| {
        error!(target: "worker.failed", "Cannot allow all imports again, exiting: {failure}");
        SETUP_FAILED
    })?;
    identity::set_process_title(py, "worker", &context.settings);
    Ok(())
}

/// Starts what answers `rustwsgi ctl stacks` and `profile`, if there is a control socket.
fn start_inspector(py: Python<'_>, context: &mut WorkerContext) -> Option<Inspector> {
    let (channel, slot) = (context.inspection.take()?, context.slot.clone()?);
    Inspector::start(py, channel, slot, context.settings.threads)
        .inspect_err(|failure| {
            let pid = std::process::id();
            warn!(
                target: "control.inspector_failed",
                "Worker {pid} serves without an answer to ctl stacks and profile: {failure}"
            );
        })
        .ok()
}

/// The application that a worker serves.
struct Loaded {
    app: Py<PyAny>,
    /// Whether this is the error page of an application that failed to load.
    is_error_page: bool,
    /// Notices changed source files (`--reload`).
    watch: Option<SourceWatch>,
}

/// Imports the application, if the master has not. An error is the exit code.
fn load(
    py: Python<'_>,
    context: &mut WorkerContext,
    entrypoints: Entrypoints,
) -> Result<Loaded, i32> {
    let settings = &context.settings;
    let named = settings.processes.watch.clone();
    let preparation = named.as_ref().map(|_| Preparation::new(py)).transpose();
    let mut preparation = preparation.map_err(cannot_watch)?;
    let preloaded = context.app.take();
    if let (Some(_), Some(directory)) = (&preloaded, &settings.chdir) {
        std::env::set_current_dir(directory).map_err(|failure| {
            error!(
                target: "worker.failed",
                "Cannot change to the directory {directory:?} of --chdir, exiting: {failure}"
            );
            USAGE_ERROR
        })?;
    }
    let app = preloaded.map_or_else(|| import(py, context, entrypoints), Ok);
    if let Err(failure) = &app {
        context.boot_reports.report(std::process::id(), &failure.text(), || failure.log());
    }
    let is_error_page = app.is_err();
    let app = app.or_else(|failure| match &mut preparation {
        Some(watch) => watch.error_page(py, &failure.text()).map_err(|_| failure.code),
        None => {
            if failure.is_conflict {
                // Fails only if the master has exited.
                let _ = FromWorker::BootConflict.send(&context.channel);
            }
            Err(failure.code)
        }
    })?;
    let start =
        |watch: Preparation| watch.start(py, &app, named.unwrap_or_default(), &context.channel);
    let watch = preparation.map(start).transpose().map_err(cannot_watch)?;
    Ok(Loaded { app, is_error_page, watch })
}

/// Imports the application. If it goes on without what its predecessor seems to hold, such as the
/// port that guards a scheduler, the scheduler would end with the predecessor: then this worker
/// exits, for a second attempt after that end.
fn import(
    py: Python<'_>,
    context: &WorkerContext,
    entrypoints: Entrypoints,
) -> Result<Py<PyAny>, LoadFailure> {
    let watch = context.has_predecessor.then(|| conflict::Watch::start(py)).and_then(Result::ok);
    let app = (entrypoints.load)(py, &context.settings, &context.hooks);
    if let Some(missed) = watch.and_then(|watch| watch.end(py))
        && app.is_ok()
    {
        warn!(
            target: "worker.resource_missed",
            "Worker {} exits, because its application could not take {missed}",
            std::process::id()
        );
        // Fails only if the master has exited.
        let _ = FromWorker::BootConflict.send(&context.channel);
        // Ends, for example, processes that the import has started. Not Python's whole exit, which
        // waits for such threads.
        let _ = py.import("atexit").and_then(|module| module.call_method0("_run_exitfuncs"));
        exit_now(py, BOOT_FAILED);
    }
    app
}

fn cannot_watch(failure: PyErr) -> i32 {
    error!(target: "worker.failed", "Cannot watch files for --reload, exiting: {failure}");
    SETUP_FAILED
}

/// Starts the server, and serves until the worker ends. Returns the exit code.
fn serve(
    py: Python<'_>,
    mut context: WorkerContext,
    (signals, receiver): (&WorkerSignals, SignalReceiver),
    mut loaded: Loaded,
    (listeners, inspected): (Vec<Listener>, Option<Arc<KnownThreads>>),
) -> Result<i32, StartError> {
    context.channel.set_nonblocking(true)?;
    let mut parts = prepare(py, &mut context, signals, &loaded, listeners)?;
    parts.inspected = inspected;
    let report_ready = || {
        // Not earlier: until now, errors were reported on the terminal.
        if context.detaches {
            background::discard_output(py);
        }
        let control_thread = ControlThread::start(py)?;
        FromWorker::Ready { serves_error_page: loaded.is_error_page }.send(&context.channel)?;
        Ok(control_thread)
    };
    // From its report until the main thread serves, a worker runs no Python code: the exception of
    // a signal handler would end it with an error.
    let (server, control_thread) = Server::start_with(py, parts, report_ready)?;
    let main_thread = server.main_thread();
    let mut worker = Worker {
        signals: receiver,
        signal_mask: SignalMask::of_this_thread(),
        is_stopped_by_signal: false,
        server,
        main_thread: main_thread.clone(),
        channel: Some(context.channel),
        heartbeat: context.heartbeat,
        progress: Progress::default(),
        hooks: context.hooks,
        watch: loaded.watch.take(),
        limits: RecyclingLimits::new(&context.settings.processes.recycling),
        graceful_timeout: context.settings.timeouts.graceful,
        yield_timeout: context.settings.yield_timeout(),
        stage: Stage::Serving,
    };
    let control = move |py: Python<'_>| {
        let ended = worker.run(py);
        (worker, ended)
    };
    let (worker, ended) = main_thread.run(py, signals, control_thread, control)?;
    let code = match ended? {
        Ended::Served => worker.on_server_end(py, signals),
        Ended::Exited => 0,
    };
    Ok(signals.exit_code(py, code)?)
}

/// Completes what the server needs. From now on the signals stop it.
fn prepare(
    py: Python<'_>,
    context: &mut WorkerContext,
    signals: &WorkerSignals,
    loaded: &Loaded,
    listeners: Vec<Listener>,
) -> Result<ServerParts, StartError> {
    let app = context.hooks.worker_init(py, loaded.app.clone_ref(py));
    let app = app.inspect_err(|failure| conflict::report(py, &context.channel, failure))?;
    signals.begin_serving(py)?;
    context.heartbeat.beat();
    let app = Application::new(app, context.hooks.around_requests(py)?);
    receive_while_booting(py, context, signals);
    let (settings, access_file) = (&context.settings, context.access_log.take());
    let access_log = settings.access_log.as_ref().map(|log| access_sink(log, access_file));
    Ok(ServerParts {
        app,
        listeners,
        hand_over: context.hand_over.take(),
        slot: context.slot.take(),
        inspected: None,
        tls: context.tls.clone(),
        access_log: access_log.transpose()?,
        settings: settings.clone(),
        multiprocess: context.multiprocess,
        has_main_thread: true,
    })
}

/// Receives the messages that came while the application was imported.
fn receive_while_booting(py: Python<'_>, context: &mut WorkerContext, signals: &WorkerSignals) {
    while let Ok(Received::Data(message)) = ToWorker::receive(&context.channel) {
        match message {
            Ok(ToWorker::LogFile(Log::Error, file)) => observe::redirect(Sink::from(file)),
            Ok(ToWorker::LogFile(Log::Access, file)) => context.access_log = Some(file),
            Ok(ToWorker::Multiprocess(multiprocess)) => context.multiprocess = multiprocess,
            Ok(ToWorker::Certificates(file)) => {
                let renew = |bytes: &[u8]| match &context.tls {
                    Some(tls) => tls.replace_encoded(bytes),
                    None => Ok(()),
                };
                certificates::renew(&file, renew);
            }
            // Handled as soon as the worker serves.
            Ok(ToWorker::Stop { quick }) => {
                signals.request(if quick { libc::SIGINT } else { libc::SIGTERM });
            }
            // A handler of the application has received the signal that ends a booting worker.
            Ok(ToWorker::Retire | ToWorker::Yield) => exit_now(py, 0),
            Err(Malformed::MissingFile(log)) => report_lost_log(log),
            Err(Malformed::MissingCertificates) => certificates::report_lost(),
            Err(malformed) => debug!("The master sent a {malformed}: ignored"),
        }
    }
}

/// The sink of the access log. The master has opened the file: otherwise the start or the reload
/// fails earlier.
fn access_sink(log: &AccessLogSettings, file: Option<File>) -> io::Result<Sink> {
    match (&log.target, file) {
        (LogTarget::File(_), Some(file)) => Ok(Sink::from(file)),
        (LogTarget::File(_), None) => Ok(Sink::nowhere()),
        (stream, _) => Sink::open(stream),
    }
}
