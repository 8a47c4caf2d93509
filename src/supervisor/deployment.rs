//! A deployment: a configuration, with the hooks, identity, sockets and log files that belong to
//! it.
//!
//! A reload builds a new deployment beside the running one, and applies it once everything was
//! opened. If the new workers cannot boot, it rolls back to the previous deployment. Building has
//! no effect on the running deployment, so an invalid configuration changes nothing.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use pyo3::prelude::*;
use rustix::fs::Mode;

use super::entrypoints::Entrypoints;
use super::hooks::Hooks;
use super::identity::{self, Identity};
use super::log_files::{self, LogFiles};
use super::sockets::Sockets;
use super::sources;
use crate::acme::Cache;
use crate::config::{Bind, Loaded, Settings};
use crate::net::Renewal;
use crate::sys::cpus::Cpus;

/// The facts of the start that no reload changes.
pub(super) struct Origin<'a> {
    /// The command line, which each reload parses again.
    pub(super) argv: &'a [OsString],
    pub(super) entrypoints: Entrypoints,
    /// The settings of the start. Some options cannot be changed by a reload.
    pub(super) settings: Arc<Settings>,
    /// The file mode mask that the process was started with.
    pub(super) umask: Mode,
    /// The sockets that systemd has opened, which replace the addresses of the settings.
    pub(super) activated: Option<Vec<Bind>>,
}

/// A configuration and its open resources.
pub(super) struct Deployment {
    pub(super) settings: Arc<Settings>,
    /// The warnings about the settings, which have been logged.
    pub(super) warnings: Vec<String>,
    pub(super) hooks: Hooks,
    /// The user and group of the workers; `None` if they are the master's.
    pub(super) identity: Option<Identity>,
    pub(super) sockets: Sockets,
    /// The certificates, if there are any.
    pub(super) tls: Option<Renewal>,
    /// The open log files. USR1 replaces them while the deployment runs.
    pub(super) log_files: LogFiles,
    /// The CPUs that the server may use.
    pub(super) cpus: Cpus,
    /// The number of workers. TTIN, TTOU and WINCH change it while the deployment runs.
    pub(super) target: usize,
}

impl Deployment {
    /// Opens everything that a configuration needs; `open` are the sockets that are open already,
    /// and sessions of `running` can be resumed. On an error, a message for the log, nothing has
    /// changed.
    pub(super) fn build(
        py: Python<'_>,
        origin: &Origin<'_>,
        (loaded, hooks): (Loaded, Hooks),
        running: &Deployment,
        open: &Sockets,
    ) -> Result<Deployment, String> {
        let Loaded { settings, warnings, .. } = loaded;
        let identity = Identity::resolve(py, &settings.processes)
            .map_err(|failure| failure.value(py).to_string())?;
        check_paths(&settings).map_err(|(_, reason)| reason)?;
        let tls = read_certificates(&settings, running.tls.as_ref())?;
        let log_files = identity::with_umask(&settings, origin.umask, || {
            LogFiles::open(py, &settings, identity.as_ref())
        })?;
        let binds = origin.activated.as_ref().unwrap_or(&settings.binds);
        let sockets =
            Sockets::open(binds, &settings, open).map_err(|error| format!("{error:#}"))?;
        let cpus = Cpus::of_this_process();
        let target = settings.processes.workers.number(cpus.usable());
        let settings = Arc::new(settings);
        Ok(Deployment {
            settings,
            warnings,
            hooks,
            identity,
            sockets,
            tls,
            log_files,
            cpus,
            target,
        })
    }
}

/// The deployment that a reload has replaced, until the new workers are ready.
pub(super) struct PreviousDeployment {
    pub(super) deployment: Deployment,
    /// The sockets of deployments that another reload replaced before they were ready. Their
    /// workers may still serve.
    superseded: Sockets,
    /// The number of workers that it gets when it is restored. Its own is how many it needs to
    /// serve as before.
    target: usize,
}

impl PreviousDeployment {
    pub(super) fn new(deployment: Deployment) -> PreviousDeployment {
        let target = deployment.target;
        PreviousDeployment { deployment, superseded: Sockets::default(), target }
    }

    /// Changes the number of workers, as that of the new deployment was changed: a roll-back must
    /// not undo it.
    pub(super) fn resize(&mut self, change: impl FnOnce(usize) -> usize) {
        self.target = change(self.target);
    }

