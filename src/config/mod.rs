//! Options to settings: what the operator asks for becomes what the server runs with.
//!
//! Options are defined once, in [`flags`]. The environment and the Python API are rewritten as
//! command-line arguments by [`layers`], so are the files that [`files`] reads, and [`settings`] resolves the
//! result, of which [`mod@doubts`] says what was probably not meant. Nothing is changed here; that the
//! application or a log file exists is seen by whoever opens it.
//!
//! - [`app`], [`bind`], [`trust`] and [`notation`] read the values of options,
//! - [`gunicorn`] says what becomes of gunicorn's settings, [`cmd_args`] reads its variable, [`mod@as_gunicorn`]
//!   gives the settings back under its names,
//! - [`mod@describe`] prints the settings, [`generate`] completions and the man page, `reference` the
//!   configuration page.

mod app;
mod as_gunicorn;
mod bind;
mod compat;
#[cfg(test)]
mod docs;
mod flags;
mod generate;
mod layers;
mod notation;
mod print;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod trust;
mod warnings;

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

pub use app::AppSpec;
pub use as_gunicorn::as_gunicorn;
pub use bind::Bind;
pub use compat::gunicorn::names as gunicorn_settings;
pub use flags::ReloadStrategy;
pub use print::describe;
pub use settings::{AccessLogSettings, Budget, Processes, Recycling, Settings, Timeouts};
pub use sources::files::{Execute, Options};
pub use trust::Trust;

use flags::Flags;
use layers::Extra;

/// The exit status for a command line that cannot be used, as that of Python's argparse.
const USAGE: i32 = 2;

/// Why there are no settings: help or the like was asked for, or something is wrong. The process prints and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// The process's exit status: 0 for help and version, 2 for bad usage.
    pub code: i32,
    /// Whether the message goes to standard output; otherwise to standard error.
    pub stdout: bool,
    /// What to print, without a line feed at the end.
    pub message: String,
}

impl Exit {
    fn usage(message: impl fmt::Display) -> Exit {
        Exit { code: USAGE, stdout: false, message: format!("error: {message}") }
    }
}

