//! The command line: the clap command that the table of options defines, and its errors.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::compat::gunicorn;
use super::exit::Exit;
use super::option::OptionDef;
use super::options::{self, SECTIONS};
use super::precedence::Argument;
use super::print::HIDDEN;
use super::{generate, habits, help, suggest};

const ABOUT: &str = "Serves a Python WSGI application over HTTP/1.1";

const AFTER_HELP: &str = "Every option can also be set in the environment, as in \
    RUSTWSGI_KEEP_ALIVE=5, or in a configuration file, as in keep_alive = 5. The command line \
    overrides the environment, and the environment overrides files: --config, then \
    ./rustwsgi.toml, then [tool.rustwsgi] in ./pyproject.toml, or else ./gunicorn.conf.py. \
    --generate prints shell completions (completions-bash, completions-zsh, completions-fish) or \
    the manual page (man).\n\n\
    Two commands print files: 'rustwsgi convert FILE' a rustwsgi.toml for the configuration of \
    gunicorn, uWSGI, waitress or mod_wsgi-express; 'rustwsgi init KIND' a file for systemd, nginx, \
    haproxy, docker, compose, kubernetes or procfile. Two show a running server, by its \
    --control-socket or --metrics: 'rustwsgi ctl COMMAND', which also controls it, and 'rustwsgi \
    top'. Each has a --help.";

/// The options, gunicorn's flags without a counterpart, `--generate` and `--version`.
pub(super) fn command() -> Command {
    let options = SECTIONS.iter().flat_map(|section| {
        section.options.iter().map(|option| {
            let heading = !option.is_positional() && !option.hidden;
            argument(option).help_heading(heading.then_some(section.title))
        })
    });
    let version = Arg::new("version")
        .short('V')
        // gunicorn's.
        .short_alias('v')
        .long("version")
        .action(ArgAction::Version)
        .help("Print version");
    Command::new("rustwsgi")
        .bin_name("rustwsgi")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER_HELP)
        .args_override_self(true)
        .args(options)
        .args(gunicorn::flags())
        // Without it clap reports `-1` as an unknown flag rather than as an invalid value.
        .mut_args(|arg| {
            let takes = arg.get_action().takes_values() && !arg.is_positional();
            if takes { arg.allow_negative_numbers(true) } else { arg }
        })
        .arg(generate::arg())
        .disable_version_flag(true)
        .arg(version)
}

/// The option as clap's argument.
fn argument(option: &OptionDef) -> Arg {
    let mut arg = option.field.define(Arg::new(option.name)).help(option.help);
    if !option.is_positional() {
        arg = arg.long(option.long());
    }
    if let Some(short) = option.short {
        arg = arg.short(short);
    }
    if !option.metavar.is_empty() {
        arg = arg.value_name(option.metavar);
    }
    if let Some(default) = option.default {
        // A default that depends on something is part of the help text.
        let stated = option.help.contains("[default: ");
        arg = arg.default_value(default).hide_default_value(stated);
    }
    if let Some(other) = option.instead_of {
        arg = arg.conflicts_with(other);
    }
    arg.aliases(option.aliases.iter().copied())
        .visible_aliases(option.visible_alias)
        .hide(option.hidden)
}

/// Parses a command line whose first item is the program's name.
pub(super) fn parse(argv: &[OsString]) -> Result<ArgMatches, Exit> {
    command().try_get_matches_from(argv).map_err(|error| exit(error, argv))
}

/// All positional arguments, also those that are too many.
fn positional(argv: &[OsString]) -> Vec<String> {
    let command = command().mut_arg("app", |arg| arg.num_args(0..).action(ArgAction::Append));
    let matches = command.ignore_errors(true).try_get_matches_from(argv);
    let values = matches.ok().and_then(|mut matches| matches.remove_many::<String>("app"));
    values.into_iter().flatten().collect()
}

/// Parses the command line `argv` again, with the arguments of the other sources: options before
/// the typed ones, which override them, and the application behind them.
pub(super) fn parse_merged(
    argv: Vec<OsString>,
    arguments: Vec<Argument>,
) -> Result<ArgMatches, Exit> {
    let mut typed = argv.into_iter();
    let mut merged = vec![typed.next().unwrap_or_else(|| "rustwsgi".into())];
    let (last, first): (Vec<Argument>, Vec<Argument>) =
        arguments.into_iter().partition(|argument| argument.option.is_positional());
    merged.extend(first.into_iter().filter_map(|argument| argument.text));
    merged.extend(typed);
    merged.extend(last.into_iter().filter_map(|argument| argument.text));
    parse(&merged)
}

