//! `GUNICORN_CMD_ARGS`: a part of gunicorn's command line, with which containers are configured.
//!
//! With gunicorn it overrides the configuration file, and the command line overrides it. The same
//! holds here; `RUSTWSGI_*` variables override it, too.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;

use super::lookup;
use crate::config::compat::gunicorn;
use crate::config::precedence::Entry;
use crate::config::resolve::Variables;
use crate::config::{cli, options};

const VARIABLE: &str = "GUNICORN_CMD_ARGS";

/// The content of the variable.
pub(in crate::config) struct CmdArgs {
    /// The configuration file that it names.
    pub(in crate::config) config: Option<PathBuf>,
    pub(in crate::config) entries: Vec<Entry>,
    /// Warnings about flags without effect.
    pub(in crate::config) warnings: Vec<String>,
}

/// Splits words as Python's `shlex.split` does, which has no comments: for the crate, a `#` at the
/// start of a word begins one. `None` if a quotation mark is not closed.
fn split(text: &str) -> Option<Vec<String>> {
    // Replaces `#`. A private-use character has no meaning to the crate, quoted or not.
    let mark = ('\u{e000}'..='\u{f8ff}').find(|mark| !text.contains(*mark))?;
    let words = shlex::split(&text.replace('#', &mark.to_string()))?;
    Some(words.into_iter().map(|word| word.replace(mark, "#")).collect())
}

/// Reads the variable, if it is set.
///
/// # Errors
/// A sentence about what cannot be parsed in it.
pub(in crate::config) fn read(variables: Variables<'_>) -> Result<Option<CmdArgs>, String> {
    let Some(text) = variables(VARIABLE).filter(|text| !text.is_empty()) else { return Ok(None) };
    let origin = format!("environment variable {VARIABLE}");
    let words = text.to_str().and_then(split);
    let words = words.ok_or_else(|| format!("{origin}: a quotation mark is not closed"))?;
    let argv = std::iter::once("rustwsgi".to_owned()).chain(words).map(OsString::from).collect();
    let given = cli::command()
        .try_get_matches_from(cli::normalized(argv))
        .map_err(|error| format!("{origin}: {}", cli::reason(error)))?;
    let warnings =
        gunicorn::check_flags(&given).map_err(|refusal| format!("{origin}: {refusal}"))?;
    let mut found = Vec::new();
    for option in options::all().filter(|option| option.name != "config") {
        if given.value_source(option.name) != Some(ValueSource::CommandLine) {
            continue;
        }
        let values = if option.field.is_flag() {
            vec!["true".to_owned()]
        } else {
            let values = given.get_raw(option.name).into_iter().flatten();
            values.map(|value| value.to_string_lossy().into_owned()).collect()
        };
        found.push((option.name.to_owned(), values));
    }
    let config = given.get_one::<PathBuf>("config").cloned();
    Ok(Some(CmdArgs { config, entries: lookup::entries(&origin, found)?, warnings }))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_split_as_by_python() {
        for (text, words) in [
            ("--name #1 -w 2", vec!["--name", "#1", "-w", "2"]),
            ("a#b '#c' \\#d \"e # f\"", vec!["a#b", "#c", "#d", "e # f"]),
            ("'a b' c", vec!["a b", "c"]),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
        assert_eq!(split("'a"), None);
    }
}
