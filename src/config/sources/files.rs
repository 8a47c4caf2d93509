//! Configuration files: `-c FILE`, `rustwsgi.toml`, `[tool.rustwsgi]` in `pyproject.toml`, and
//! `gunicorn.conf.py`.

use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use toml::Value;

use super::gunicorn_py::{self, Execute};
use super::{lookup, toml as toml_source};
use crate::config::precedence::Entry;

/// The options of one file.
pub(in crate::config) struct ConfigFile {
    /// The name for messages.
    pub(in crate::config) origin: String,
    pub(in crate::config) entries: Vec<Entry>,
    /// `None` for a module (`python:NAME`).
    pub(in crate::config) path: Option<PathBuf>,
}

/// Decides whether a file may be used; `None` is a module, whose file the importer checks. An error
/// is a sentence.
pub(in crate::config) type CheckFile<'a> = &'a dyn Fn(Option<&Path>) -> Result<(), String>;

/// What reading files needs.
#[derive(Clone, Copy)]
pub(in crate::config) struct Reader<'a> {
    pub(in crate::config) execute: Execute<'a>,
    pub(in crate::config) check: CheckFile<'a>,
}

/// More bytes than a `pyproject.toml` has.
const MAX_PROJECT_BYTES: u64 = 16 << 20;

/// All files there are.
#[derive(Default)]
pub(in crate::config) struct Found {
    /// The files, the one with the highest precedence first.
    pub(in crate::config) files: Vec<ConfigFile>,
    /// Warnings about settings without effect, and about a file that was not read.
    pub(in crate::config) warnings: Vec<String>,
}

/// The prefix of a module's name in place of a file, as with gunicorn.
const MODULE: &str = "python:";

/// gunicorn's default configuration file.
const GUNICORN: &str = "gunicorn.conf.py";

/// Reads all configuration files there are. `named` is the value of `--config`: TOML if its name
/// ends in `.toml`, otherwise Python, whatever its name, as with gunicorn.
///
/// gunicorn's default file is read only if there is no file of this server.
///
/// # Errors
/// A sentence about a file that cannot be read or parsed.
pub(in crate::config) fn read(
    directory: &Path,
    named: Option<&Path>,
    reader: Reader<'_>,
) -> Result<Found, String> {
    let mut found = Found::default();
    if let Some(path) = named {
        found.read_named(path, reader)?;
    }
    let path = directory.join("rustwsgi.toml");
    if path.try_exists().unwrap_or(true) {
        (reader.check)(Some(&path))?;
        if let Some(text) = read_if_present(&path)? {
            let origin = "rustwsgi.toml";
            found.add_table(origin, toml_source::parse(origin, &text)?, &path)?;
        }
    }
    found.read_project(&directory.join("pyproject.toml"), reader.check)?;
    let path = directory.join(GUNICORN);
    if named.is_none() && path.is_file() {
        match found.files.first() {
            None => {
                (reader.check)(Some(&path))?;
                found.add_python(GUNICORN, &path, reader.execute)?;
            }
            Some(own) => found.warnings.push(format!(
                "{GUNICORN} is not read, as there is {}; use -c {GUNICORN} to read both",
                own.origin
            )),
        }
    }
    Ok(found)
}

impl Found {
    fn read_project(&mut self, path: &Path, check: CheckFile<'_>) -> Result<(), String> {
        let checked = check(Some(path));
        // A file that may not be used is read only to find out whether it is meant for this server.
        let text = match &checked {
            Ok(()) => read_if_present(path)?,
            Err(_) => read_bounded(path),
        };
        // A file without our table need not be valid.
        let Some(text) = text.filter(|text| text.contains("rustwsgi")) else { return Ok(()) };
        let mut project = toml_source::parse("pyproject.toml", &text)?;
        let tool = project.get_mut("tool").and_then(Value::as_table_mut);
        if let Some(Value::Table(table)) = tool.and_then(|tool| tool.remove("rustwsgi")) {
            checked?;
            self.add_table("[tool.rustwsgi] in pyproject.toml", table, path)?;
        }
        Ok(())
    }

    fn read_named(&mut self, path: &Path, reader: Reader<'_>) -> Result<(), String> {
        let text = path.to_string_lossy();
        let module = text.starts_with(MODULE);
        // gunicorn's notation.
        let path = text.strip_prefix("file:").map_or_else(|| path.to_path_buf(), PathBuf::from);
        let origin = path.display().to_string();
        let unreadable = |error: io::Error| {
            format!("cannot read {origin}; correct --config (or RUSTWSGI_CONFIG): {error}")
        };
        (reader.check)((!module).then_some(&path))?;
        let has_extension = |wanted| path.extension().is_some_and(|extension| extension == wanted);
        if has_extension("toml") && !module {
            let text = std::fs::read_to_string(&path).map_err(unreadable)?;
            return self.add_table(&origin, toml_source::parse(&origin, &text)?, &path);
        }
        if !module {
            // Python's own error would come with a traceback.
            std::fs::read(&path).map_err(unreadable)?;
        }
        self.add_python(&origin, &path, reader.execute).map_err(|error| {
            if has_extension("py") || module {
                return error;
            }
            format!("{error}\n{origin} was read as Python, as its name does not end in .toml")
        })
    }

    fn add_table(&mut self, origin: &str, table: toml::Table, path: &Path) -> Result<(), String> {
        let entries = lookup::entries(origin, toml_source::options(origin, table)?)?;
        let path = Some(path.to_path_buf());
        self.files.push(ConfigFile { origin: origin.to_owned(), entries, path });
        Ok(())
    }

    fn add_python(
        &mut self,
        origin: &str,
        path: &Path,
        execute: Execute<'_>,
    ) -> Result<(), String> {
        let (entries, warnings) = gunicorn_py::entries(origin, execute(path)?)?;
        let path = (!path.to_string_lossy().starts_with(MODULE)).then(|| path.to_path_buf());
        self.files.push(ConfigFile { origin: origin.to_owned(), entries, path });
        self.warnings.extend(warnings);
        Ok(())
    }
}

fn read_if_present(path: &Path) -> Result<Option<String>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

/// The text of a file that another user may have made: not of a pipe or a device, and bounded.
/// `None` if there is none.
fn read_bounded(path: &Path) -> Option<String> {
    let mut options = std::fs::File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path).ok()?;
    let mut text = String::new();
    let is_file = file.metadata().ok()?.is_file();
    (is_file && file.take(MAX_PROJECT_BYTES).read_to_string(&mut text).is_ok()).then_some(text)
}
