//! Users, groups, the file mode mask, and the names in process lists.
//!
//! The master keeps its user, because it may have to bind a low port again and signals its workers.
//! A worker changes to its user before it imports the application; if that fails, it exits.

use std::ffi::OsString;

use anyhow::Context;
#[cfg(target_os = "linux")]
use log::debug;
use log::warn;
use pyo3::exceptions::{PyLookupError, PyPermissionError};
use pyo3::prelude::*;
use rustix::fs::{Mode, RawMode};

use crate::config::{Processes, Settings};
use crate::net::Listener;

/// The user and group of the workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The supplementary groups, `gid` included.
    pub(super) groups: Vec<u32>,
    /// The variables that follow `--user`: HOME, USER and LOGNAME. Empty without it.
    pub(super) environment: Vec<(&'static str, OsString)>,
}

impl Identity {
    /// The user and group of `--user` and `--group`; `None` if the workers run as the master's.
    ///
    /// # Errors
    /// If there is no such user or group, or this process may not change to it.
    pub(super) fn resolve(py: Python<'_>, settings: &Processes) -> PyResult<Option<Identity>> {
        let identity = Identity::find(py, settings)?;
        if let Some(Identity { uid: uid @ 1.., gid: 0, .. }) = &identity
            && settings.group.is_none()
        {
            warn!(
                target: "config.root_group",
                "--user {uid} leaves the workers in root's group, 0; give --group as well"
            );
        }
        Ok(identity)
    }

    /// The same without a warning.
    pub(super) fn find(py: Python<'_>, settings: &Processes) -> PyResult<Option<Identity>> {
        if settings.user.is_none() && settings.group.is_none() {
            return Ok(None);
        }
        let os = py.import("os")?;
        let own = |what: &str| -> PyResult<u32> { os.call_method0(what)?.extract() };
        let (own_uid, own_gid) = (own("geteuid")?, own("getegid")?);
        let mut identity = Identity { uid: own_uid, gid: own_gid, ..Identity::default() };
        let mut name = None;
        if let Some(user) = &settings.user {
            let account = Account::find(py, user)?;
            identity.uid = account.uid;
            identity.gid = account.gid.unwrap_or(own_gid);
            identity.environment = account.environment();
            name = account.name;
        }
        if let Some(group) = &settings.group {
            identity.gid = find_group(py, group)?;
        }
        if identity.uid == own_uid && identity.gid == own_gid {
            return Ok(None);
        }
        if own_uid != 0 {
            return Err(PyPermissionError::new_err(
                "--user and --group: only root can become another user; start the server as that \
                 user",
            ));
        }
        identity.groups = match name {
            Some(name) => os.call_method1("getgrouplist", (name, identity.gid))?.extract()?,
            None => vec![identity.gid],
        };
        Ok(Some(identity))
    }

    /// Changes this process to the user and group, irrevocably, after [`forbid_new_privileges`].
    /// HOME, USER and LOGNAME follow, except for those that the `settings` give.
    ///
    /// # Errors
    /// If the system refuses, or root's rights could be regained.
    pub(super) fn assume(&self, py: Python<'_>, settings: &Settings) -> PyResult<()> {
        let os = py.import("os")?;
        let environ = os.getattr("environ")?;
        let is_given = |name: &str| settings.env.iter().any(|(given, _)| given == name);
        for (name, value) in self.environment.iter().filter(|(name, _)| !is_given(name)) {
            environ.set_item(name, value)?;
        }
        #[cfg(target_os = "linux")]
        empty_bounding_set();
        os.call_method1("setgroups", (&self.groups,))?;
        // As root these set the saved IDs as well, so that there is no way back.
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

    /// Runs `act` with the rights of this user, in a process of root. The rights of all its threads
    /// change meanwhile, those of a preloaded application included.
    ///
    /// # Errors
    /// If the rights cannot be changed; `act` was not run then.
    pub(super) fn with_rights<T>(&self, py: Python<'_>, act: impl FnOnce() -> T) -> PyResult<T> {
        let os = py.import("os")?;
        let own = Rights {
            uid: os.call_method0("geteuid")?.extract()?,
            gid: os.call_method0("getegid")?.extract()?,
            groups: os.call_method0("getgroups")?.extract()?,
        };
        let result = (|| {
            os.call_method1("setgroups", (&self.groups,))?;
            os.call_method1("setegid", (self.gid,))?;
            os.call_method1("seteuid", (self.uid,))?;
            PyResult::Ok(act())
        })();
        if own.restore(&os).is_err() {
            // A process with the rights of two users must not continue.
            std::process::abort();
        }
        result
    }

    /// The user and group of this process.
    pub(super) fn own() -> Identity {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Identity { uid: uid.as_raw(), gid: gid.as_raw(), ..Identity::default() }
    }

    /// Gives the user the files of unix sockets.
    ///
    /// # Errors
    /// If that fails, with the option and the address.
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

/// Sets `no_new_privs`: no program that is executed gains rights, as by a set-user-ID bit or file
/// capabilities. For this thread and those that it starts.
///
/// # Errors
/// As prctl(2).
pub(super) fn forbid_new_privileges() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Empties the bounding set, which limits the capabilities that executed programs can gain. For
/// this thread and those that it starts. Not earlier: programs that a hook executes as root need
/// them.
#[cfg(target_os = "linux")]
fn empty_bounding_set() {
    use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // The kernel knows no further one.
            Err(rustix::io::Errno::INVAL) => break,
            // A container may lack CAP_SETPCAP. With `no_new_privs` the bounding set has no effect.
            Err(failure) => {
                debug!("Cannot empty the bounding set of capabilities: {failure}");
                break;
            }
        }
    }
}

