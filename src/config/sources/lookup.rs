//! The options of a file, by their names.

use std::ffi::OsString;

use crate::config::option::OptionDef;
use crate::config::precedence::Entry;
use crate::config::{options, suggest};

/// Names and values as a source has them, in its order.
pub type Options = Vec<(String, Vec<String>)>;

/// Finds the options of a file. `origin` names it in error messages.
///
/// # Errors
/// A sentence about a name that is no option, or an option that cannot be set in a file.
pub(in crate::config) fn entries(origin: &str, named: Options) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for (name, values) in named {
        let option = options::find(&name)
            .filter(|option| option.name != "config")
            .ok_or_else(|| format!("{origin}: {}", suggest::unknown_option(&name)))?;
        if option.name == "venv" {
            return Err(format!(
                "{origin}: '{name}' cannot be set in a file, which Python may have to read; use \
                 --venv or RUSTWSGI_VENV"
            ));
        }
        entries.push(entry(origin, option, &name, values));
    }
    Ok(entries)
}

/// An option of a file. Error messages call it `name`, as the file does.
pub(super) fn entry(
    origin: &str,
    option: &'static OptionDef,
    name: &str,
    values: Vec<String>,
) -> Entry {
    let values = values.into_iter().map(OsString::from).collect();
    Entry { option, origin: format!("{origin}: '{name}'"), values }
}
