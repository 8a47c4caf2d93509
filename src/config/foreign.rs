//! The tables of options as data, for `rustwsgi convert`: which options there are, and what becomes
//! of those of gunicorn and uWSGI.

use super::compat::{gunicorn, uwsgi};
use super::option::{OptionDef, Reload};
use super::options;
use super::settings::Settings;

/// One option of this server.
pub struct OptionRow {
    /// The name in a file.
    pub name: &'static str,
    /// Its heading in `--help`.
    pub section: &'static str,
    /// The short flag, or nothing.
    pub short: String,
    /// The names of long flags, without hyphens in front, the option's own first.
    pub flags: Vec<String>,
    /// Whether it takes no value on the command line.
    pub is_flag: bool,
    /// Whether it takes several values.
    pub is_repeatable: bool,
    /// gunicorn's name of it.
    pub gunicorn: Option<&'static str>,
    /// uWSGI's options, with underscores, that it replaces.
    pub uwsgi: &'static [&'static str],
}

/// All options that a file can set, in the order of the table.
pub fn option_rows() -> Vec<OptionRow> {
    let sections = options::SECTIONS.iter();
    let all = sections.flat_map(|section| {
        section.options.iter().map(|option| OptionRow {
            name: option.name,
            section: section.title,
            short: option.short.map(String::from).unwrap_or_default(),
            flags: option.keywords().map(|name| name.replace('_', "-")).collect(),
            is_flag: option.field.is_flag(),
            is_repeatable: option.field.is_repeatable(),
            gunicorn: option.gunicorn,
            uwsgi: option.uwsgi,
        })
    });
    all.collect()
}

/// gunicorn's settings that are no options here: the name, the flag, and whether the flag takes a
/// value.
pub fn gunicorn_rows() -> Vec<(&'static str, &'static str, bool)> {
    let row = |setting: &gunicorn::Setting| {
        let (flag, value) = setting.flag_and_value();
        (setting.name, flag, value.is_some())
    };
    gunicorn::SETTINGS.iter().map(row).collect()
}

/// What becomes of a setting of gunicorn that is no option here, with these values; nothing if it
/// has gunicorn's default.
pub fn gunicorn_reason(name: &str, values: &[String]) -> Option<&'static str> {
    let setting = gunicorn::setting(name)?;
    match setting.fate {
        gunicorn::Fate::Always => Some("the server always behaves so"),
        _ if !setting.is_changed(values) => None,
        gunicorn::Fate::Ignored(reason) | gunicorn::Fate::Refused(reason) => Some(reason),
    }
}

/// What to write in place of an option of uWSGI, whose name has underscores.
pub fn uwsgi_advice(name: &str) -> Option<String> {
    uwsgi::counterpart(name)
}

/// The values of the named options, in the notation of a file. Those that may be secret are left
/// out.
pub fn file_values(settings: &Settings, names: &[&str]) -> Vec<(String, Vec<String>)> {
    let text =
        |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let is_wanted = |option: &&OptionDef| {
        names.contains(&option.name) && !option.secret && option.reload != Reload::Never
    };
    let values = options::all().filter(is_wanted).filter_map(|option| {
        let values = match option.value(settings)? {
            toml::Value::Array(items) => items.iter().map(text).collect(),
            value => vec![text(&value)],
        };
        Some((option.name.to_owned(), values))
    });
    values.collect()
}