/// The rights that [`Identity::with_rights`] restores.
struct Rights {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl Rights {
    fn restore(self, os: &Bound<'_, PyModule>) -> PyResult<()> {
        os.call_method1("seteuid", (self.uid,))?;
        os.call_method1("setegid", (self.gid,))?;
        os.call_method1("setgroups", (self.groups,))?;
        Ok(())
    }
}

/// An entry of the user database.
struct Account {
    uid: u32,
    gid: Option<u32>,
    name: Option<String>,
    home: Option<OsString>,
}

impl Account {
    /// The user with this name or number.
    fn find(py: Python<'_>, user: &str) -> PyResult<Account> {
        let users = py.import("pwd")?;
        let entry = match user.parse::<u32>() {
            Ok(uid) => match users.call_method1("getpwuid", (uid,)) {
                Ok(entry) => entry,
                // A number need not have an entry, as in containers.
                Err(_) => return Ok(Account { uid, gid: None, name: None, home: None }),
            },
            Err(_) => users
                .call_method1("getpwnam", (user,))
                .map_err(|_| unknown("--user", "user", user))?,
        };
        Ok(Account {
            uid: entry.getattr("pw_uid")?.extract()?,
            gid: Some(entry.getattr("pw_gid")?.extract()?),
            name: Some(entry.getattr("pw_name")?.extract()?),
            home: Some(entry.getattr("pw_dir")?.extract()?),
        })
    }

    /// The variables that a login as this user sets. A user without an entry has the root directory
    /// for a home, as with login(1).
    fn environment(&self) -> Vec<(&'static str, OsString)> {
        let home = self.home.clone().unwrap_or_else(|| "/".into());
        let name: OsString = match &self.name {
            Some(name) => name.into(),
            None => self.uid.to_string().into(),
        };
        vec![("HOME", home), ("USER", name.clone()), ("LOGNAME", name)]
    }
}

/// The number of the group with this name or number.
fn find_group(py: Python<'_>, group: &str) -> PyResult<u32> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let entry = py.import("grp")?.call_method1("getgrnam", (group,));
    entry.map_err(|_| unknown("--group", "group", group))?.getattr("gr_gid")?.extract()
}

fn unknown(option: &str, what: &str, name: &str) -> PyErr {
    PyLookupError::new_err(format!(
        "{option}: there is no {what} {name:?} on this machine; create it, or give another name \
         or a number"
    ))
}

/// Sets the file mode mask: that of the settings, or else `inherited`, with which the process was
/// started. Returns the one before.
pub(super) fn set_umask(settings: &Settings, inherited: Mode) -> Mode {
    // The type of a mode differs between systems.
    #[allow(clippy::unnecessary_cast)]
    let from_raw = |mask: u32| Mode::from_raw_mode(mask as RawMode);
    let mask = settings.processes.umask.map_or(inherited, from_raw);
    rustix::process::umask(mask)
}

/// Runs `act` under the file mode mask of settings that are not applied yet.
pub(super) fn with_umask<T>(settings: &Settings, inherited: Mode, act: impl FnOnce() -> T) -> T {
    let before = set_umask(settings, inherited);
    let result = act();
    rustix::process::umask(before);
    result
}

/// Sets the name of the process in process lists, as far as the system allows: in full if the
/// setproctitle package is installed, else the short name that `ps -o comm` and `top` show.
pub(super) fn set_process_title(py: Python<'_>, role: &str, settings: &Settings) {
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
    // The kernel keeps 15 bytes.
    let _ = std::fs::write("/proc/self/comm", format!("{}-{role}", truncated(short, 8)));
}

/// At most the first `max_bytes` of a text, without splitting a character.
fn truncated(text: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

/// Flushes Python's buffers of the standard streams. A stream that is closed, or missing, has none.
pub(super) fn flush_streams(py: Python<'_>) {
    for stream in ["stdout", "stderr"] {
        let _ = py.import("sys").and_then(|sys| sys.getattr(stream)?.call_method0("flush"));
    }
}

#[cfg(test)]
mod tests {
    use super::truncated;

    #[test]
    fn text_is_truncated_between_characters() {
        assert_eq!(truncated("abc", 8), "abc");
        assert_eq!(truncated("abcdefghij", 8), "abcdefgh");
        assert_eq!(truncated("abcdefg\u{e9}", 8), "abcdefg");
    }
}
