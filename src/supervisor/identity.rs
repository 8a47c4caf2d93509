//! Who the processes are: user and group of the workers, file mask, names in process lists.
//!
//! The master keeps its user, as it may have to bind a low port again or signal its workers; whoever runs
//! the application has lost all others before its first line is imported. If that fails, nothing runs.

use std::path::Path;

use pyo3::exceptions::{PyLookupError, PyPermissionError};
use pyo3::prelude::*;

use crate::config::{Bind, Processes, Settings};
use crate::observe::LogTarget;

/// The user and group of the workers, as numbers.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    uid: u32,
    gid: u32,
    /// For the groups that the user is in beside its own.
    name: Option<String>,
}

impl Identity {
    /// What the settings ask for, if they ask.
    ///
    /// # Errors
    /// If there is no such user or group, or this process may not become it.
    pub(super) fn resolve(py: Python<'_>, settings: &Processes) -> PyResult<Option<Identity>> {
        if settings.user.is_none() && settings.group.is_none() {
            return Ok(None);
        }
        let os = py.import("os")?;
        let own = |what: &str| -> PyResult<u32> { os.call_method0(what)?.extract() };
        let (own_uid, own_gid) = (own("geteuid")?, own("getegid")?);
        let mut identity = Identity { uid: own_uid, gid: own_gid, name: None };
        if let Some(user) = &settings.user {
            let users = py.import("pwd")?;
            match user.parse::<u32>() {
                Ok(uid) => {
                    identity.uid = uid;
                    // A number need not have a name, as in containers.
                    if let Ok(entry) = users.call_method1("getpwuid", (uid,)) {
                        identity.gid = entry.getattr("pw_gid")?.extract()?;
                        identity.name = Some(entry.getattr("pw_name")?.extract()?);
                    }
                }
                Err(_) => {
                    let entry = users
                        .call_method1("getpwnam", (user,))
                        .map_err(|_| unknown("--user", "user", user))?;
                    identity.uid = entry.getattr("pw_uid")?.extract()?;
                    identity.gid = entry.getattr("pw_gid")?.extract()?;
                    identity.name = Some(user.clone());
                }
            }
        }
        if let Some(group) = &settings.group {
            identity.gid = match group.parse::<u32>() {
                Ok(gid) => gid,
                Err(_) => {
                    let groups = py.import("grp")?;
                    let entry = groups
                        .call_method1("getgrnam", (group,))
                        .map_err(|_| unknown("--group", "group", group))?;
                    entry.getattr("gr_gid")?.extract()?
                }
            };
        }
        if identity.uid == own_uid && identity.gid == own_gid {
            return Ok(None);
        }
        if own_uid != 0 {
            return Err(PyPermissionError::new_err(
                "--user and --group: only root can become another user; start the server as that user",
            ));
        }
        Ok(Some(identity))
    }

    /// Becomes it, for good.
    pub(super) fn assume(&self, py: Python<'_>) -> PyResult<()> {
        let os = py.import("os")?;
        match &self.name {
            Some(name) => os.call_method1("initgroups", (name, self.gid))?,
            None => os.call_method1("setgroups", ([self.gid],))?,
        };
        // setres* where there is one: no saved user to come back to.
        os.call_method1("setgid", (self.gid,))?;
        os.call_method1("setuid", (self.uid,))?;
        let is = |what: &str, id: u32| -> PyResult<bool> {
            Ok(os.call_method0(what)?.extract::<u32>()? == id)
        };
        let changed =
            is("getuid", self.uid)? && is("geteuid", self.uid)? && is("getegid", self.gid)?;
        let regained = self.uid != 0 && os.call_method1("setuid", (0,)).is_ok();
        if !changed || regained {
            return Err(PyPermissionError::new_err("the user could not be changed"));
        }
        Ok(())
    }

    /// Gives the workers what they open again, or are reached by: log files and unix sockets.
    pub(super) fn give_files(&self, py: Python<'_>, settings: &Settings) -> PyResult<()> {
        // Not what a link points to: who owns the directory could have put one there.
        let chown =
            |path: &Path| py.import("os")?.call_method1("lchown", (path, self.uid, self.gid));
        for bind in &settings.binds {
            if let Bind::Unix(path) = bind {
                chown(path)?;
            }
        }
        let error_log = match &settings.error_log {
            LogTarget::File(path) => Some(path.clone()),
            LogTarget::Stdout | LogTarget::Stderr => None,
        };
        for path in settings.access_log_file().into_iter().chain(error_log) {
            let file = std::fs::File::options().append(true).create(true).open(&path)?;
            if file.metadata()?.is_file() {
                chown(&path)?;
            }
        }
        Ok(())
    }
}

fn unknown(option: &str, what: &str, name: &str) -> PyErr {
    PyLookupError::new_err(format!(
        "{option}: there is no {what} {name:?} on this machine; create it, or give another name or a \
         number"
    ))
}

/// Names the process in lists, as far as the system lets us: in full if the setproctitle package is
/// installed, else the short name that `ps -o comm` and `top` show.
pub(super) fn set_name(py: Python<'_>, role: &str, settings: &Settings) {
    let name = match (&settings.processes.name, &settings.app) {
        (Some(name), _) => name.clone(),
        (None, Some(app)) => app.to_string(),
        (None, None) => "?".to_owned(),
    };
    if let Ok(module) = py.import("setproctitle") {
        let _ = module.call_method1("setproctitle", (format!("rustwsgi: {role} [{name}]"),));
        return;
    }
    let short = match &settings.processes.name {
        Some(name) => name.as_str(),
        None => "rustwsgi",
    };
    // The kernel keeps 15 bytes of it.
    let _ = std::fs::write("/proc/self/comm", format!("{}-{role}", cut(short, 8)));
}

fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// Writes what waits in Python's buffers. A stream that is closed, or not there, has none.
pub(super) fn flush(py: Python<'_>) {
    for stream in ["stdout", "stderr"] {
        let _ = py.import("sys").and_then(|sys| sys.getattr(stream)?.call_method0("flush"));
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn names_are_cut_between_characters() {
        assert_eq!(cut("abc", 8), "abc");
        assert_eq!(cut("abcdefghij", 8), "abcdefgh");
        assert_eq!(cut("abcdefg\u{e9}", 8), "abcdefg");
    }
}