impl From<clap::Error> for Exit {
    fn from(error: clap::Error) -> Exit {
        Exit {
            code: error.exit_code(),
            stdout: !error.use_stderr(),
            message: shown(error).trim_end().to_owned(),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Exit {}

/// Settings from a command line, whose first item is the program's name, and the environment
/// (`RUSTWSGI_*`, `PORT` for the default address, `WEB_CONCURRENCY` for the number of workers).
///
/// Files are read in the current directory; one that is a Python program is given to `execute`.
///
/// # Errors
/// An [`Exit`] with code 0 if help or the version was asked for, and with code 2 if an option is
/// unknown, a value is wrong, or the application is missing.
pub fn parse<I: IntoIterator<Item = OsString>>(
    argv: I,
    execute: Execute<'_>,
) -> Result<Settings, Exit> {
    let variable = |name: &str| std::env::var_os(name);
    parse_with(argv.into_iter().collect(), &variable, Path::new("."), execute)
}

fn parse_with(
    argv: Vec<OsString>,
    variable: &dyn Fn(&str) -> Option<OsString>,
    directory: &Path,
    execute: Execute<'_>,
) -> Result<Settings, Exit> {
    let argv = with_hyphens(argv);
    let command = Flags::command();
    let given = flags::command_line()
        .try_get_matches_from(&argv)
        .map_err(|error| unparsed(&command, error))?;
    if let Some(&what) = given.get_one(generate::OPTION) {
        return Err(Exit { code: 0, stdout: true, message: generate::generate(what) });
    }
    let mut notes = compat::gunicorn::look(&given).map_err(Exit::usage)?;
    let mut extras = layers::from_environment(&command, &given, variable).map_err(Exit::usage)?;
    let named = given
        .get_one::<PathBuf>("config")
        .cloned()
        .or_else(|| variable("RUSTWSGI_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from));
    let theirs = sources::gunicorn_cmd_args::read(&command, variable).map_err(Exit::usage)?;
    let named = named.or_else(|| theirs.as_ref().and_then(|theirs| theirs.config.clone()));
    if let Some(theirs) = theirs {
        let more =
            layers::from_file(&command, &given, &extras, &theirs.source).map_err(Exit::usage)?;
        extras.extend(more);
        notes.extend(theirs.notes);
    }
    let found = sources::files::read(directory, named.as_deref(), execute).map_err(Exit::usage)?;
    for source in &found.sources {
        let more = layers::from_file(&command, &given, &extras, source).map_err(Exit::usage)?;
        extras.extend(more);
    }
    notes.extend(found.notes);
    let defaults = layers::from_elsewhere(&command, &given, &extras, variable);
    extras.extend(defaults.map_err(Exit::usage)?);
    let matches = if extras.is_empty() {
        given
    } else {
        judge(&extras)?;
        merge(argv, extras)?
    };
    let mut settings = resolve(&matches, variable("PORT"), variable("WEB_CONCURRENCY"))?;
    settings.files = found.sources.into_iter().map(|source| source.origin).collect();
    settings.script_name =
        settings::script_name(&settings.env, variable("SCRIPT_NAME")).map_err(Exit::usage)?;
    notes.extend(warnings::doubts(&settings));
    settings.notes = notes;
    if settings.app.is_none() && !settings.print_config {
        return Err(Exit::usage(
            "no application is given; name it as MODULE:NAME, for example: rustwsgi hello:app\n\n\
             For more information, try '--help'.",
        ));
    }
    Ok(settings)
}

/// Settings from keyword arguments of the Python API, as `("access_logfile", ["-"])`; flags are given
/// as `"true"` or `"false"`. The environment is not read, so that a call means the same everywhere.
///
/// # Errors
/// An [`Exit`] with code 2 if a name is unknown (the message tells the nearest known one) or a value
/// is wrong.
pub fn parse_api(options: &[(String, Vec<String>)]) -> Result<Settings, Exit> {
    let extras = layers::from_keywords(&Flags::command(), options).map_err(Exit::usage)?;
    judge(&extras)?;
    resolve(&merge(Vec::new(), extras)?, None, None)
}

/// What to say of variables of the environment that look like options and are none.
pub fn stray_variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    layers::stray_variables(&Flags::command(), names)
}

/// clap's message, but for an option there is none of: its tips reach far, and do not know what other
/// servers have.
fn unparsed(command: &Command, error: clap::Error) -> Exit {
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) if error.kind() == ErrorKind::UnknownArgument => option,
        _ => return error.into(),
    };
    let Some(name) = unknown.strip_prefix("--") else { return error.into() };
    let nearest = layers::nearest(command, name);
    let tip = match (layers::absent(name), nearest) {
        (_, Some(nearest)) if nearest == "app" => {
            ": the application is named without an option, as in: rustwsgi hello:app".to_owned()
        }
        (Some(reason), _) => format!(": {reason}"),
        (None, Some(nearest)) => {
            let nearest = nearest.replace('_', "-");
            format!("\n\n  tip: a similar option exists: '--{nearest}'")
        }
        (None, None) => String::new(),
    };
    Exit::usage(format_args!(
        "unexpected argument '{unknown}' found{tip}\n\nFor more information, try '--help'."
    ))
}

fn resolve(
    matches: &ArgMatches,
    port: Option<OsString>,
    concurrency: Option<OsString>,
) -> Result<Settings, Exit> {
    let flags = Flags::from_arg_matches(matches)?;
    settings::resolve(flags, port.as_deref(), concurrency.as_deref()).map_err(Exit::usage)
}

/// Parses each extra option alone, so that a bad one is reported with the place it came from and
/// not as something that was never typed.
fn judge(extras: &[Extra]) -> Result<(), Exit> {
    for extra in extras {
        let Some(argument) = &extra.argument else {
            continue;
        };
        let argv = [OsString::from("rustwsgi"), argument.clone()];
        if let Err(error) = Flags::command().try_get_matches_from(argv) {
            return Err(Exit::usage(format_args!("{}: {}", extra.origin, reason(error))));
        }
    }
    Ok(())
}

/// What clap says. A variable of the application may be a secret, also if it is not written as one.
fn shown(mut error: clap::Error) -> String {
    let variable = |arg: &ContextValue| arg.to_string().starts_with("--env ");
    if error.get(ContextKind::InvalidArg).is_some_and(variable) {
        error.insert(ContextKind::InvalidValue, ContextValue::String(print::HIDDEN.into()));
    }
    error.render().to_string()
}

/// What clap has to say of a value, without the advice that only fits a command line.
fn reason(error: clap::Error) -> String {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return "not a value".to_owned();
    }
    let text = shown(error);
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = text.find("\n\n").unwrap_or(text.len());
    text[..end].trim_end().to_owned()
}

/// The whole command line, with the extra options where they belong: ahead of the typed ones, and
/// the application behind them.
fn merge(argv: Vec<OsString>, extras: Vec<Extra>) -> Result<ArgMatches, Exit> {
    let mut typed = argv.into_iter();
    let mut merged = vec![typed.next().unwrap_or_else(|| "rustwsgi".into())];
    let (last, first): (Vec<Extra>, Vec<Extra>) =
        extras.into_iter().partition(|extra| extra.positional);
    merged.extend(first.into_iter().filter_map(|extra| extra.argument));
    merged.extend(typed);
    merged.extend(last.into_iter().filter_map(|extra| extra.argument));
    Ok(flags::command_line().try_get_matches_from(merged)?)
}

/// Spells `--access_logfile=a_b` as `--access-logfile=a_b`: Python's users know the options by their
/// names in a configuration file. What follows a lone `--` is left alone.
fn with_hyphens(argv: Vec<OsString>) -> Vec<OsString> {
    let mut options = true;
    let spell = |argument: OsString| {
        options = options && argument != "--";
        if !options || !argument.as_bytes().starts_with(b"--") {
            return argument;
        }
        let mut bytes = argument.into_vec();
        let end = memchr::memchr(b'=', &bytes).unwrap_or(bytes.len());
        for byte in &mut bytes[..end] {
            if *byte == b'_' {
                *byte = b'-';
            }
        }
        OsString::from_vec(bytes)
    };
    argv.into_iter().map(spell).collect()
}
