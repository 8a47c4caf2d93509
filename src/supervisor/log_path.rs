//! Opening a log's file with the right user's rights.
//!
//! With `--user` the master is root, and a user who can change the path of a log could put a link
//! there, so that root creates a file elsewhere and opens it for writing. (nginx had that:
//! CVE-2016-1247.) So root's rights open only a path that the workers' user cannot change. Links on
//! such a path are the administrator's, such as one from `/var/log` to another disk or to
//! `/dev/stdout`. Any other path is opened with the rights of the workers' user, who gains nothing
//! from a link of his own.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use pyo3::prelude::*;

use super::identity::Identity;
use crate::observe;

/// More links than the kernel follows (path_resolution(7): 40).
const MAX_LINKS: usize = 40;

/// Opens the file of a log for workers that run as `user`, if they do not run as this process's
/// user.
///
/// # Errors
/// As open(2).
pub(super) fn open(py: Python<'_>, path: &Path, user: Option<&Identity>) -> io::Result<File> {
    let path = std::path::absolute(path)?;
    match user {
        Some(user) if user.uid != 0 && can_be_changed_by(user, &path) => {
            let opened = user.with_rights(py, || observe::open(&path)).map_err(io::Error::from)?;
            opened.map_err(|failure| {
                let whose = "for the user of the workers, who can change what is there";
                io::Error::new(failure.kind(), format!("{failure}, {whose}"))
            })
        }
        _ => observe::open(&path),
    }
}

/// Whether `user` could make this absolute path lead elsewhere. If not, that also cannot happen
/// between this check and the use of the path.
fn can_be_changed_by(user: &Identity, path: &Path) -> bool {
    let mut here = PathBuf::from("/");
    // In reverse order: the next component is popped.
    let mut rest: Vec<OsString> = reversed_components(path);
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
            // /dev/stdout leads here: to a file that is open in this process, not to a path.
            return false;
        }
        let Ok(directory) = here.symlink_metadata() else { return true };
        let next = here.join(&name);
        let entry = next.symlink_metadata();
        if can_write(user, &here, &directory) {
            // In a sticky directory such as /tmp the user cannot move another user's directory
            // away. Files and links do not count: they could be hard links.
            let kept = |entry: &Metadata| entry.is_dir() && entry.uid() != user.uid;
            let sticky = directory.mode() & 0o1000 != 0 && directory.uid() != user.uid;
            if !(sticky && entry.as_ref().is_ok_and(kept)) {
                return true;
            }
        }
        match entry {
            Ok(entry) if entry.is_symlink() => {
                let Ok(target) = next.read_link() else { return true };
                rest.extend(reversed_components(&target));
                links += 1;
                if links > MAX_LINKS {
                    return true;
                }
            }
            Ok(_) => here = next,
            // A user who cannot write to the directory cannot create the entry, either.
            Err(failure) => return failure.kind() != io::ErrorKind::NotFound,
        }
    }
    false
}

/// The components of a path, the last one first.
fn reversed_components(path: &Path) -> Vec<OsString> {
    let components = path.components().filter(|part| *part != Component::CurDir);
    components.rev().map(|part| part.as_os_str().to_owned()).collect()
}

/// Whether the user may create and remove entries of a directory, or could change its mode to do
/// so.
fn can_write(user: &Identity, path: &Path, directory: &Metadata) -> bool {
    let group =
        || user.groups.contains(&directory.gid()) || directory.gid() == user.gid || has_acl(path);
    directory.uid() == user.uid
        || directory.mode() & 0o002 != 0
        || (directory.mode() & 0o020 != 0 && group())
}

/// Whether the directory has an access control list. Its entries are limited by the group's mode
/// bits: acl(5).
#[cfg(target_os = "linux")]
fn has_acl(path: &Path) -> bool {
    let mut empty: [u8; 0] = [];
    rustix::fs::getxattr(path, "system.posix_acl_access", &mut empty).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn has_acl(_: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A user other than the one who runs the tests.
    fn other_user() -> Identity {
        let own = rustix::process::geteuid().as_raw();
        Identity {
            uid: own + 12345,
            gid: own + 12345,
            groups: vec![own + 23456],
            ..Identity::default()
        }
    }

    fn directory(path: PathBuf, mode: u32) -> PathBuf {
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn path_through_writable_directories_can_be_changed() {
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
        let can = |path: PathBuf| can_be_changed_by(&other_user(), &path);
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
    fn directory_can_be_changed_by_its_owner_and_group() {
        let dir = tempfile::tempdir().unwrap();
        let can = |mode, user: &Identity| {
            std::fs::set_permissions(dir.path(), Permissions::from_mode(mode)).unwrap();
            can_be_changed_by(user, &dir.path().join("log"))
        };
        let gid = dir.path().metadata().unwrap().gid();
        let member = Identity { groups: vec![gid], ..other_user() };
        assert!(can(0o770, &member) && !can(0o750, &member) && !can(0o770, &other_user()));
        let owner = Identity { uid: rustix::process::geteuid().as_raw(), ..other_user() };
        assert!(can(0o500, &owner), "it could change the mode");
    }
}
