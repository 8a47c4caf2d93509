//! Keyword arguments of the Python API.

use std::ffi::OsString;

use crate::config::precedence::Entry;
use crate::config::{options, suggest};

/// The options that keyword arguments set.
///
/// # Errors
/// A sentence about a name that is no option.
pub(in crate::config) fn entries(keywords: &[(String, Vec<String>)]) -> Result<Vec<Entry>, String> {
    let entry = |(name, values): &(String, Vec<String>)| {
        let option = options::find(name).ok_or_else(|| suggest::unknown_option(name))?;
        let values = values.iter().map(OsString::from).collect();
        Ok(Entry { option, origin: format!("option '{name}'"), values })
    };
    keywords.iter().map(entry).collect()
}
