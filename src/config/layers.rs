//! Options that do not come from the command line: `RUSTWSGI_*` variables, files, and the Python API's
//! keyword arguments.
//!
//! All are rewritten as command-line arguments, so that one parser judges all values and a new
//! option works in every place from the day it is defined.

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::compat::gunicorn;
use super::compat::uwsgi;
use super::sources::files::Source;

/// What the environment's names begin with.
const PREFIX: &str = "RUSTWSGI_";

/// gunicorn's names. As there, each is a default: whatever else sets the option wins.
const ELSEWHERE: [(&str, &str); 1] = [("forwarded_allow_ips", "FORWARDED_ALLOW_IPS")];

/// What one master tells the next (`src/supervisor`); no options.
const INTERNAL: [&str; 3] =
    ["RUSTWSGI_INHERITED_SOCKETS", "RUSTWSGI_PREDECESSOR", "RUSTWSGI_LOG_EVENTS"];

/// These together say where to listen: one on the command line puts all of the environment's aside.
const LISTENING: [&str; 5] = ["bind", "host", "port", "uds", "fd"];

/// One option from elsewhere.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Extra {
    /// The option's identifier.
    pub(super) id: String,
    /// Where it came from, for error messages.
    pub(super) origin: String,
    /// The option as a command-line argument; `None` for a flag that was set to false.
    pub(super) argument: Option<OsString>,
    /// Whether it is the positional argument, which has to stand last.
    pub(super) positional: bool,
}

/// The options that the environment sets and the command line (`given`) does not. An empty variable
/// counts as none, as container tools cannot always leave one out.
///
/// # Errors
/// A sentence about a flag's variable that is neither true nor false.
pub(super) fn from_environment(
    command: &Command,
    given: &ArgMatches,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Vec<Extra>, String> {
    let mut extras = Vec::new();
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        if is_settled(given, &[], id) {
            continue;
        }
        let name = variable_name(id);
        if let Some(value) = variable(&name).filter(|value| !value.is_empty()) {
            let origin = format!("the environment variable {name}");
            extras.push(extra(arg, origin, &value)?);
        }
    }
    Ok(extras)
}

/// The options that gunicorn's variables set and nothing else does: neither the command line (`given`) nor
/// any of `extras`.
///
/// # Errors
/// As [`from_environment`].
pub(super) fn from_elsewhere(
    command: &Command,
    given: &ArgMatches,
    extras: &[Extra],
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Vec<Extra>, String> {
    let mut found = Vec::new();
    for (id, name) in ELSEWHERE {
        let Some(arg) = find(command, id).filter(|_| !is_set(given, extras, id)) else { continue };
        if let Some(value) = variable(name).filter(|value| !value.is_empty()) {
            found.push(extra(arg, format!("the environment variable {name}"), &value)?);
        }
    }
    Ok(found)
}

/// The options that keyword arguments set, each with its values.
///
/// # Errors
/// A sentence about an unknown name, too many values, or a flag that is neither true nor false.
pub(super) fn from_keywords(
    command: &Command,
    options: &[(String, Vec<String>)],
) -> Result<Vec<Extra>, String> {
    let mut extras = Vec::new();
    for (name, values) in options {
        let arg = find(command, name).ok_or_else(|| unknown(command, name))?;
        extras.extend(extra_for_each(arg, &format!("the option '{name}'"), values)?);
    }
    Ok(extras)
}

/// The options of a file (or of `GUNICORN_CMD_ARGS`) that nothing before it has set: neither the command
/// line (`given`) nor any of `extras`.
///
/// # Errors
/// A sentence about an unknown name, too many values, or a flag that is neither true nor false.
pub(super) fn from_file(
    command: &Command,
    given: &ArgMatches,
    extras: &[Extra],
    source: &Source,
) -> Result<Vec<Extra>, String> {
    let mut found = Vec::new();
    for (name, values) in &source.options {
        let origin = format!("{}: '{name}'", source.origin);
        let arg = find(command, name)
            .filter(|arg| arg.get_id() != "config")
            .ok_or_else(|| format!("{}: {}", source.origin, unknown(command, name)))?;
        let id = arg.get_id().as_str();
        if id == "venv" {
            return Err(format!(
                "{origin} comes too late in a file, which Python may have to read: give --venv or \
                 RUSTWSGI_VENV"
            ));
        }
        if !is_settled(given, extras, id) {
            found.extend(extra_for_each(arg, &origin, values)?);
        }
    }
    Ok(found)
}

/// True if the command line (`given`) or one of `extras` sets this option.
fn is_set(given: &ArgMatches, extras: &[Extra], id: &str) -> bool {
    given.value_source(id) == Some(ValueSource::CommandLine)
        || extras.iter().any(|extra| extra.id == id)
}

/// True if they set it, or if it says where to listen and they set another one that does.
fn is_settled(given: &ArgMatches, extras: &[Extra], id: &str) -> bool {
    is_set(given, extras, id)
        || LISTENING.contains(&id) && LISTENING.iter().any(|id| is_set(given, extras, id))
}

/// The variable of the option with this identifier.
pub(super) fn variable_name(id: &str) -> String {
    format!("{PREFIX}{}", id.to_ascii_uppercase())
}

/// One for each value. Most options take only one.
fn extra_for_each(arg: &Arg, origin: &str, values: &[String]) -> Result<Vec<Extra>, String> {
    if values.len() > 1 && !matches!(arg.get_action(), ArgAction::Append) {
        return Err(format!("{origin} takes one value"));
    }
    values.iter().map(|value| extra(arg, origin.to_owned(), OsStr::new(value))).collect()
}

fn extra(arg: &Arg, origin: String, value: &OsStr) -> Result<Extra, String> {
    let flag = matches!(arg.get_action(), ArgAction::SetTrue);
    let argument = match arg.get_long() {
        None => Some(value.to_owned()),
        Some(long) if flag => match truth(value) {
            Some(true) => Some(format!("--{long}").into()),
            Some(false) => None,
            None => {
                let value = value.to_string_lossy();
                return Err(format!("{origin}: '{value}' is neither true nor false"));
            }
        },
        Some(long) => {
            let mut argument = OsString::from(format!("--{long}="));
            argument.push(value);
            Some(argument)
        }
    };
    let id = arg.get_id().as_str().to_owned();
    Ok(Extra { id, origin, argument, positional: arg.is_positional() })
}

fn truth(value: &OsStr) -> Option<bool> {
    match value.to_str()?.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The names an option has in Python: its identifier, and its aliases with underscores.
fn keywords(arg: &Arg) -> impl Iterator<Item = String> + '_ {
    let aliases = arg.get_all_aliases().unwrap_or_default();
    std::iter::once(arg.get_id().as_str().to_owned())
        .chain(aliases.into_iter().map(|alias| alias.replace('-', "_")))
}

fn find<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    let name = name.replace('-', "_");
    command.get_arguments().find(|arg| keywords(arg).any(|keyword| keyword == name))
}

