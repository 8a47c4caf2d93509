//! Log files: who opens them, as whom, and how the workers come by them.
//!
//! The master opens both logs, at the start, at a reload and when it is told (USR1) that they were moved
//! away. Workers never do: they are forked with the open files, and those that live at the time of a USR1 are
//! sent the new ones through the channel that they have to the master, where a worker that is still booting
//! finds them when it is ready. So it does not matter what the workers' user may do with the files.
//!
//! With `--user` the master is root, and who may change the path of a log could put a link there, to have root
//! make a file elsewhere and hand it over for writing. (nginx had that: CVE-2016-1247.) So root's rights open
//! what the workers' user cannot change, where links are the administrator's, such as one from `/var/log` to
//! another disk or to `/dev/stdout`. Anything else is opened with the rights of that user: whatever it has put
//! there, it could have opened itself.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use pyo3::prelude::*;

use super::identity::Identity;
use crate::config::Settings;
use crate::observe::{self, LogTarget, Sink};

/// More links than the kernel follows.
const MOST_LINKS: usize = 40;

/// Where the error log goes when the command starts.
///
/// # Errors
/// If it is a file that cannot be opened.
pub fn open_error_log(py: Python<'_>, settings: &Settings) -> io::Result<Sink> {
    match &settings.error_log {
        LogTarget::File(path) => match Identity::resolve(py, &settings.processes) {
            Ok(user) => open(py, path, user.as_ref()).map(Sink::from),
            // As whom? The start is refused for that reason, and says so there.
            Err(_) => Ok(Sink::stderr()),
        },
        stream => Sink::open(stream),
    }
}

/// Opens one log's file, for workers that run as `user`, if that is not the user of this process.
///
/// # Errors
/// What open(2) says.
pub(super) fn open(py: Python<'_>, path: &Path, user: Option<&Identity>) -> io::Result<File> {
    let path = std::path::absolute(path)?;
    match user {
        Some(user) if user.uid != 0 && can_be_changed_by(user, &path) => {
            let opened = user.lend_rights(py, || observe::open(&path)).map_err(io::Error::from)?;
            opened.map_err(|failure| {
                let whose = "for the user of the workers, who can change what is there";
                io::Error::new(failure.kind(), format!("{failure}, {whose}"))
            })
        }
        _ => observe::open(&path),
    }
}

/// Whether `user` could let this absolute path lead somewhere else. If not, that cannot happen between this
/// answer and the use of the path, either.
fn can_be_changed_by(user: &Identity, path: &Path) -> bool {
    let mut here = PathBuf::from("/");
    // The last one is next.
    let mut rest: Vec<OsString> = names(path);
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == "/" {
            here = PathBuf::from("/");
            continue;
        }
        if name == ".." {
            here.pop();
            continue;
        }
        if here.starts_with("/proc") && here.ends_with("fd") {
            // Where /dev/stdout leads: not to a path, but to a file that is open in this process.
            return false;
        }
        let Ok(directory) = here.symlink_metadata() else { return true };
        let next = here.join(&name);
        let entry = next.symlink_metadata();
        if can_write(user, &here, &directory) {
            // A directory of somebody else's in one such as /tmp: cannot be moved away. Files and links
            // could be second names.
            let kept = |entry: &Metadata| entry.is_dir() && entry.uid() != user.uid;
            let sticky = directory.mode() & 0o1000 != 0 && directory.uid() != user.uid;
            if !(sticky && entry.as_ref().is_ok_and(kept)) {
                return true;
            }
        }
        match entry {
            Ok(entry) if entry.is_symlink() => {
                let Ok(target) = next.read_link() else { return true };
                rest.extend(names(&target));
                links += 1;
                if links > MOST_LINKS {
                    return true;
                }
            }
            Ok(_) => here = next,
            // Who cannot write to the directory cannot make it, either.
            Err(failure) => return failure.kind() != io::ErrorKind::NotFound,
        }
    }
    false
}

/// Its components, the last one first.
fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter(|part| *part != Component::CurDir);
    names.rev().map(|part| part.as_os_str().to_owned()).collect()
}

/// Whether the user may add to and remove from a directory, or could allow himself to.
fn can_write(user: &Identity, path: &Path, directory: &Metadata) -> bool {
    let group =
        || user.groups.contains(&directory.gid()) || directory.gid() == user.gid || has_list(path);
    directory.uid() == user.uid
        || directory.mode() & 0o002 != 0
        || (directory.mode() & 0o020 != 0 && group())
}

/// Whether there is a list of others who may, which the group's bits then bound: acl(5).
#[cfg(target_os = "linux")]
fn has_list(path: &Path) -> bool {
    let mut nothing: [u8; 0] = [];
    rustix::fs::getxattr(path, "system.posix_acl_access", &mut nothing).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn has_list(_: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// Somebody who is not who runs the tests.
    fn stranger() -> Identity {
        let own = rustix::process::geteuid().as_raw();
        Identity { uid: own + 12345, gid: own + 12345, groups: vec![own + 23456] }
    }

    fn directory(path: PathBuf, mode: u32) -> PathBuf {
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn who_can_change_a_path() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let ours = directory(dir.join("ours"), 0o755);
        let shared = directory(dir.join("shared"), 0o777);
        let sticky = directory(dir.join("sticky"), 0o1777);
        let in_sticky = directory(sticky.join("ours"), 0o755);
        symlink(&shared, ours.join("to-shared")).unwrap();
        symlink("../ours/log", ours.join("to-ours")).unwrap();
        symlink("round", ours.join("round")).unwrap();
        symlink(ours.join("log"), shared.join("to-ours")).unwrap();
        symlink(ours.join("log"), sticky.join("to-ours")).unwrap();
        std::fs::write(sticky.join("log"), "").unwrap();
        let can = |path: PathBuf| can_be_changed_by(&stranger(), &path);
        for safe in [ours.join("log"), ours.join("no/log"), in_sticky.join("log")] {
            assert!(!can(safe.clone()), "{safe:?}");
        }
        for safe in [ours.join("to-ours"), ours.join("./../ours/log"), "/dev/stdout".into()] {
            assert!(!can(safe.clone()), "{safe:?}");
        }
        for unsafe_ in [shared.join("log"), ours.join("to-shared/log"), shared.join("to-ours")] {
            assert!(can(unsafe_.clone()), "{unsafe_:?}");
        }
        for unsafe_ in [sticky.join("log"), sticky.join("to-ours"), ours.join("../shared/log")] {
            assert!(can(unsafe_.clone()), "{unsafe_:?}");
        }
        assert!(can(ours.join("round")) && can(sticky.join("new")));
    }

    #[test]
    fn owners_and_groups_can_write() {
        let dir = tempfile::tempdir().unwrap();
        let can = |mode, user: &Identity| {
            std::fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            can_be_changed_by(user, &dir.path().join("log"))
        };
        let gid = dir.path().metadata().unwrap().gid();
        let fellow = Identity { groups: vec![gid], ..stranger() };
        assert!(can(0o770, &fellow) && !can(0o750, &fellow) && !can(0o770, &stranger()));
        let owner = Identity { uid: rustix::process::geteuid().as_raw(), ..stranger() };
        assert!(can(0o500, &owner), "it could change the mode");
    }
}
