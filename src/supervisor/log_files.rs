//! The log files: the master opens them and passes them to the workers.
//!
//! The master opens both logs: at the start, at a reload, and at USR1, when logrotate has moved
//! them away. Workers never open one. They are forked with the open files; at USR1 the master sends
//! each worker the new files through its channel, where a worker that is still booting finds them
//! when it is ready. So the workers' user needs no rights to the files.

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use log::error;
use pyo3::prelude::*;

use super::identity::Identity;
use super::log_path;
use super::messages::Log;
use crate::config::Settings;
use crate::observe::{self, LogTarget, Sink};

/// The open files of both logs.
#[derive(Debug, Default)]
pub(super) struct LogFiles {
    /// The new sink of the error log once the deployment is applied; `None` keeps the current one.
    pub(super) error: Option<Sink>,
    /// The file of the access log, if it goes to a file.
    pub(super) access: Option<File>,
}

impl LogFiles {
    /// Opens both logs of a new configuration. An error is a message for the log.
    pub(super) fn open(
        py: Python<'_>,
        settings: &Settings,
        user: Option<&Identity>,
    ) -> Result<LogFiles, String> {
        let error = open_error_sink(py, settings, user)
            .map_err(|failure| cannot_open("--error-logfile", &settings.error_log, &failure))?;
        Ok(LogFiles { error: Some(error), access: LogFiles::open_access(py, settings, user)? })
    }

    /// Opens the file of the access log, if it goes to a file. An error is a message for the log.
    pub(super) fn open_access(
        py: Python<'_>,
        settings: &Settings,
        user: Option<&Identity>,
    ) -> Result<Option<File>, String> {
        open_access_file(py, settings, user)
            .map_err(|failure| cannot_open_access_log(settings, &failure))
    }

    /// Opens both logs of the configuration that a roll-back returns to: they may have been moved
    /// away since. If one cannot be opened, the server continues with a file that is open.
    pub(super) fn reopen(
        self,
        py: Python<'_>,
        settings: &Settings,
        user: Option<&Identity>,
    ) -> LogFiles {
        let error = open_error_sink(py, settings, user)
            .inspect_err(|failure| report_not_reopened(Log::Error, &settings.error_log, failure));
        let access = open_access_file(py, settings, user).unwrap_or_else(|failure| {
            report_not_reopened(Log::Access, &access_log_name(settings), &failure);
            self.access
        });
        LogFiles { error: error.ok(), access }
    }
}

/// Opens the error log when the command starts.
///
/// # Errors
/// If it is a file that cannot be opened.
pub fn open_error_log(py: Python<'_>, settings: &Settings) -> io::Result<Sink> {
    let user = match &settings.error_log {
        LogTarget::File(_) => match Identity::resolve(py, &settings.processes) {
            Ok(user) => user,
            // The start fails for the same reason, and reports it on standard error.
            Err(_) => return Ok(Sink::stderr()),
        },
        LogTarget::Stdout | LogTarget::Stderr | LogTarget::Nowhere => None,
    };
    open_error_sink(py, settings, user.as_ref())
}

/// Opens the file of a log again, at USR1. `None` if it goes to no file.
///
/// # Errors
/// A sentence, which was logged as well: the server continues with the file that is open.
pub(super) fn reopen(
    py: Python<'_>,
    log: Log,
    settings: &Settings,
    user: Option<&Identity>,
) -> Result<Option<File>, String> {
    let path = match log {
        Log::Error => error_log_file(settings),
        Log::Access => settings.access_log_file(),
    };
    let Some(path) = path else { return Ok(None) };
    log_path::open(py, &path, user).map(Some).map_err(|failure| {
        report_not_reopened(log, &path.display(), &failure);
        format!("cannot open the {log} {}: {failure}", path.display())
    })
}

/// Checks a log that every worker would fail to open, so that the mistake is reported once. An
/// error is a message for the log.
pub(super) fn check_access_log(settings: &Settings) -> Result<(), String> {
    let Some(path) = settings.access_log_file() else { return Ok(()) };
    let directory = path.parent().unwrap_or(Path::new("/"));
    // The parent of a bare file name is empty.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let failure: io::Error = match std::fs::metadata(directory) {
        Ok(_) if path.is_dir() => io::ErrorKind::IsADirectory.into(),
        Ok(_) => return Ok(()),
        Err(failure) => failure,
    };
    Err(cannot_open_access_log(settings, &failure))
}

fn error_log_file(settings: &Settings) -> Option<PathBuf> {
    match &settings.error_log {
        LogTarget::File(path) => Some(path.clone()),
        LogTarget::Stdout | LogTarget::Stderr | LogTarget::Nowhere => None,
    }
}

fn open_error_sink(
    py: Python<'_>,
    settings: &Settings,
    user: Option<&Identity>,
) -> io::Result<Sink> {
    match &settings.error_log {
        LogTarget::File(path) => log_path::open(py, path, user).map(Sink::from),
        stream => Sink::open(stream),
    }
}

fn open_access_file(
    py: Python<'_>,
    settings: &Settings,
    user: Option<&Identity>,
) -> io::Result<Option<File>> {
    settings.access_log_file().map(|path| log_path::open(py, &path, user)).transpose()
}

fn access_log_name(settings: &Settings) -> String {
    settings.access_log_file().map_or_else(String::new, |path| path.display().to_string())
}

fn report_not_reopened(log: Log, path: &dyn Display, failure: &io::Error) {
    error!(
        target: "log.not_reopened",
        "Cannot open {path}: still writing the {log} to the file that is open: {failure}"
    );
}

fn cannot_open_access_log(settings: &Settings, failure: &io::Error) -> String {
    cannot_open("--access-logfile", &access_log_name(settings), failure)
}

fn cannot_open(option: &str, path: &dyn Display, failure: &io::Error) -> String {
    let remedy = observe::remedy(failure);
    format!("{option}: cannot open {path}; {remedy}: {failure}")
}
