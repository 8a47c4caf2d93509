//! One row of the table of options: [`OptionDef`].
//!
//! A row names the option once, as `keep_alive`. That is its key in a file and its keyword in
//! Python, `--keep-alive` on the command line and `RUSTWSGI_KEEP_ALIVE` in the environment. The
//! other columns say how its value is written, where it is stored, and what happens to it in a
//! reload.

use clap::{Arg, ArgMatches};
use toml::Value;

use super::given::Given;
use super::settings::Settings;

/// The definition of one option.
pub(super) struct OptionDef {
    /// The name, with underscores.
    pub(super) name: &'static str,
    /// The notation of its values, and the place where they are stored.
    pub(super) field: &'static dyn Field,
    /// The short flag.
    pub(super) short: Option<char>,
    /// What stands for the value in the help; empty for a flag and for a value named like the
    /// option.
    pub(super) metavar: &'static str,
    /// The text for `--help`, the manual page and docs/configuration.md.
    pub(super) help: &'static str,
    /// The default, in the notation of the command line.
    pub(super) default: Option<&'static str>,
    /// Other spellings of the flag, with hyphens, which other servers use.
    pub(super) aliases: &'static [&'static str],
    /// An alias that `--help` and completions show.
    pub(super) visible_alias: Option<&'static str>,
    /// Whether `--help` omits it: it exists for users of other servers.
    pub(super) hidden: bool,
    /// The option that it replaces. Giving both is an error.
    pub(super) instead_of: Option<&'static str>,
    /// A variable without our prefix that sets the option if no source does.
    pub(super) fallback_variable: Option<&'static str>,
    /// gunicorn's name of the setting.
    pub(super) gunicorn: Option<&'static str>,
    /// uWSGI's options, with underscores, that this one replaces.
    pub(super) uwsgi: &'static [&'static str],
    /// What applies a change to a running server.
    pub(super) reload: Reload,
    /// Whether `--print-config` and error messages hide the value.
    pub(super) secret: bool,
    /// Whether it concerns the loading of the application, which callers of the Python API do
    /// themselves.
    pub(super) command_line_only: bool,
    /// Whether it concerns the master or its workers, so that the Python API refuses it.
    pub(super) of_master: bool,
    /// The value in the settings, for options that are combined with others.
    pub(super) resolved: Option<fn(&Settings) -> Option<Value>>,
}

/// What applies a change of an option to a running server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reload {
    /// A reload: the new workers run with it.
    ByWorkers,
    /// A reload: the master applies it.
    ByMaster,
    /// A reload, unless the master has imported the application (`--preload`).
    UnlessPreloaded,
    /// Only another master, which USR2 starts.
    Upgrade,
    /// Only a restart.
    Restart,
    /// Nothing: it selects what this start does, and is not a setting of the server.
    Never,
}

/// How an option's values are parsed, stored and printed; see `field.rs`.
pub(super) trait Field: Sync {
    /// Adds the parser and the number of values.
    fn define(&self, arg: Arg) -> Arg;

    /// Whether it takes no value on the command line.
    fn is_flag(&self) -> bool {
        false
    }

    /// The value of the flag without a value, if it may be given so.
    fn bare_value(&self) -> Option<&'static str> {
        None
    }

    /// Whether it takes several values.
    fn is_repeatable(&self) -> bool {
        false
    }

    /// Stores what was parsed for the option of this name.
    fn store(&self, matches: &ArgMatches, name: &str, given: &mut Given);

    /// The stored value as in a file; `None` if there is none.
    fn print(&self, given: &mut Given) -> Option<Value>;
}

/// An option with nothing but a name and a field.
pub(super) const fn option(name: &'static str, field: &'static dyn Field) -> OptionDef {
    OptionDef {
        name,
        field,
        short: None,
        metavar: "",
        help: "",
        default: None,
        aliases: &[],
        visible_alias: None,
        hidden: false,
        instead_of: None,
        fallback_variable: None,
        gunicorn: None,
        uwsgi: &[],
        reload: Reload::ByWorkers,
        secret: false,
        command_line_only: false,
        of_master: false,
        resolved: None,
    }
}

/// Columns, in the order in which a row gives them.
impl OptionDef {
    pub(super) const fn short(self, short: char) -> OptionDef {
        OptionDef { short: Some(short), ..self }
    }

    pub(super) const fn takes(self, metavar: &'static str) -> OptionDef {
        OptionDef { metavar, ..self }
    }

    pub(super) const fn help(self, help: &'static str) -> OptionDef {
        OptionDef { help, ..self }
    }

    pub(super) const fn default(self, default: &'static str) -> OptionDef {
        OptionDef { default: Some(default), ..self }
    }

    pub(super) const fn aliases(self, aliases: &'static [&'static str]) -> OptionDef {
        OptionDef { aliases, ..self }
    }

    pub(super) const fn visible_alias(self, alias: &'static str) -> OptionDef {
        OptionDef { visible_alias: Some(alias), ..self }
    }

    pub(super) const fn hidden(self) -> OptionDef {
        OptionDef { hidden: true, ..self }
    }

    pub(super) const fn instead_of(self, option: &'static str) -> OptionDef {
        OptionDef { instead_of: Some(option), ..self }
    }

    pub(super) const fn fallback_variable(self, name: &'static str) -> OptionDef {
        OptionDef { fallback_variable: Some(name), ..self }
    }

    pub(super) const fn gunicorn(self, name: &'static str) -> OptionDef {
        OptionDef { gunicorn: Some(name), ..self }
    }

    pub(super) const fn uwsgi(self, names: &'static [&'static str]) -> OptionDef {
        OptionDef { uwsgi: names, ..self }
    }

    pub(super) const fn reload(self, reload: Reload) -> OptionDef {
        OptionDef { reload, ..self }
    }

    pub(super) const fn secret(self) -> OptionDef {
        OptionDef { secret: true, ..self }
    }

    pub(super) const fn command_line_only(self) -> OptionDef {
        OptionDef { command_line_only: true, ..self }
    }

    pub(super) const fn of_master(self) -> OptionDef {
        OptionDef { of_master: true, ..self }
    }

    pub(super) const fn resolved(self, value: fn(&Settings) -> Option<Value>) -> OptionDef {
        OptionDef { resolved: Some(value), ..self }
    }
}

impl OptionDef {
    /// The long flag without its hyphens in front.
    pub(super) fn long(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    pub(super) fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.to_ascii_uppercase())
    }

    /// All aliases.
    pub(super) fn all_aliases(&self) -> impl Iterator<Item = &'static str> {
        self.visible_alias.into_iter().chain(self.aliases.iter().copied())
    }

    /// The names in files and in Python: the option's own, and its aliases with underscores.
    pub(super) fn keywords(&self) -> impl Iterator<Item = String> {
        let aliases = self.all_aliases().map(|alias| alias.replace('-', "_"));
        std::iter::once(self.name.to_owned()).chain(aliases)
    }

    /// Whether this is the positional argument, the application.
    pub(super) fn is_positional(&self) -> bool {
        self.name == "app"
    }

    /// Options that exclude each other have the same group.
    pub(super) fn group(&self) -> &'static str {
        self.instead_of.unwrap_or(self.name)
    }

    /// The value in these settings, as in a file; `None` if there is none.
    pub(super) fn value(&self, settings: &Settings) -> Option<Value> {
        match self.resolved {
            Some(value) => value(settings),
            None => self.field.print(&mut Given::from(settings.clone())),
        }
    }
}

/// The beginning of the names of environment variables.
pub(super) const VARIABLE_PREFIX: &str = "RUSTWSGI_";
