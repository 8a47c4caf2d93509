//! Reads all sources of options, in the order of their precedence.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::app::AppSpec;
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
use super::sources::{environment, files, gunicorn_cmd_args, integration, keywords};
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
    /// The options that the environment and the files set, by the names that `--bind` and others
    /// share.
    pub set: Vec<&'static str>,
    /// Where the application was found, if no source has named one.
    pub found: Option<String>,
}

/// An application that was found, without one being named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundApp {
    /// Its name.
    pub name: String,
    /// Where it was found, as `manage.py`.
    pub place: String,
}

/// Finds the application of the project in a directory. An error is a sentence.
pub type FindApp<'a> = &'a dyn Fn(&Path) -> Result<FoundApp, String>;

/// Decides whether a server with these values of `--user` and `--group`, as far as they are known
/// yet, may use a configuration file. `None` is a module, whose file `execute` knows. An error is a
/// sentence.
pub type CheckFile<'a> =
    &'a dyn Fn(Option<&Path>, Option<&str>, Option<&str>) -> Result<(), String>;

/// Settings from a command line, whose first item is the program's name, the environment, and the
/// configuration files in the current directory. A file that is a Python program is given to
/// `execute`. Each file is checked with `check`, before it is read and again when all is known. If
/// no source names the application, `find` does.
///
/// # Errors An [`Exit`] with code 0 if help or the version was requested, and with code 2 if an
/// option is unknown, a value is invalid, or the application is missing.
pub fn parse<I: IntoIterator<Item = OsString>>(
    argv: I,
    execute: Execute<'_>,
    check: CheckFile<'_>,
    find: FindApp<'_>,
) -> Result<Loaded, Exit> {
    let kept =
        |name: &str| integration::kept_integration().filter(|_| name == integration::VARIABLE);
    let variables = |name: &str| std::env::var_os(name).or_else(|| kept(name));
    let place = Place { variables: &variables, directory: Path::new(".") };
    parse_with(argv.into_iter().collect(), place, execute, check, find)
}

/// The environment, and the directory that has the files.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) variables: Variables<'a>,
    pub(super) directory: &'a Path,
}

/// The same in another environment and directory.
pub(super) fn parse_with(
    argv: Vec<OsString>,
    place: Place<'_>,
    execute: Execute<'_>,
    check: CheckFile<'_>,
    find: FindApp<'_>,
) -> Result<Loaded, Exit> {
    let Place { variables, directory } = place;
    let argv = cli::normalized(argv);
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
    let integration = integration::read(variables).map_err(Exit::usage)?;
    sources.add(integration.settings).map_err(Exit::usage)?;
    let [user, group] = ["user", "group"].map(|name| sources.value(name));
    let check_read = |path: Option<&Path>| check(path, user.as_deref(), group.as_deref());
    let reader = Reader { execute, check: &check_read };
    let found = files::read(directory, named.as_deref(), reader).map_err(Exit::usage)?;
    let mut files = Vec::from_iter(integration.origin);
    let mut paths = Vec::new();
    for file in found.files {
        sources.add(file.entries).map_err(Exit::usage)?;
        files.push(file.origin);
        paths.push(file.path);
    }
    warnings.extend(found.warnings);
    sources.add(environment::fallbacks(variables)).map_err(Exit::usage)?;
    sources.add(integration.defaults).map_err(Exit::usage)?;

    let arguments = sources.into_arguments();
    let set = arguments.iter().map(|argument| argument.option.group()).collect();
    cli::validate(&arguments)?;
    let matches = cli::parse_merged(argv, arguments)?;
    let mut settings = resolve(&matches, variables).map_err(Exit::usage)?;
    let (user, group) = (&settings.processes.user, &settings.processes.group);
    for path in paths {
        check(path.as_deref(), user.as_deref(), group.as_deref()).map_err(Exit::usage)?;
    }
    let found = find_app(&mut settings, directory, find)?;
    warnings.extend(warnings::warnings(&settings));
    Ok(Loaded { settings, files, warnings, set, found })
}

/// Finds the application of the project if no source has named one. Returns the place.
fn find_app(
    settings: &mut Settings,
    directory: &Path,
    find: FindApp<'_>,
) -> Result<Option<String>, Exit> {
    if settings.app.is_some() {
        return Ok(None);
    }
    let chdir = settings.chdir.as_ref();
    match find(&chdir.map_or_else(|| directory.to_path_buf(), |chdir| directory.join(chdir))) {
        Ok(found) => {
            settings.app = Some(AppSpec::parse(&found.name, false).map_err(Exit::usage)?);
            Ok(Some(found.place))
        }
        // Settings can be printed without it.
        Err(_) if settings.print_config => Ok(None),
        Err(reason) => Err(Exit::usage(format_args!(
            "no application given, and none found: {reason}\n\nFor more information, try '--help'."
        ))),
    }
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
