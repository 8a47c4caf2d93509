//! Who the processes are: user and group of the workers, file mask, names in process lists.
//!
//! The master keeps its user, as it may have to bind a low port again or signal its workers; whoever runs
//! the application has lost all others before its first line is imported. If that fails, nothing runs.

use anyhow::Context;
use log::warn;
use pyo3::exceptions::{PyLookupError, PyPermissionError};
use pyo3::prelude::*;

use crate::config::{Processes, Settings};
use crate::net::Listener;

/// The user and group of the workers, as numbers.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Those that the user is in beside its own, and that.
    pub(super) groups: Vec<u32>,
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
        let mut identity = Identity { uid: own_uid, gid: own_gid, groups: Vec::new() };
        let mut name: Option<String> = None;
        if let Some(user) = &settings.user {
            let users = py.import("pwd")?;
            match user.parse::<u32>() {
                Ok(uid) => {
                    identity.uid = uid;
                    // A number need not have a name, as in containers.
                    if let Ok(entry) = users.call_method1("getpwuid", (uid,)) {
                        identity.gid = entry.getattr("pw_gid")?.extract()?;
                        name = Some(entry.getattr("pw_name")?.extract()?);
                    }
                }
                Err(_) => {
                    let entry = users
                        .call_method1("getpwnam", (user,))
                        .map_err(|_| unknown("--user", "user", user))?;
                    identity.uid = entry.getattr("pw_uid")?.extract()?;
                    identity.gid = entry.getattr("pw_gid")?.extract()?;
                    name = Some(user.clone());
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
        identity.groups = match name {
            Some(name) => os.call_method1("getgrouplist", (name, identity.gid))?.extract()?,
            None => vec![identity.gid],
        };
        Ok(Some(identity))
    }

    /// Becomes it, for good.
    pub(super) fn assume(&self, py: Python<'_>) -> PyResult<()> {
        let os = py.import("os")?;
        os.call_method1("setgroups", (&self.groups,))?;
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

    /// Does something with the rights of this user, in a process of root's. Its other threads, if a preloaded
    /// application has any, have no others meanwhile, either.
    ///
    /// # Errors
    /// If the rights cannot be laid down; nothing was done then.
    pub(super) fn lend_rights<T>(&self, py: Python<'_>, act: impl FnOnce() -> T) -> PyResult<T> {
        let os = py.import("os")?;
        let own = Rights {
            uid: os.call_method0("geteuid")?.extract()?,
            gid: os.call_method0("getegid")?.extract()?,
            groups: os.call_method0("getgroups")?.extract()?,
        };
        let lent = (|| {
            os.call_method1("setgroups", (&self.groups,))?;
            os.call_method1("setegid", (self.gid,))?;
            os.call_method1("seteuid", (self.uid,))?;
            PyResult::Ok(act())
        })();
        if own.take_back(&os).is_err() {
            // A process that is half this and half that has nothing to do any more.
            std::process::abort();
        }
        lent
    }

    /// This process itself.
    pub(super) fn own() -> Identity {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Identity { uid: uid.as_raw(), gid: gid.as_raw(), groups: Vec::new() }
    }

    /// Gives the workers the files of unix sockets, which they are reached by.
    ///
    /// # Errors
    /// If one cannot be given: with the option and the address.
    pub(super) fn give_sockets<'a>(
        &self,
        listeners: impl Iterator<Item = &'a Listener>,
    ) -> anyhow::Result<()> {
        for listener in listeners {
            listener.give(self.uid, self.gid).with_context(|| {
                format!("--bind: cannot give {} to the user of the workers", listener.url())
            })?;
        }
        Ok(())
    }
}

/// What [`Identity::lend_rights`] comes back to.
struct Rights {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Rights {
    fn take_back(self, os: &Bound<'_, PyModule>) -> PyResult<()> {
        os.call_method1("seteuid", (self.uid,))?;
        os.call_method1("setegid", (self.gid,))?;
        os.call_method1("setgroups", (self.groups,))?;
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
