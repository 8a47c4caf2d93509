//! The settings under gunicorn's names: what the hooks of a gunicorn configuration read in `cfg`.

use toml::Value;

use crate::config::option::OptionDef;
use crate::config::options;
use crate::config::settings::Settings;

/// Settings of which hooks see what the configuration file has, or else gunicorn's default, if the
/// option has no value.
const DEFAULT_OF_GUNICORN: [&str; 2] = ["chdir", "access_log_format"];

/// The setting whose value only the configuration file has: a dict of Python's objects. Here the
/// option says whether there is one.
const OF_FILE: &str = "logconfig_dict";

/// Every setting of gunicorn that is an option here: its values, as text, and none if it is unset.
/// `python/rustwsgi/_settings.py` knows their types. `cpus` is how many CPUs may be used.
pub fn gunicorn_values(settings: &Settings, cpus: usize) -> Vec<(String, Vec<String>)> {
    options::all()
        .filter_map(|option| {
            let name = option.gunicorn?;
            if name == OF_FILE {
                return None;
            }
            let values = match value(option, settings, cpus) {
                Some(Value::Array(items)) => items.iter().map(text).collect(),
                Some(value) => vec![text(&value)],
                None if DEFAULT_OF_GUNICORN.contains(&name) => return None,
                None => Vec::new(),
            };
            Some((name.to_owned(), values))
        })
        .collect()
}

fn value(option: &OptionDef, settings: &Settings, cpus: usize) -> Option<Value> {
    match option.name {
        // A number for hooks, which calculate with it, also with `auto`.
        "workers" => i64::try_from(settings.processes.workers.number(cpus)).ok().map(Into::into),
        // Here it only selects the default number of threads.
        "worker_class" => Some(if settings.threads == 1 { "sync" } else { "gthread" }.into()),
        // The number of Python's `ssl` module.
        "cert_reqs" => Some((settings.tls.cert_reqs as i64).into()),
        _ => option.value(settings),
    }
}

/// Text without the quotation marks.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
