//! What a reload changes in the master itself, and what it cannot change.
//!
//! Most options are the new workers' alone. These are the master's own: it applies them when a reload
//! begins, and takes them back when that fails.

use std::io;
use std::path::Path;

use log::{error, warn};
use pyo3::prelude::*;
use rustix::fs::Mode;

use super::Master;
use super::logs::{self, Logs};
use crate::config::{self, Settings};
use crate::observe;
use crate::supervisor::identity;
use crate::supervisor::pidfile::{self, Pidfile};

impl Master<'_> {
    /// Applies what is the master's own; the logs have been opened for it. What fails stays as it was, and the
    /// log says so.
    pub(super) fn become_like(&mut self, py: Python<'_>, settings: &Settings, logs: Logs) {
        // Before files are made.
        set_umask(settings, self.umask);
        logs.error.into_iter().for_each(observe::redirect);
        log::set_max_level(settings.log_level);
        self.access_log = logs.access;
        identity::set_name(py, "master", settings);
        self.move_pidfile(settings.processes.pidfile.as_deref());
    }

    fn move_pidfile(&mut self, path: Option<&Path>) {
        let wanted = path.map(|path| match self.predecessor {
            Some(_) => pidfile::second(path),
            None => path.to_path_buf(),
        });
        let absolute = wanted.as_deref().and_then(|path| std::path::absolute(path).ok());
        if self.pidfile.as_ref().map(Pidfile::path) == absolute.as_deref() {
            return;
        }
        let moved = match wanted.map(|path| Pidfile::create(&path)).transpose() {
            Ok(moved) => moved,
            Err(error) => {
                error!("the pid file stays where it is: {error:#}");
                return;
            }
        };
        if let Some(old) = std::mem::replace(&mut self.pidfile, moved) {
            old.remove();
        }
    }

    /// Warns of what another start only can change.
    pub(super) fn tell_what_stays(&self, settings: &Settings) {
        for (option, remedy) in config::changes_needing_restart(&self.began, settings) {
            warn!(
                target: "reload.needs_restart",
                "{option} has changed since the start; this {remedy}"
            );
        }
        if self.app.is_some() {
            warn!(
                "--preload: the new workers serve the code that was imported at the start; newer code needs \
                 USR2 or a restart"
            );
        }
    }
}

/// Sets the mask of the settings, or else the one that the process was started with. Returns the one before.
pub(super) fn set_umask(settings: &Settings, own: Mode) -> Mode {
    let mask = settings.processes.umask.map_or(own, Mode::from_raw_mode);
    rustix::process::umask(mask)
}

/// Makes files under the mask of settings that are not applied yet.
pub(super) fn under_umask<T>(settings: &Settings, own: Mode, make: impl FnOnce() -> T) -> T {
    let before = set_umask(settings, own);
    let made = make();
    rustix::process::umask(before);
    made
}

/// Looks at what every worker would fail at, so that it is told once and in one line. An error is an exit
/// code and a sentence.
pub(super) fn check(settings: &Settings) -> Result<(), (i32, String)> {
    if let Some(directory) = &settings.chdir
        && let Err(failure) = std::fs::read_dir(directory)
        && failure.kind() != std::io::ErrorKind::PermissionDenied
    {
        return Err((
            2,
            format!(
                "cannot change to the directory {directory:?} of --chdir; make it, or name another: \
                 {failure}"
            ),
        ));
    }
    if let Some(path) = settings.access_log_file() {
        let directory = path.parent().unwrap_or(Path::new("/"));
        // A name without a directory in front.
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let failure: io::Error = match std::fs::metadata(directory) {
            Ok(_) if path.is_dir() => io::ErrorKind::IsADirectory.into(),
            Ok(_) => return Ok(()),
            Err(failure) => failure,
        };
        return Err((1, logs::cannot_open_access_log(settings, &failure)));
    }
    Ok(())
}
