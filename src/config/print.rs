//! `--print-config`: the settings in TOML.
//!
//! It shows which of several sources won, so it prints every setting in the notation of a file. The
//! values of `--env` are hidden: they are the usual place of passwords, and the output ends up in
//! bug reports.

use toml::Value;

use super::option::Reload;
use super::options;
use super::settings::Settings;

/// The replacement of a value that may be a secret.
pub(super) const HIDDEN: &str = "***";

/// All settings, one `key = value` per line.
pub fn print_config(settings: &Settings) -> String {
    let settings_only = options::all().filter(|option| option.reload != Reload::Never);
    let lines = settings_only.filter_map(|option| {
        let value = option.value(settings)?;
        Some(format!("{} = {}\n", option.name, if option.secret { hide(value) } else { value }))
    });
    lines.collect()
}

/// Keeps the names of variables.
fn hide(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(hide).collect()),
        value => {
            let name = value.as_str().and_then(|text| text.split_once('='));
            Value::from(name.map_or(HIDDEN.to_owned(), |(name, _)| format!("{name}={HIDDEN}")))
        }
    }
}