/// Parses each argument of another source alone, so that an error names the source rather than
/// something that was never typed.
pub(super) fn validate(arguments: &[Argument]) -> Result<(), Exit> {
    let command = command();
    for argument in arguments {
        let Some(text) = &argument.text else { continue };
        let argv = [OsString::from("rustwsgi"), text.clone()];
        if let Err(error) = command.clone().try_get_matches_from(argv) {
            // The origin names the option already, as its source does.
            let named = error.get(ContextKind::InvalidArg).map(|arg| format!(" for '{arg}'"));
            let reason = reason(error).replacen(&named.unwrap_or_default(), "", 1);
            return Err(Exit::usage(format_args!("{}: {reason}", argument.origin)));
        }
    }
    Ok(())
}

/// What clap says about a value, without the advice that only fits a command line.
pub(super) fn reason(error: clap::Error) -> String {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return "not a value".to_owned();
    }
    let text = render(error);
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let end = text.find("\n\n").unwrap_or(text.len());
    text[..end].trim_end().to_owned()
}

/// Replaces underscores in the names of options: `--access_logfile=a_b` is `--access-logfile=a_b`.
/// Gives each bare flag its value, so that the argument behind it is none: `--proxy-protocol a:b`
/// is `--proxy-protocol=auto a:b`. Arguments behind a lone `--` stay as they are.
pub(super) fn normalized(argv: Vec<OsString>) -> Vec<OsString> {
    let mut argv = with_hyphens(argv);
    let end = argv.iter().position(|argument| argument == "--").unwrap_or(argv.len());
    for at in 0..end {
        let is_named = |option: &&OptionDef| argv[at] == *format!("--{}", option.long());
        let found = options::all().filter(|option| option.field.bare_value().is_some());
        let Some(option) = found.into_iter().find(is_named) else { continue };
        let next = argv.get(at + 1).filter(|_| at + 1 < end);
        if next.is_none_or(|next| !accepts(option, next)) {
            argv[at] =
                format!("--{}={}", option.long(), option.field.bare_value().unwrap_or_default())
                    .into();
        }
    }
    argv
}

/// Whether this is a value of the option.
fn accepts(option: &OptionDef, value: &OsString) -> bool {
    let mut argument = OsString::from(format!("--{}=", option.long()));
    argument.push(value);
    Command::new("")
        .no_binary_name(true)
        .arg(self::argument(option))
        .try_get_matches_from([argument])
        .is_ok()
}

fn with_hyphens(argv: Vec<OsString>) -> Vec<OsString> {
    let mut options = true;
    let hyphenate = |argument: OsString| {
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
    argv.into_iter().map(hyphenate).collect()
}

/// clap's message, except for an unknown option: its suggestions are less strict, and do not know
/// the options of other servers.
fn exit(error: clap::Error, argv: &[OsString]) -> Exit {
    if error.kind() == ErrorKind::DisplayHelp {
        return Exit::output(help::text(argv, command()).trim_end().to_owned());
    }
    if is_module_flag(&error) {
        return Exit::usage(format_args!(
            "-m is --umask here; name the application without an option: rustwsgi {}",
            habits::named_by_option(argv, "-m")
        ));
    }
    let unknown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) if error.kind() == ErrorKind::UnknownArgument => {
            option.clone()
        }
        _ => String::new(),
    };
    if !unknown.is_empty() && !unknown.starts_with('-') {
        return Exit::usage(habits::too_many(&positional(argv), &unknown));
    }
    let Some(name) = unknown.strip_prefix("--") else {
        return Exit {
            code: error.exit_code(),
            stdout: !error.use_stderr(),
            message: render(error).trim_end().to_owned(),
        };
    };
    let tip = match (suggest::counterpart(name), suggest::option(name)) {
        (_, Some(option)) if option.is_positional() => {
            let name = habits::named_by_option(argv, &unknown);
            format!(": name the application without an option, as in: rustwsgi {name}")
        }
        (Some(reason), _) => format!(": {reason}"),
        (None, Some(nearest)) => {
            format!("\n\n  tip: a similar option exists: '--{}'", nearest.long())
        }
        (None, None) => String::new(),
    };
    Exit::usage(format_args!(
        "unexpected argument '{unknown}' found{tip}\n\nFor more information, try '--help'."
    ))
}

/// Whether `-m` was given the name of a module, as to Python: here it is gunicorn's flag.
fn is_module_flag(error: &clap::Error) -> bool {
    let value = match (error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue)) {
        (Some(arg), Some(value)) if arg.to_string().starts_with("--umask ") => value.to_string(),
        _ => return false,
    };
    value.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// clap's text, without its tip to pass an unknown flag as a value. It hides the value of `--env`,
/// which may be a secret even if it is malformed.
fn render(mut error: clap::Error) -> String {
    if error.kind() == ErrorKind::UnknownArgument {
        error.remove(ContextKind::Suggested);
    }
    let secret = |arg: &ContextValue| arg.to_string().starts_with("--env ");
    if error.get(ContextKind::InvalidArg).is_some_and(secret) {
        error.insert(ContextKind::InvalidValue, ContextValue::String(HIDDEN.into()));
    }
    error.render().to_string()
}
