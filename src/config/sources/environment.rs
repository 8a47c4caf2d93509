//! Options in the environment: `RUSTWSGI_*`, and variables that other servers read, too.

use crate::config::option::{OptionDef, VARIABLE_PREFIX};
use crate::config::options;
use crate::config::precedence::Entry;
use crate::config::resolve::Variables;
use crate::config::suggest;

/// Variables that are no options: one master passes them to the next (`src/supervisor`), or the log
/// reads them.
const INTERNAL: [&str; 3] =
    ["RUSTWSGI_INHERITED_SOCKETS", "RUSTWSGI_PREDECESSOR", "RUSTWSGI_LOG_EVENTS"];

/// The options that `RUSTWSGI_*` variables set. An empty variable counts as unset, as container
/// tools cannot always leave one out.
pub(in crate::config) fn entries(variables: Variables<'_>) -> Vec<Entry> {
    let named = options::all().map(|option| (option, option.variable()));
    named.filter_map(|(option, name)| entry(option, &name, variables)).collect()
}

/// The defaults that other variables set, such as `WEB_CONCURRENCY`: any other source overrides
/// them, as with gunicorn.
pub(in crate::config) fn fallbacks(variables: Variables<'_>) -> Vec<Entry> {
    let named = options::all().filter_map(|option| Some((option, option.fallback_variable?)));
    named.filter_map(|(option, name)| entry(option, name, variables)).collect()
}

fn entry(option: &'static OptionDef, name: &str, variables: Variables<'_>) -> Option<Entry> {
    let value = variables(name).filter(|value| !value.is_empty())?;
    Some(Entry { option, origin: format!("environment variable {name}"), values: vec![value] })
}

/// Warnings about variables that look like options and are none: a misspelt name would have no
/// effect without one.
pub fn unknown_variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    unknown_among(names)
}

/// The same for these names.
pub(in crate::config) fn unknown_among(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in names {
        let Some(option) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
        let known = options::all().any(|option| option.variable() == name);
        if known || option.is_empty() || INTERNAL.contains(&name.as_str()) {
            continue;
        }
        let similar = suggest::option(&option.to_ascii_lowercase());
        let tip = similar
            .map_or_else(String::new, |option| format!("; did you mean {}?", option.variable()));
        warnings.push(format!("unknown option in environment variable {name}{tip}"));
    }
    warnings.sort();
    warnings
}
