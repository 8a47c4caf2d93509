//! The start of the master, up to the first fork.

use std::ffi::OsString;
use std::sync::Arc;

use log::error;
use pyo3::prelude::*;
use rustix::fs::Mode;

use super::stage::{Stage, Start};
use super::state::{CAUGHT, Master, MasterExit, hook_number};
use crate::config::{Bind, Loaded, Settings};
use crate::net::keep_in_children;
use crate::observe::{as_line, text_of};
use crate::supervisor::acme::Acme;
use crate::supervisor::admin::Admin;
use crate::supervisor::background::Launcher;
use crate::supervisor::deployment::{Deployment, Origin, check_paths, read_certificates};
use crate::supervisor::entrypoints::Entrypoints;
use crate::supervisor::exit_status::oom_kills;
use crate::supervisor::guard::Guarded;
use crate::supervisor::hand_overs::HandOvers;
use crate::supervisor::hooks::Hooks;
use crate::supervisor::identity::{self, Identity};
use crate::supervisor::import_guard::ImportGuard;
use crate::supervisor::log_files::LogFiles;
use crate::supervisor::pacing::SourceReload;
use crate::supervisor::path_trust::WorkerUsers;
use crate::supervisor::pidfile::{self, Pidfile};
use crate::supervisor::reloads::Reloads;
use crate::supervisor::signals::Signals;
use crate::supervisor::sockets::{INHERITED_SOCKETS, Sockets};
use crate::supervisor::successor::{self, Predecessor};
use crate::supervisor::systemd::{self, Notifier};
use crate::supervisor::workers::Workers;
use crate::sys::cpus::Cpus;
use crate::worker::close_in_children;

impl<'a> Master<'a> {
    /// Opens sockets, logs and the pid file, and detaches from the terminal with `--daemon`.
    pub(in crate::supervisor) fn start(
        py: Python<'_>,
        argv: &'a [OsString],
        loaded: Loaded,
        hooks: Hooks,
        entrypoints: Entrypoints,
    ) -> Result<Master<'a>, MasterExit> {
        let Loaded { settings, warnings, .. } = loaded;
        let settings = Arc::new(settings);
        // Before detaching, so that mistakes are reported on the terminal.
        check_paths(&settings).map_err(|(code, reason)| refuse(code, &reason))?;
        let identity = Identity::resolve(py, &settings.processes)
            .map_err(|failure| refuse(1, &failure.value(py)))?;
        let (worker_users, import_guard) = draw_boundary(py, &settings, identity.as_ref())?;
        let tls = read_certificates(&settings, None).map_err(|reason| refuse(1, &reason))?;
        let predecessor = Predecessor::of_this_process();
        let is_launched = settings.processes.daemon && predecessor.is_none();
        let launcher =
            is_launched.then(|| Launcher::detach(py, &settings.error_log)).transpose()?;
        let umask = take_umask(&settings);
        let signals = Signals::catch(py, CAUGHT)?;
        let mut pidfile = create_pidfile(&settings, predecessor.is_some())?;
        let cpus = Cpus::of_this_process();
        let target = settings.processes.workers.number(cpus.usable());
        call_start_hooks(py, &hooks, target)?;
        let (sockets, activated) = open_sockets(&settings)?;
        let admin = Admin::open(&settings).map_err(|failure| refuse(1, &format!("{failure:#}")))?;
        clear_environment(py, predecessor.as_ref())?;
        give_sockets(identity.as_ref(), &sockets)?;
        identity::set_process_title(py, "master", &settings);
        let access = LogFiles::open_access(py, &settings, identity.as_ref());
        let access = access.map_err(|reason| refuse(1, &reason))?;
        let log_files = LogFiles { error: None, access }; // the error log is open already
        let origin = Origin { argv, entrypoints, settings: settings.clone(), umask, activated };
        let deployment = Deployment {
            settings,
            warnings,
            hooks,
            identity,
            sockets,
            tls,
            log_files,
            cpus,
            target,
        };
        Ok(Master {
            origin,
            deployment,
            stage: Stage::Starting(Start { launcher, has_survived_reload: false }),
            workers: Workers::default(),
            reloads: Reloads::default(),
            acme: Acme::new(),
            hand_overs: HandOvers::default(),
            worker_users,
            import_guard,
            source_reload: SourceReload::default(),
            signals,
            admin,
            notifier: Notifier::new(),
            pidfile: pidfile.0.take(),
            app: None,
            oom_kills: oom_kills(),
            successor: None,
            predecessor,
        })
    }

    /// Imports the application in the master (`--preload`).
    pub(super) fn preload(&mut self, py: Python<'_>) -> Result<(), MasterExit> {
        let processes = &self.deployment.settings.processes;
        if !processes.preload {
            if processes.gc_freeze {
                freeze_objects(py);
            }
            return Ok(());
        }
        // The application is imported as root, because --preload says so, but only now.
        self.import_guard.remove(py)?;
        let directory = std::env::current_dir()?;
        let Master { signals, origin, deployment, stage, pidfile, admin, .. } = &mut *self;
        let before_exit = |code| {
            pidfile.iter().for_each(Pidfile::remove);
            deployment.sockets.remove_files();
            admin.iter().flat_map(Admin::sockets).for_each(|(_, sockets)| sockets.remove_files());
            stage.launcher().iter().for_each(|launcher| launcher.report_failure(code));
        };
        let guarded = Guarded {
            what: "importing the application",
            limit: deployment.settings.timeouts.boot,
            before_exit: &before_exit,
        };
        // Until now a child was a process of the application; from now on it is a worker.
        let of_master = || admin.iter().flat_map(Admin::sockets);
        let of_master = || of_master().flat_map(|(_, sockets)| sockets.listeners());
        close_in_children(py, deployment.sockets.listeners().chain(of_master()))?;
        let load = || (origin.entrypoints.load)(py, &deployment.settings, &deployment.hooks);
        let loaded = signals.run_guarded(py, &guarded, load)?;
        keep_in_children(deployment.sockets.listeners().chain(of_master()));
        // --chdir is for the application, in the workers. The master stays in the start directory:
        // a reload and a new master resolve the paths of the command line there.
        std::env::set_current_dir(directory)?;
        self.app = Some(loaded.map_err(|failure| {
            failure.log();
            MasterExit::Code(failure.code)
        })?);
        self.import_guard = ImportGuard::install(py, &self.worker_users)?;
        Ok(())
    }
}

