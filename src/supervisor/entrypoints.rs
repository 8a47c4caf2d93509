//! Functions that the layer above passes in: reading the configuration and importing the
//! application. The supervisor itself never uses `wsgi`.

use std::ffi::OsString;

use pyo3::prelude::*;

use super::hooks::Hooks;
use super::path_trust::WorkerUsers;
use crate::config::{Loaded, Settings};

/// Reads the command line, and the files and variables that belong to it. Refuses files that one of
/// the users can change.
pub type Parse = fn(Python<'_>, &[OsString], &WorkerUsers) -> Result<(Loaded, Hooks), String>;

/// The functions that the layer above passes in.
#[derive(Debug, Clone, Copy)]
pub struct Entrypoints {
    /// Reads the configuration. An error is a message for the log.
    pub parse: Parse,
    /// Imports the application that the settings name.
    pub load: fn(Python<'_>, &Settings) -> Result<Py<PyAny>, LoadFailure>,
}

/// The application could not be imported. The reason is in the log already.
#[derive(Debug)]
pub struct LoadFailure {
    /// The exit code of the process.
    pub code: i32,
    /// The traceback, if there is one, and the reason.
    pub text: String,
    /// It comes from a resource that another process holds.
    pub is_conflict: bool,
}
