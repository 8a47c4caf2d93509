//! When the master opens the logs: at the start, at a reload, and when USR1 says that they were moved away.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use anyhow::anyhow;
use log::error;
use pyo3::prelude::*;

use super::reload::Past;
use super::{Master, change};
use crate::config::Settings;
use crate::observe::{self, LogTarget, Sink};
use crate::supervisor::identity::Identity;
use crate::supervisor::log_files;
use crate::supervisor::messages::{self, ACCESS_LOG, ERROR_LOG};

/// The open files of both logs.
pub(super) struct Logs {
    /// `None`: it stays where it is.
    pub(super) error: Option<Sink>,
    /// If it is a file.
    pub(super) access: Option<File>,
}

impl Master<'_> {
    /// Opens the access log for the first worker. The error log is open already.
    ///
    /// # Errors
    /// If it is a file that cannot be opened.
    pub(super) fn open_access_log(&mut self, py: Python<'_>) -> anyhow::Result<()> {
        let opened = open_access_log(py, &self.settings, self.identity.as_ref());
        self.access_log =
            opened.map_err(|failure| anyhow!(cannot_open_access_log(&self.settings, &failure)))?;
        Ok(())
    }

    /// Opens the logs of a new configuration, for this user of its workers. An error is a sentence.
    pub(super) fn open_logs(
        &self,
        py: Python<'_>,
        settings: &Settings,
        user: Option<&Identity>,
    ) -> Result<Logs, String> {
        change::under_umask(settings, self.umask, || {
            let error = open_error_log(py, settings, user)
                .map_err(|failure| cannot_open("--error-logfile", &settings.error_log, &failure))?;
            let access = open_access_log(py, settings, user)
                .map_err(|failure| cannot_open_access_log(settings, &failure))?;
            Ok(Logs { error: Some(error), access })
        })
    }

    /// Opens the logs of the old configuration, as the new one has failed: they may have been moved away
    /// since. If one cannot be opened any more the service goes on with a file that is open.
    pub(super) fn open_past_logs(&self, py: Python<'_>, past: &mut Past) -> Logs {
        let Past { settings, identity, access_log, .. } = past;
        change::under_umask(settings, self.umask, || {
            let error = open_error_log(py, settings, identity.as_ref())
                .inspect_err(|failure| stays("error", &settings.error_log, failure));
            let access = open_access_log(py, settings, identity.as_ref());
            let access = access.unwrap_or_else(|failure| {
                stays("access", &access_log_name(settings), &failure);
                access_log.take()
            });
            Logs { error: error.ok(), access }
        })
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
            let file = match log_files::open(py, &path, self.identity.as_ref()) {
                Ok(file) => file,
                Err(failure) => {
                    stays(which, &path.display(), &failure);
                    continue;
                }
            };
            for member in &self.members {
                match member.channel.as_ref().map(|to| messages::pass(to, byte, &file)) {
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

fn open_error_log(
    py: Python<'_>,
    settings: &Settings,
    user: Option<&Identity>,
) -> io::Result<Sink> {
    match &settings.error_log {
        LogTarget::File(path) => log_files::open(py, path, user).map(Sink::from),
        stream => Sink::open(stream),
    }
}

fn open_access_log(
    py: Python<'_>,
    settings: &Settings,
    user: Option<&Identity>,
) -> io::Result<Option<File>> {
    settings.access_log_file().map(|path| log_files::open(py, &path, user)).transpose()
}

fn access_log_name(settings: &Settings) -> String {
    settings.access_log_file().map_or_else(String::new, |path| path.display().to_string())
}

fn stays(which: &str, path: &dyn Display, failure: &io::Error) {
    error!("the {which} log stays where it is: cannot open {path}: {failure}");
}

/// Why the server does not start or reload, and what to do.
pub(super) fn cannot_open_access_log(settings: &Settings, failure: &io::Error) -> String {
    cannot_open("--access-logfile", &access_log_name(settings), failure)
}

fn cannot_open(option: &str, path: &dyn Display, failure: &io::Error) -> String {
    let remedy = observe::remedy(failure);
    format!("{option}: cannot open {path}; {remedy}: {failure}")
}