fn unknown(command: &Command, name: &str) -> String {
    match (absent(name), nearest(command, name)) {
        (Some(reason), _) => format!("unknown option '{name}': {reason}"),
        (None, Some(nearest)) => {
            format!("unknown option '{name}'; the nearest known one is '{nearest}'")
        }
        (None, None) => format!("unknown option '{name}'"),
    }
}

/// The option that somebody who wrote `name` may have meant: one slip in three letters at most, as
/// advice that is only the least wrong of all names misleads.
pub(super) fn nearest(command: &Command, name: &str) -> Option<String> {
    closest(&name.replace('-', "_"), command.get_arguments().flat_map(keywords))
}

/// The same among any names.
pub(super) fn closest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let (slips, nearest) = known.map(|known| (distance(&known, name), known)).min()?;
    (slips * 3 <= name.chars().count()).then_some(nearest)
}

/// Why there is no such option, for those that other servers have.
pub(super) fn absent(name: &str) -> Option<String> {
    let name = name.replace('-', "_");
    let reason = match name.as_str() {
        "ssl_certfile" | "ssl_keyfile" | "ssl_certificate" => {
            "this server speaks no TLS; a proxy in front of it does"
        }
        "debug" => "debugging is the application's; --reload and --log-level are the server's",
        "interface" => "this server runs WSGI applications only",
        name => {
            return gunicorn::elsewhere(name).or_else(|| uwsgi::advice(name).map(str::to_owned));
        }
    };
    Some(reason.to_owned())
}

/// What to say of variables that look like options and are none: a misspelt name would otherwise do
/// nothing, in silence.
pub(super) fn stray_variables(
    command: &Command,
    names: impl Iterator<Item = String>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in names {
        let Some(option) = name.strip_prefix(PREFIX) else { continue };
        let option = option.to_ascii_lowercase();
        if option.is_empty() || INTERNAL.contains(&name.as_str()) {
            continue;
        }
        if name != variable_name(&option)
            || !command.get_arguments().any(|arg| arg.get_id() == option.as_str())
        {
            let tip = nearest(command, &option).and_then(|nearest| find(command, &nearest));
            let tip = tip.map_or_else(String::new, |arg| {
                format!("; did you mean {}?", variable_name(arg.get_id().as_str()))
            });
            warnings.push(format!("the environment variable {name} is no option{tip}"));
        }
    }
    warnings.sort();
    warnings
}

/// Levenshtein's distance, in characters: one row of the usual table at a time.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let replace = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("thraeds", "threads", 2),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn truths() {
        for (value, expected) in [
            ("true", Some(true)),
            ("YES", Some(true)),
            ("1", Some(true)),
            ("off", Some(false)),
            ("0", Some(false)),
            ("maybe", None),
            ("", None),
        ] {
            assert_eq!(truth(OsStr::new(value)), expected, "{value}");
        }
    }
}
