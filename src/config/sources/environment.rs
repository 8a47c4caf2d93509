//! Options in the environment: `RUSTWSGI_*`, and variables that other servers read, too.

use super::integration;
use crate::config::option::{OptionDef, VARIABLE_PREFIX};
use crate::config::options;
use crate::config::precedence::Entry;
use crate::config::resolve::Variables;
use crate::config::suggest;

/// Variables that one master passes to the next (`src/supervisor`), or a framework's command to the
/// server.
const INTERNAL: [&str; 5] = [
    "RUSTWSGI_INHERITED_SOCKETS",
    "RUSTWSGI_INHERITED_METRICS",
    "RUSTWSGI_INHERITED_CONTROL",
    "RUSTWSGI_PREDECESSOR",
    integration::VARIABLE,
];

/// A variable that is no option: the log reads it. The option that it would be.
const LOG_EVENTS: &str = "log_events";

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

/// Warnings about `RUSTWSGI_*` variables that name no option. Without a warning, a misspelt name
/// would silently have no effect.
pub fn unknown_variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    unknown_among(names)
}

/// The same for these names.
pub(in crate::config) fn unknown_among(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in names {
        let Some(option) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
        let option = option.to_ascii_lowercase();
        let known = options::all().any(|option| option.variable() == name);
        if known || option.is_empty() || option == LOG_EVENTS || INTERNAL.contains(&name.as_str()) {
            continue;
        }
        let tip =
            similar(&option).map_or_else(String::new, |name| format!("; did you mean {name}?"));
        warnings
            .push(format!("Ignoring environment variable {name}: there is no such option{tip}"));
    }
    warnings.sort();
    warnings
}

/// The variable whose name is most similar to that of this option.
fn similar(option: &str) -> Option<String> {
    let known = options::all().flat_map(OptionDef::keywords).chain([LOG_EVENTS.to_owned()]);
    let nearest = suggest::nearest(option, known)?;
    let variable = || format!("{VARIABLE_PREFIX}{}", nearest.to_ascii_uppercase());
    Some(options::find(&nearest).map_or_else(variable, OptionDef::variable))
}
