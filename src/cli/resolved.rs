//! The options that the environment and the files in the working directory set, as text: for
//! `rustwsgi init`, which writes other files for them.

use std::ffi::OsString;

use pyo3::prelude::*;

use super::parse;
use crate::config;
use crate::supervisor::WorkerUsers;

/// An option and its values in the notation of a file.
type Resolved = (String, Vec<String>);

/// The options that the environment and the files set. `argv` may name an application behind the
/// program's name, which is validated. Values that may be secret are left out.
///
/// # Errors
/// A sentence about an option that is invalid.
pub fn resolved_options(py: Python<'_>, argv: &[OsString]) -> Result<Vec<Resolved>, String> {
    // Neither an application nor directories of static files need to exist yet.
    let mut argv = argv.to_vec();
    argv.push("--print-config".into());
    let (loaded, _) = parse(py, &argv, &WorkerUsers::default()).map_err(|exit| exit.message)?;
    Ok(config::file_values(&loaded.settings, &loaded.set))
}
