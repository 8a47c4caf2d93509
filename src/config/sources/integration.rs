//! Options that a framework's own command passes on: `manage.py rustwsgi`, `flask rustwsgi` and
//! `pserve`.
//!
//! The variable holds TOML: `origin` names the place for messages, `settings` are options of the
//! framework's configuration, and `defaults` are those of the command. Settings override files,
//! because the user has written them for this command; defaults override nothing.

use std::ffi::OsString;
use std::sync::{Mutex, PoisonError};

use toml::Value;

use super::{lookup, toml as toml_source};
use crate::config::precedence::Entry;
use crate::config::resolve::Variables;

/// `python/rustwsgi/_launch.py` sets it.
pub const VARIABLE: &str = "RUSTWSGI_INTEGRATION";

/// The value that the variable had, once it has been taken out of the environment.
static KEPT: Mutex<Option<OsString>> = Mutex::new(None);

/// Keeps the value for later reads in this process, before the caller removes the variable from
/// the environment, which is the application's as well.
pub fn keep_integration() {
    if let Some(text) = std::env::var_os(VARIABLE) {
        *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
}

/// The value that was kept, for a reload and for a new master.
pub fn kept_integration() -> Option<OsString> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The options of the variable.
#[derive(Default)]
pub(in crate::config) struct Integration {
    /// The place, if it has settings.
    pub(in crate::config) origin: Option<String>,
    pub(in crate::config) settings: Vec<Entry>,
    pub(in crate::config) defaults: Vec<Entry>,
}

/// Reads the variable, if it is set.
///
/// # Errors
/// A sentence about a name that is no option, or a value that is none.
pub(in crate::config) fn read(variables: Variables<'_>) -> Result<Integration, String> {
    let Some(text) = variables(VARIABLE).filter(|text| !text.is_empty()) else {
        return Ok(Integration::default());
    };
    let mut table = toml_source::parse(VARIABLE, &text.to_string_lossy())?;
    let origin = match table.remove("origin") {
        Some(Value::String(origin)) => origin,
        _ => VARIABLE.to_owned(),
    };
    let settings = entries(&origin, table.remove("settings"))?;
    let defaults = entries(&origin, table.remove("defaults"))?;
    let origin = (!settings.is_empty()).then_some(origin);
    Ok(Integration { origin, settings, defaults })
}

fn entries(origin: &str, part: Option<Value>) -> Result<Vec<Entry>, String> {
    match part {
        Some(Value::Table(table)) => lookup::entries(origin, toml_source::options(origin, table)?),
        Some(_) => Err(format!("{origin}: not a table of options")),
        None => Ok(Vec::new()),
    }
}
