//! Suggestions for names that are not options: the nearest option, or what another server's option
//! is called here.

use super::compat::{gunicorn, others, uwsgi};
use super::option::OptionDef;
use super::options;

/// Why the settings of a framework cannot have an option of this name; `None` if they can.
pub fn refusal(name: &str) -> Option<String> {
    let is_usable = |option: &&OptionDef| !matches!(option.name, "config" | "venv" | "app");
    match options::find(name).filter(is_usable) {
        Some(_) => None,
        None => Some(unknown_option(name)),
    }
}

/// The message about a name that is no option.
pub(super) fn unknown_option(name: &str) -> String {
    match (counterpart(name), keyword(name)) {
        (Some(reason), _) if is_rejected(name) => format!("'{name}' is not supported: {reason}"),
        (Some(reason), _) => format!("unknown option '{name}': {reason}"),
        (None, Some(nearest)) => format!("unknown option '{name}'; did you mean '{nearest}'?"),
        (None, None) => format!("unknown option '{name}'"),
    }
}

/// Whether the option of another server is refused, not just unknown.
fn is_rejected(name: &str) -> bool {
    let name = name.replace('-', "_");
    TLS_OPTIONS.contains(&name.as_str()) || gunicorn::is_rejected(&name)
}

/// Options of other servers that no table has.
const TLS_OPTIONS: [&str; 2] = ["ssl_certificate", "ssl_certificate_key"];

/// The option with a similar name.
pub(super) fn option(name: &str) -> Option<&'static OptionDef> {
    options::find(&keyword(name)?)
}

/// The most similar name of an option.
fn keyword(name: &str) -> Option<String> {
    nearest(&name.replace('-', "_"), options::all().flat_map(OptionDef::keywords))
}

/// The most similar of the known names, with at most one edit for each three characters: a worse
/// match would mislead.
pub(super) fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let (edits, nearest) = known.map(|known| (strsim::levenshtein(&known, name), known)).min()?;
    (edits * 3 <= name.chars().count()).then_some(nearest)
}

/// What to use instead of an option that only other servers have.
pub(super) fn counterpart(name: &str) -> Option<String> {
    let name = name.replace('-', "_");
    let reason = match name.as_str() {
        name if TLS_OPTIONS.contains(&name) => "write --certfile FILE --keyfile FILE",
        "debug" => "configure debugging in the application; see also --reload and --log-level",
        "interface" => "only WSGI applications are supported",
        name => {
            return gunicorn::counterpart(name)
                .or_else(|| uwsgi::counterpart(name))
                .or_else(|| others::counterpart(name));
        }
    };
    Some(reason.to_owned())
}
