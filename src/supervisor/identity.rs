//! Who the processes are: user and group of the workers, file mask, names in process lists.
//!
//! The master keeps its user, as it may have to bind a low port again or signal its workers; whoever runs
//! the application has lost all others before its first line is imported. If that fails, nothing runs.

use std::fs::File;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;

use anyhow::Context;
use log::warn;
use pyo3::exceptions::{PyLookupError, PyPermissionError};
use pyo3::prelude::*;

use crate::config::{Processes, Settings};
use crate::net::Listener;
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
        if own_uid == 0 && identity.gid == 0 && identity.uid != 0 && settings.group.is_none() {
            warn!(
                "--user {} leaves the workers in root's group, 0; give --group as well",
                identity.uid
            );
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

    /// This process itself.
    pub(super) fn own() -> Identity {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Identity { uid: uid.as_raw(), gid: gid.as_raw(), name: None }
    }

    /// Gives the workers what they open again, or are reached by: log files and unix sockets.
    ///
    /// Whoever may write to a log's directory could put something else in its place, such as a link to a file of
    /// root's. So only what was opened, and is no link, is given; what is left the workers open with the rights
    /// that they have.
    ///
    /// # Errors
    /// If one cannot be given: with the option and the path.
    pub(super) fn give_files<'a>(
        &self,
        settings: &Settings,
        listeners: impl Iterator<Item = &'a Listener>,
    ) -> anyhow::Result<()> {
        for listener in listeners {
            listener.give(self.uid, self.gid).with_context(|| {
                format!("--bind: cannot give {} to the user of the workers", listener.url())
            })?;
        }
        let access_log = settings.access_log_file().map(|path| ("--access-logfile", path));
        let error_log = match &settings.error_log {
            LogTarget::File(path) => Some(("--error-logfile", path.clone())),
            LogTarget::Stdout | LogTarget::Stderr => None,
        };
        for (option, path) in access_log.into_iter().chain(error_log) {
            self.give_log(&path).with_context(|| {
                format!("{option}: cannot give {} to the user of the workers", path.display())
            })?;
        }
        Ok(())
    }

    fn give_log(&self, path: &Path) -> std::io::Result<()> {
        // A pipe that nobody reads is not waited for.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let opened = File::options().append(true).create(true).custom_flags(flags).open(path);
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                let special = path.symlink_metadata().is_ok_and(|meta| !meta.is_file());
                return if special { Ok(()) } else { Err(error) };
            }
        };
        let meta = file.metadata()?;
        // A second name may be that of a file elsewhere.
        if meta.is_file() && meta.nlink() == 1 {
            fchown(&file, Some(self.uid), Some(self.gid))?;
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