/// Keeps the workers' garbage collector from writing to the objects that they inherit: each page of
/// them would be copied, which takes half a MiB for each worker. A failure costs only that.
fn freeze_objects(py: Python<'_>) {
    let _ = py.import("gc").and_then(|gc| gc.call_method0("freeze"));
}

/// From now on the master, which is root, uses nothing that the workers' user can change.
fn draw_boundary(
    py: Python<'_>,
    settings: &Settings,
    user: Option<&Identity>,
) -> Result<(WorkerUsers, ImportGuard), MasterExit> {
    let mut users = WorkerUsers::default();
    users.add(user);
    if let Some(path) = &settings.processes.pidfile {
        users.check_pidfile(path).map_err(|reason| refuse(1, &reason))?;
    }
    if let Some(path) = &settings.observability.control_socket {
        users.check_control_socket(path).map_err(|reason| refuse(1, &reason))?;
    }
    if let Some(path) = settings.tls.acme.used_cache() {
        users.check_cache(path).map_err(|reason| refuse(1, &reason))?;
    }
    let guard = ImportGuard::install(py, &users)?;
    Ok((users, guard))
}

/// The pid file of a start that may fail yet, and removes it then.
struct PidfileClaim(Option<Pidfile>);

impl Drop for PidfileClaim {
    fn drop(&mut self) {
        self.0.iter().for_each(Pidfile::remove);
    }
}

/// Sets the mask of the settings, and returns the one that the process was started with.
fn take_umask(settings: &Settings) -> Mode {
    let umask = rustix::process::umask(Mode::empty());
    identity::set_umask(settings, umask);
    umask
}

fn create_pidfile(
    settings: &Settings,
    beside_another_master: bool,
) -> Result<PidfileClaim, MasterExit> {
    let path = settings.processes.pidfile.as_deref();
    let created = path.map(|path| match beside_another_master {
        true => Pidfile::create(&pidfile::second(path)),
        false => Pidfile::create(path),
    });
    let created = created.transpose().map_err(|failure| refuse(1, &format!("{failure:#}")))?;
    Ok(PidfileClaim(created))
}

fn call_start_hooks(py: Python<'_>, hooks: &Hooks, workers: usize) -> Result<(), MasterExit> {
    // gunicorn calls this hook for the initial number of workers as well.
    hooks.call(py, "nworkers_changed", &[hook_number(workers), -1]);
    hooks
        .try_call(py, "on_starting", &[])
        .map_err(|failure| refuse(1, &format_args!("the hook on_starting failed: {failure}")))
}

/// Opens the sockets. Also returns the addresses of systemd's sockets, which replace those of the
/// settings.
fn open_sockets(settings: &Settings) -> Result<(Sockets, Option<Vec<Bind>>), MasterExit> {
    let inherited = Sockets::inherited(INHERITED_SOCKETS, settings.backlog);
    // A new master inherits the sockets that systemd passed to the old one.
    let activated = systemd::activated().or_else(|| inherited.passed_descriptors(settings));
    let binds = activated.as_ref().unwrap_or(&settings.binds);
    let sockets = Sockets::open(binds, settings, &inherited)
        .map_err(|failure| refuse(1, &format!("{failure:#}")))?;
    Ok((sockets, activated))
}

fn give_sockets(owner: Option<&Identity>, sockets: &Sockets) -> Result<(), MasterExit> {
    let given = owner.map_or(Ok(()), |owner| owner.give_sockets(sockets.listeners()));
    given.map_err(|failure| refuse(1, &format!("{failure:#}")))
}

/// Removes the variables that are meant for this process only, not for the application.
fn clear_environment(py: Python<'_>, predecessor: Option<&Predecessor>) -> PyResult<()> {
    let environ = py.import("os")?.getattr("environ")?;
    if let Some(predecessor) = predecessor {
        systemd::take_over_watchdog(&environ, predecessor.id())?;
    }
    for name in successor::VARIABLES.iter().chain(&systemd::VARIABLES) {
        environ.call_method1("pop", (name, py.None()))?;
    }
    Ok(())
}

/// Logs why the server does not start.
fn refuse(code: i32, reason: &dyn std::fmt::Display) -> MasterExit {
    error!(target: "server.not_started", "{}", as_line(&text_of(&reason)));
    MasterExit::Code(code)
}
