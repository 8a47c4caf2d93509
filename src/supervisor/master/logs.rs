//! When the master opens the logs: at the start, at a reload, and when USR1 says that they were moved away.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use log::error;
use pyo3::prelude::*;

use super::Master;
use crate::config::Settings;
use crate::observe::{self, LogTarget, Sink};
use crate::supervisor::channel::{self, ACCESS_LOG, ERROR_LOG};
use crate::supervisor::identity::Identity;
use crate::supervisor::logs;

impl Master<'_> {
    /// Opens the access log for the first worker. The error log is open already.
    ///
    /// # Errors
    /// If it is a file that cannot be opened.
    pub(super) fn open_access_log(&mut self, py: Python<'_>) -> anyhow::Result<()> {
        if let Some(path) = self.settings.access_log_file() {
            let file = logs::open(py, &path, self.identity.as_ref())
                .map_err(|failure| anyhow!(cannot_open_access_log(&path, &failure)))?;
            self.access_log = Some(file);
        }
        Ok(())
    }

    /// Opens the logs of these settings, for this user of the workers. What cannot be opened stays what it was,
    /// and the service goes on.
    pub(super) fn move_logs(
        &mut self,
        py: Python<'_>,
        settings: &Settings,
        user: Option<&Identity>,
    ) {
        let opened = match &settings.error_log {
            LogTarget::File(path) => logs::open(py, path, user).map(Sink::from),
            stream => Sink::open(stream),
        };
        if let Err(failure) = opened.and_then(|sink| observe::init(sink, settings.log_level)) {
            stays("error", &settings.error_log, &failure);
        }
        match settings.access_log_file().map(|path| (logs::open(py, &path, user), path)) {
            None => self.access_log = None,
            Some((Ok(file), _)) => self.access_log = Some(file),
            Some((Err(failure), path)) => stays("access", &path.display(), &failure),
        }
    }

    /// Opens the files of both logs anew, and sends them to all workers, also to those that are booting: they
    /// find them when they begin to listen.
    pub(super) fn reopen_logs(&mut self, py: Python<'_>) {
        let files = [
            (ERROR_LOG, "error", error_log_file(&self.settings)),
            (ACCESS_LOG, "access", self.settings.access_log_file()),
        ];
        for (byte, which, path) in files {
            let Some(path) = path else { continue };
            let file = match logs::open(py, &path, self.identity.as_ref()) {
                Ok(file) => file,
                Err(failure) => {
                    stays(which, &path.display(), &failure);
                    continue;
                }
            };
            for member in &self.members {
                match member.channel.as_ref().map(|to| channel::pass(to, byte, &file)) {
                    None | Some(Ok(())) => {}
                    // It has just ended.
                    Some(Err(failure)) if failure.kind() == io::ErrorKind::BrokenPipe => {}
                    Some(Err(failure)) => {
                        error!("worker {} keeps its {which} log: {failure}", member.pid);
                    }
                }
            }
            match byte {
                ERROR_LOG => observe::redirect(Sink::from(file)),
                _ => self.access_log = Some(file),
            }
        }
    }
}

fn error_log_file(settings: &Settings) -> Option<PathBuf> {
    match &settings.error_log {
        LogTarget::File(path) => Some(path.clone()),
        LogTarget::Stdout | LogTarget::Stderr => None,
    }
}

fn stays(which: &str, path: &dyn std::fmt::Display, failure: &io::Error) {
    error!("the {which} log stays where it is: cannot open {path}: {failure}");
}

/// Why the server does not start, and what to do.
pub(super) fn cannot_open_access_log(path: &Path, failure: &io::Error) -> String {
    let remedy = observe::remedy(failure);
    format!("--access-logfile: cannot open {}; {remedy}: {failure}", path.display())
}
