//! Reads all sources of options, in the order of their precedence.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::cli;
use super::compat::gunicorn;
use super::exit::Exit;
use super::generate;
use super::options;
use super::precedence::Precedence;
use super::resolve::{Variables, resolve};
use super::settings::Settings;
use super::sources::files::Reader;
use super::sources::gunicorn_py::Execute;
use super::sources::{environment, files, gunicorn_cmd_args, keywords};
use super::warnings;

/// The settings, and what to log about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The configuration files that were read, the one with the highest precedence first.
    pub files: Vec<String>,
    /// Warnings about options without effect, or with another one than probably intended.
    pub warnings: Vec<String>,
}

/// Decides whether a server with these values of `--user` and `--group`, as far as they are known
/// yet, may use a configuration file. `None` is a module, whose file `execute` knows. An error is a
/// sentence.
pub type CheckFile<'a> =
    &'a dyn Fn(Option<&Path>, Option<&str>, Option<&str>) -> Result<(), String>;

/// Settings from a command line, whose first item is the program's name, the environment, and the
/// configuration files in the current directory. A file that is a Python program is given to
/// `execute`. Each file is checked with `check`, before it is read and again when all is known.
///
/// # Errors An [`Exit`] with code 0 if help or the version was requested, and with code 2 if an
/// option is unknown, a value is invalid, or the application is missing.
pub fn parse<I: IntoIterator<Item = OsString>>(
    argv: I,
    execute: Execute<'_>,
    check: CheckFile<'_>,
) -> Result<Loaded, Exit> {
    let variables = |name: &str| std::env::var_os(name);
    parse_with(argv.into_iter().collect(), &variables, Path::new("."), execute, check)
}

/// The same in another environment and directory.
pub(super) fn parse_with(
    argv: Vec<OsString>,
    variables: Variables<'_>,
    directory: &Path,
    execute: Execute<'_>,
    check: CheckFile<'_>,
) -> Result<Loaded, Exit> {
    let argv = cli::with_hyphens(argv);
    let typed = cli::parse(&argv)?;
    if let Some(&what) = typed.get_one(generate::OPTION) {
        return Err(Exit::output(generate::generate(what, cli::command())));
    }
    let mut warnings = gunicorn::check_flags(&typed).map_err(Exit::usage)?;
    let mut sources = Precedence::new(Some(&typed));
    sources.add(environment::entries(variables)).map_err(Exit::usage)?;

    let variable = || variables("RUSTWSGI_CONFIG").filter(|path| !path.is_empty());
    let mut named = typed.get_one("config").cloned().or_else(|| variable().map(PathBuf::from));
    if let Some(args) = gunicorn_cmd_args::read(variables).map_err(Exit::usage)? {
        named = named.or(args.config);
        sources.add(args.entries).map_err(Exit::usage)?;
        warnings.extend(args.warnings);
    }
    let [user, group] = ["user", "group"].map(|name| sources.value(name));
    let check_read = |path: Option<&Path>| check(path, user.as_deref(), group.as_deref());
    let reader = Reader { execute, check: &check_read };
    let found = files::read(directory, named.as_deref(), reader).map_err(Exit::usage)?;
    let mut files = Vec::new();
    let mut paths = Vec::new();
    for file in found.files {
        sources.add(file.entries).map_err(Exit::usage)?;
        files.push(file.origin);
        paths.push(file.path);
    }
    warnings.extend(found.warnings);
    sources.add(environment::fallbacks(variables)).map_err(Exit::usage)?;

    let arguments = sources.into_arguments();
    cli::validate(&arguments)?;
    let matches = cli::parse_merged(argv, arguments)?;
    let settings = resolve(&matches, variables).map_err(Exit::usage)?;
    let (user, group) = (&settings.processes.user, &settings.processes.group);
    for path in paths {
        check(path.as_deref(), user.as_deref(), group.as_deref()).map_err(Exit::usage)?;
    }
    if settings.app.is_none() && !settings.print_config {
        return Err(Exit::usage(
            "no application given; specify MODULE:NAME, for example: rustwsgi hello:app\n\n\
             For more information, try '--help'.",
        ));
    }
    warnings.extend(warnings::warnings(&settings));
    Ok(Loaded { settings, files, warnings })
}

/// Settings from keyword arguments of the Python API, as `("access_logfile", ["-"])`; flags are
/// given as `"true"` or `"false"`. The environment is not read, so that a call means the same
/// everywhere.
///
/// # Errors
/// An [`Exit`] with code 2 if a name is unknown (the message suggests the nearest one) or a value
/// is invalid.
pub fn parse_api(options: &[(String, Vec<String>)]) -> Result<Settings, Exit> {
    let mut sources = Precedence::new(None);
    let entries = keywords::entries(options).map_err(Exit::usage)?;
    sources.add(entries).map_err(Exit::usage)?;
    let arguments = sources.into_arguments();
    cli::validate(&arguments)?;
    let matches = cli::parse_merged(Vec::new(), arguments)?;
    resolve(&matches, &|_| None).map_err(Exit::usage)
}

/// Refuses keyword arguments of the Python API that need a master process: without an error, a
/// program would rely on an option that has no effect. `settings` are the result of the arguments.
///
/// # Errors
/// An [`Exit`] that names the option.
pub fn refuse_master_options(
    options: &[(String, Vec<String>)],
    settings: &Settings,
) -> Result<(), Exit> {
    let check = |(name, values): &(String, Vec<String>)| of_master(name, values, settings);
    options.iter().try_for_each(check).map_err(Exit::usage)
}

fn of_master(name: &str, values: &[String], settings: &Settings) -> Result<(), String> {
    let Some(option) = options::find(name).filter(|option| option.of_master) else {
        return Ok(());
    };
    let is_default = match option.field.is_flag() {
        true => option.value(settings) == option.value(&Settings::unset()),
        false => option.default.map_or(values.is_empty(), |default| values == [default]),
    };
    match is_default {
        true => Ok(()),
        false if option.name == "config" => {
            Err("config: no file is read here; pass its options as keyword arguments".to_owned())
        }
        false => Err(format!(
            "{name}: only possible on the command line, where a master process watches the one \
             that serves; remove it, or run rustwsgi"
        )),
    }
}
