//! Functions that the layer above passes in: reading the configuration and importing the
//! application. The supervisor itself never uses `wsgi`.

use std::ffi::OsString;

use log::error;
use pyo3::prelude::*;

use super::hooks::Hooks;
use super::path_trust::WorkerUsers;
use crate::config::{Loaded, Settings};
use crate::observe;

/// Reads the command line, and the files and variables that belong to it. Refuses files that one of
/// the users can change.
pub type Parse = fn(Python<'_>, &[OsString], &WorkerUsers) -> Result<(Loaded, Hooks), String>;

/// The functions that the layer above passes in.
#[derive(Debug, Clone, Copy)]
pub struct Entrypoints {
    /// Reads the configuration. An error is a message for the log.
    pub parse: Parse,
    /// Imports the application that the settings name, and that a hook may replace.
    pub load: fn(Python<'_>, &Settings, &Hooks) -> Result<Py<PyAny>, LoadFailure>,
}

/// The application could not be imported.
#[derive(Debug)]
pub struct LoadFailure {
    /// The exit code of the process.
    pub code: i32,
    /// The traceback, if the application has raised an exception.
    pub traceback: Option<String>,
    /// What is wrong, and what to write instead. Empty if a signal has interrupted the import,
    /// which is not an error.
    pub reason: String,
    /// It comes from a resource that another process holds.
    pub is_conflict: bool,
}

impl LoadFailure {
    /// The traceback, if there is one, and the reason.
    pub fn text(&self) -> String {
        format!("{}{}", self.traceback.as_deref().unwrap_or_default(), self.reason)
    }

    /// Writes both to the error log.
    pub fn log(&self) {
        if self.reason.is_empty() {
            return;
        }
        let line = observe::as_line(&self.reason);
        match self.traceback.as_deref() {
            // The reason stands last, as the exception does in a traceback.
            Some(preceding_traceback) => {
                error!(target: "app.load_failed", preceding_traceback; "{line}");
            }
            None => error!(target: "app.load_failed", "{line}"),
        }
    }
}
