//! What happens before the first fork: addresses, files, users, and the application if it is preloaded.

use std::ffi::OsString;
use std::sync::Arc;

use log::error;
use pyo3::prelude::*;
use rustix::fs::Mode;

use super::change::{self, set_umask};
use super::hear::count;
use super::{CAUGHT, Master, Stop};
use crate::config::Loaded;
use crate::net::keep_in_children;
use crate::supervisor::Entrypoints;
use crate::supervisor::background::Launcher;
use crate::supervisor::crew::Backoff;
use crate::supervisor::guard::Guarded;
use crate::supervisor::hooks::Hooks;
use crate::supervisor::identity::{self, Identity};
use crate::supervisor::pidfile::{self, Pidfile};
use crate::supervisor::process::memory_kills;
use crate::supervisor::signals::Signals;
use crate::supervisor::sockets::Sockets;
use crate::supervisor::successor::{Predecessor, VARIABLES};
use crate::supervisor::systemd::{self, Notifier};
use crate::worker::close_in_children;

impl<'a> Master<'a> {
    /// Binds and writes the pid file.
    pub(in crate::supervisor) fn new(
        py: Python<'_>,
        argv: &'a [OsString],
        loaded: Loaded,
        hooks: Hooks,
        entrypoints: Entrypoints,
    ) -> Result<Master<'a>, Stop> {
        let settings = Arc::new(loaded.settings);
        // While there is still a terminal to say it in.
        change::check(&settings).map_err(|(code, reason)| {
            error!("{reason}");
            Stop::Done(code)
        })?;
        let identity = Identity::resolve(py, &settings.processes)
            .map_err(|failure| refuse(anyhow::anyhow!("{}", failure.value(py))))?;
        let predecessor = Predecessor::of_this_process();
        let launcher = (settings.processes.daemon && predecessor.is_none())
            .then(|| Launcher::leave(py, &settings.error_log))
            .transpose()?;
        let umask = rustix::process::umask(Mode::empty());
        set_umask(&settings, umask);
        let signals = Signals::catch(py, CAUGHT)?;
        let pidfile = match &settings.processes.pidfile {
            Some(path) if predecessor.is_some() => Some(Pidfile::create(&pidfile::second(path))),
            Some(path) => Some(Pidfile::create(path)),
            None => None,
        }
        .transpose()
        .map_err(refuse)?;
        // gunicorn tells of the first number as well, which was none before.
        hooks.call(py, "nworkers_changed", &[count(settings.processes.workers), -1]);
        let mut pidfile = Claim(pidfile);
        if let Err(failure) = hooks.try_call(py, "on_starting", &[]) {
            return Err(refuse(anyhow::anyhow!("the hook on_starting failed: {failure}")));
        }
        let mut inherited = Sockets::inherited(settings.backlog);
        // A new master is told by the old one what that was told by systemd.
        let activated = systemd::activated().or_else(|| inherited.descriptors());
        let binds = activated.as_ref().unwrap_or(&settings.binds);
        let sockets = Sockets::open(binds, &settings, &mut inherited);
        let sockets = sockets.map_err(refuse)?;
        let environ = py.import("os")?.getattr("environ")?;
        if let Some(predecessor) = &predecessor {
            systemd::take_over_watchdog(&environ, predecessor.id())?;
        }
        for name in VARIABLES.iter().chain(&systemd::VARIABLES) {
            // No business of the application's.
            environ.call_method1("pop", (name, py.None()))?;
        }
        if let Some(identity) = &identity {
            identity.give_sockets(sockets.listeners()).map_err(refuse)?;
        }
        identity::set_name(py, "master", &settings);
        let target = settings.processes.workers;
        let mut master = Master {
            argv,
            began: settings.clone(),
            settings,
            warnings: loaded.warnings,
            umask,
            entrypoints,
            hooks,
            born: 0,
            signals,
            sockets,
            activated,
            notifier: Notifier::new(),
            access_log: None,
            pidfile: None,
            members: Vec::new(),
            target,
            multiprocess: false,
            generation: 0,
            past: None,
            backoff: Backoff::default(),
            started: false,
            launcher,
            memory_kills: memory_kills(),
            stopping: None,
            quick: false,
            identity,
            app: None,
            successor: None,
            predecessor,
        };
        master.open_access_log(py).map_err(refuse)?;
        master.pidfile = pidfile.0.take();
        Ok(master)
    }

    pub(super) fn preload(&mut self, py: Python<'_>) -> Result<(), Stop> {
        if self.settings.processes.preload {
            let here = std::env::current_dir()?;
            let Master { signals, entrypoints, settings, sockets, pidfile, launcher, .. } =
                &mut *self;
            let farewell = |code| {
                pidfile.iter().for_each(Pidfile::remove);
                sockets.remove_files();
                launcher.iter().for_each(|launcher| launcher.failed(code));
            };
            let guarded = Guarded {
                what: "the import of the application",
                limit: settings.timeouts.boot,
                farewell: &farewell,
            };
            // What is forked now is the application's; later it is a worker.
            close_in_children(py, sockets.listeners())?;
            let loaded = signals.lend(py, &guarded, || (entrypoints.load)(py, settings))?;
            keep_in_children(sockets.listeners());
            // --chdir is for the application, which runs in the workers; a reload and a new master look for
            // the names on the command line where they were typed.
            std::env::set_current_dir(here)?;
            self.app = Some(loaded.map_err(|failure| Stop::Done(failure.code))?);
        }
        Ok(())
    }
}

/// The pid file of a start that may yet fail, which removes it.
struct Claim(Option<Pidfile>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.iter().for_each(Pidfile::remove);
    }
}

/// Nothing was started: says why.
fn refuse(failure: anyhow::Error) -> Stop {
    error!("{failure:#}");
    Stop::Done(1)
}
