//! Options from files: `-c FILE`, `rustwsgi.toml`, `[tool.rustwsgi]` in `pyproject.toml`, and
//! `gunicorn.conf.py`.
//!
//! A file is a list of options under the names they have in Python. They become command-line arguments
//! like those of every other source, so that there is one parser, and a mistake is reported with the
//! file and the key it is in.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::config::compat::gunicorn;

/// A file's options, in its order: name and values.
pub type Options = Vec<(String, Vec<String>)>;

/// Reads a configuration file that is a Python program, or the module that `python:NAME` names, for the
/// caller that has Python.
pub type Execute<'a> = &'a dyn Fn(&Path) -> Result<Options, String>;

/// Options and the file they are from, for messages.
pub(in crate::config) struct Source {
    pub(in crate::config) origin: String,
    pub(in crate::config) options: Options,
}

/// What [`read`] has found.
#[derive(Default)]
pub(in crate::config) struct Found {
    /// All files there are, the one that counts most first.
    pub(in crate::config) sources: Vec<Source>,
    /// What is to be said of settings that are no options, and of a file that was not read.
    pub(in crate::config) notes: Vec<String>,
}

/// What a module's name has in front that is given in place of a file.
const MODULE: &str = "python:";

/// The name under which gunicorn looks for its configuration.
const GUNICORN: &str = "gunicorn.conf.py";

/// Reads all files there are. `named` is the value of `--config`: TOML if its name ends so, else Python, as
/// gunicorn has it whatever the name.
///
/// gunicorn's own file is read where gunicorn would read it, without being named, but only if there is no
/// file of this server's: whoever has written one has said there what is to be done here.
///
/// # Errors
/// A sentence about a file that cannot be read or understood.
pub(in crate::config) fn read(
    directory: &Path,
    named: Option<&Path>,
    execute: Execute<'_>,
) -> Result<Found, String> {
    let mut found = Found::default();
    let python = |path: &Path, origin: String, notes: &mut Vec<String>| {
        let (options, more) = gunicorn::translate(Path::new(&origin), execute(path)?)?;
        notes.extend(more);
        Ok::<_, String>(Source { origin, options })
    };
    if let Some(path) = named {
        // gunicorn's notation.
        let text = path.to_string_lossy();
        let module = text.starts_with(MODULE);
        let path = text.strip_prefix("file:").map_or_else(|| path.to_path_buf(), PathBuf::from);
        let origin = path.display().to_string();
        // Python's own words for it come with a traceback.
        let unreadable =
            |error| format!("cannot read {origin}; correct --config (or RUSTWSGI_CONFIG): {error}");
        let read = || std::fs::read_to_string(&path).map_err(unreadable);
        let source = if path.extension().is_some_and(|extension| extension == "toml") && !module {
            Source { options: options(&origin, parse(&origin, &read()?)?)?, origin }
        } else {
            if !module {
                std::fs::read(&path).map_err(unreadable)?;
            }
            python(&path, origin.clone(), &mut found.notes).map_err(|error| {
                match path.extension() {
                    Some(extension) if extension == "py" => error,
                    _ if module => error,
                    _ => format!(
                        "{error}\n{origin} was read as Python, as its name does not end in .toml"
                    ),
                }
            })?
        };
        found.sources.push(source);
    }
    if let Some(text) = optional(&directory.join("rustwsgi.toml"))? {
        let origin = "rustwsgi.toml".to_owned();
        found.sources.push(Source { options: options(&origin, parse(&origin, &text)?)?, origin });
    }
    if let Some(text) = optional(&directory.join("pyproject.toml"))?
        // A file that is not ours may be as it likes.
        && text.contains("rustwsgi")
    {
        let mut project = parse("pyproject.toml", &text)?;
        let tool = project.get_mut("tool").and_then(Value::as_table_mut);
        if let Some(Value::Table(table)) = tool.and_then(|tool| tool.remove("rustwsgi")) {
            let origin = "[tool.rustwsgi] in pyproject.toml".to_owned();
            found.sources.push(Source { options: options(&origin, table)?, origin });
        }
    }
    let path = directory.join(GUNICORN);
    if named.is_none() && path.is_file() {
        match found.sources.first() {
            None => {
                let source = python(&path, GUNICORN.to_owned(), &mut found.notes)?;
                found.sources.push(source);
            }
            Some(own) => found.notes.push(format!(
                "{GUNICORN} is not read, as there is {}; -c {GUNICORN} reads both",
                own.origin
            )),
        }
    }
    Ok(found)
}

fn optional(path: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

/// An error names the line and does not show it, as toml's own words would: it may hold a password.
fn parse(origin: &str, text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&letter| letter != '\n').count() + 1;
        format!("{origin}: line {line}, column {column}: {}", error.message())
    })
}

fn options(origin: &str, table: Table) -> Result<Options, String> {
    let mut options = Vec::new();
    for (key, value) in table {
        if value.is_table() && matches!(key.as_str(), "rustwsgi" | "tool") {
            return Err(format!(
                "{origin}: the options stand at the top of this file; write them without [{key}] above"
            ));
        }
        let wrong = |what: &str| format!("{origin}: '{key}' is {what}");
        let values = match &value {
            Value::Array(items) => items
                .iter()
                .map(|item| scalar(item).ok_or_else(|| wrong("a list of something else than text")))
                .collect::<Result<_, _>>()?,
            // `env = { KEY = "value" }`
            Value::Table(pairs) => pairs
                .iter()
                .map(|(name, value)| Some(format!("{name}={}", scalar(value)?)))
                .collect::<Option<_>>()
                .ok_or_else(|| wrong("a table of something else than text"))?,
            value => vec![scalar(value).ok_or_else(|| wrong("neither text nor a number"))?],
        };
        options.push((key, values));
    }
    Ok(options)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Datetime(_) | Value::Array(_) | Value::Table(_) => None,
    }
}
