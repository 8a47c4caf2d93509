//! `GUNICORN_CMD_ARGS`: a part of gunicorn's command line, by which containers are configured.
//!
//! With gunicorn it counts less than the command line and more than the configuration file; so here, with this
//! server's own variables ahead of it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgAction, Command};

use crate::config::compat::gunicorn;
use crate::config::sources::files::Source;
use crate::config::{flags, reason};

const VARIABLE: &str = "GUNICORN_CMD_ARGS";

/// What the variable says.
pub(in crate::config) struct CmdArgs {
    /// The configuration file that it names.
    pub(in crate::config) config: Option<PathBuf>,
    pub(in crate::config) source: Source,
    /// What is to be said of flags that have no effect.
    pub(in crate::config) notes: Vec<String>,
}

/// Words as Python's `shlex.split` makes them, which knows no comments: to the crate, a `#` that begins a
/// word begins one. `None` if a quotation mark is not closed.
fn split(text: &str) -> Option<Vec<String>> {
    // Inside of quotation marks a mark is taken as it is; nothing that could be one is elsewhere.
    let mark = ('\u{e000}'..='\u{f8ff}').find(|mark| !text.contains(*mark))?;
    let words = shlex::split(&text.replace('#', &mark.to_string()))?;
    Some(words.into_iter().map(|word| word.replace(mark, "#")).collect())
}

/// Reads the variable, if it is set.
///
/// # Errors
/// A sentence about what cannot be understood in it.
pub(in crate::config) fn read(
    command: &Command,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<CmdArgs>, String> {
    let Some(text) = variable(VARIABLE).filter(|text| !text.is_empty()) else { return Ok(None) };
    let origin = format!("the environment variable {VARIABLE}");
    let words = text.to_str().and_then(split);
    let words = words.ok_or_else(|| format!("{origin}: a quotation mark is not closed"))?;
    let argv = std::iter::once("rustwsgi".to_owned()).chain(words).map(OsString::from).collect();
    let given = flags::command_line()
        .try_get_matches_from(crate::config::with_hyphens(argv))
        .map_err(|error| format!("{origin}: {}", reason(error)))?;
    let notes = gunicorn::look(&given).map_err(|refusal| format!("{origin}: {refusal}"))?;
    let mut options = Vec::new();
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        if given.value_source(id) != Some(ValueSource::CommandLine) || id == "config" {
            continue;
        }
        let values = match arg.get_action() {
            ArgAction::SetTrue => vec!["true".to_owned()],
            _ => {
                let values = given.get_raw(id).into_iter().flatten();
                values.map(|value| value.to_string_lossy().into_owned()).collect()
            }
        };
        options.push((id.to_owned(), values));
    }
    let config = given.get_one::<PathBuf>("config").cloned();
    Ok(Some(CmdArgs { config, source: Source { origin, options }, notes }))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn words_are_those_of_python() {
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