    /// The number of workers after a roll-back.
    pub(super) fn target(&self) -> usize {
        self.target
    }

    /// Records that a second reload has replaced a deployment that never was ready.
    pub(super) fn supersede(&mut self, replaced: &Deployment) {
        self.superseded.keep(&replaced.sockets);
    }

    /// In a new worker: leaves the files of unix sockets to the master.
    pub(super) fn disown_sockets(&self) {
        self.deployment.sockets.disown();
        self.superseded.disown();
    }

    /// Adds the sockets that it keeps open to others.
    pub(super) fn keep_sockets_in(&self, open: &mut Sockets) {
        open.keep(&self.deployment.sockets);
        open.keep(&self.superseded);
    }
}

/// Reads the certificates and keys, if the settings name any. `running` are those in use.
pub(super) fn read_certificates(
    settings: &Settings,
    running: Option<&Renewal>,
) -> Result<Option<Renewal>, String> {
    if settings.tls.acme.is_enabled() {
        Cache::open(&settings.tls.acme)?;
    }
    settings.tls.is_enabled().then(|| Renewal::read(&settings.tls, running)).transpose()
}

/// Checks paths on which every worker would fail, so that a mistake is reported once. An error is
/// an exit code and a message for the log.
pub(super) fn check_paths(settings: &Settings) -> Result<(), (i32, String)> {
    if let Some(directory) = &settings.chdir
        && let Err(failure) = std::fs::read_dir(directory)
        // The workers' user may have permissions that this one lacks.
        && failure.kind() != std::io::ErrorKind::PermissionDenied
    {
        let reason = format!(
            "cannot change to the directory {directory:?} of --chdir; make it, or name another: \
             {failure}"
        );
        return Err((2, reason));
    }
    check_watched(settings).map_err(|reason| (2, reason))?;
    check_log_config(settings).map_err(|reason| (1, reason))?;
    log_files::check_access_log(settings).map_err(|reason| (1, reason))
}

/// Checks the files that configure Python's logging.
fn check_log_config(settings: &Settings) -> Result<(), String> {
    let directory = settings.chdir.as_deref().unwrap_or(Path::new("."));
    let logs = &settings.logs;
    let named = [("--log-config", &logs.config), ("--log-config-json", &logs.config_json)];
    for (option, path) in named {
        let Some(path) = path else { continue };
        if let Err(failure) = std::fs::metadata(directory.join(path))
            && failure.kind() != std::io::ErrorKind::PermissionDenied
        {
            return Err(format!(
                "{option}: cannot open {}; name a file that exists: {failure}",
                path.display()
            ));
        }
    }
    Ok(())
}

/// Checks the paths of `--reload-extra-file`.
fn check_watched(settings: &Settings) -> Result<(), String> {
    let directory = settings.chdir.as_deref().unwrap_or(Path::new("."));
    let mut named = settings.processes.watch.iter().flatten();
    match named.find(|path| !sources::matches_any(&directory.join(path))) {
        None => Ok(()),
        Some(path) => Err(format!(
            "--reload-extra-file: {path:?} matches no file; name a file, a directory, or a pattern \
             such as 'templates/*.html'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A deployment that listens on one unix socket.
    fn listening_at(path: &std::path::Path, open: &Sockets) -> Deployment {
        let settings = Arc::new(crate::config::parse_api(&[]).unwrap());
        let binds: Vec<Bind> = vec![format!("unix:{}", path.display()).parse().unwrap()];
        Deployment {
            sockets: Sockets::open(&binds, &settings, open).unwrap(),
            settings,
            warnings: Vec::new(),
            hooks: Hooks::default(),
            identity: None,
            tls: None,
            log_files: LogFiles::default(),
            cpus: Cpus::of_this_process(),
            target: 1,
        }
    }

    #[test]
    fn sockets_of_a_superseded_deployment_stay_open_until_the_reload_ends() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
        let first = listening_at(&a, &Sockets::default());
        let second = listening_at(&b, &first.sockets);
        let mut previous = PreviousDeployment::new(first);
        let mut open = Sockets::default();
        previous.keep_sockets_in(&mut open);
        let third = listening_at(&c, &open);
        previous.supersede(&second);
        drop((open, second));
        assert!(a.exists() && b.exists() && c.exists());
        drop(previous);
        assert!(!a.exists() && !b.exists() && c.exists());
        drop(third);
        assert!(!c.exists());
    }
}
