//! The settings under gunicorn's names: what the hooks of a gunicorn configuration read in `cfg`.

use toml::Value;

use crate::config::option::OptionDef;
use crate::config::options;
use crate::config::settings::Settings;

/// Every setting of gunicorn that is an option here and has a value: its values, as text.
/// `python/rustwsgi/_settings.py` knows their types.
pub fn gunicorn_values(settings: &Settings) -> Vec<(String, Vec<String>)> {
    options::all()
        .filter_map(|option| {
            let values = match value(option, settings)? {
                Value::Array(items) => items.iter().map(text).collect(),
                value => vec![text(&value)],
            };
            Some((option.gunicorn?.to_owned(), values))
        })
        .collect()
}

fn value(option: &OptionDef, settings: &Settings) -> Option<Value> {
    match option.name {
        // Here it only selects the default number of threads.
        "worker_class" => Some(if settings.threads == 1 { "sync" } else { "gthread" }.into()),
        _ => option.value(settings),
    }
}

/// Text without the quotation marks.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
