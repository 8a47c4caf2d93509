//! Which paths the workers' user can change.
//!
//! With `--user` the master is root, and code in a worker must not become root by way of a file
//! that the master reads or executes. So the master uses a configuration file, imports a module and
//! writes its pid file only where that user can change neither the file nor the way to it. A
//! directory that does not exist, or a link to elsewhere, is judged as the kernel would resolve it.

use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use pyo3::prelude::*;

use super::identity::Identity;
use crate::config::Processes;

/// More links than the kernel follows (path_resolution(7): 40).
const MAX_LINKS: usize = 40;

/// The users that workers run as, or have run as since the start. Empty if they are this process's
/// own, as then there is no boundary, and for root.
#[derive(Debug, Clone, Default)]
pub struct WorkerUsers(Vec<Identity>);

impl WorkerUsers {
    /// Adds a user; returns whether it is a new one.
    pub(super) fn add(&mut self, user: Option<&Identity>) -> bool {
        let new = user.filter(|user| user.uid != 0 && !self.0.contains(user));
        self.0.extend(new.cloned());
        new.is_some()
    }

    /// Adds the user of `--user` and `--group`. If there is none of this name, the start or the
    /// reload is refused for that reason.
    pub fn add_named(&mut self, py: Python<'_>, user: Option<&str>, group: Option<&str>) {
        let [user, group] = [user, group].map(|name| name.map(str::to_owned));
        let named = Processes { user, group, ..Processes::default() };
        self.add(Identity::find(py, &named).ok().flatten().as_ref());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the users can change the file or directory that a path leads to.
    pub(super) fn can_change(&self, path: &Path) -> bool {
        self.find_change(path).is_some()
    }

    /// Fails if one of the users can change a configuration file.
    ///
    /// # Errors
    /// A sentence that names the file, the user, and what to do.
    pub fn check_file(&self, path: &Path) -> Result<(), String> {
        let Some((uid, part)) = self.find_change(path) else { return Ok(()) };
        Err(format!(
            "cannot use {} as root: the workers' user {uid} (--user) can change {}; let only root \
             write there, or start the server as that user",
            path.display(),
            part.display()
        ))
    }

    /// Whether this is the id of one of the users.
    pub(super) fn contains(&self, uid: u32) -> bool {
        self.0.iter().any(|user| user.uid == uid)
    }

    /// Fails if one of the users can put another pid file in the place of this one.
    pub(super) fn check_pidfile(&self, path: &Path) -> Result<(), String> {
        self.check_place(path).map_err(|(uid, part)| {
            format!(
                "--pid: cannot write {} as root: the workers' user {uid} (--user) can change {}, \
                 and so name another process there; choose a directory that only root can write to",
                path.display(),
                part.display()
            )
        })
    }

    /// Fails if one of the users can put another control socket in the place of this one.
    pub(super) fn check_control_socket(&self, path: &Path) -> Result<(), String> {
        self.check_place(path).map_err(|(uid, part)| {
            format!(
                "--control-socket: cannot use {} as root: the workers' user {uid} (--user) can \
                 change {}, and so answer there in place of the master; choose a directory that \
                 only root can write to",
                path.display(),
                part.display()
            )
        })
    }

    /// Fails with a user who can put another file in the place of this one, and the directory that
    /// this user can change.
    fn check_place(&self, path: &Path) -> Result<(), (u32, PathBuf)> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = parent.unwrap_or(Path::new("."));
        // In a sticky directory such as /tmp the user cannot replace a file of root. Further up in
        // the path, the user may own what is in one.
        let is_sticky = |part: &Path| {
            let is_parent = [std::path::absolute(directory), directory.canonicalize()]
                .iter()
                .any(|parent| parent.as_ref().is_ok_and(|parent| parent == part));
            let is_sticky = |meta: Metadata| meta.mode() & 0o1000 != 0 && meta.uid() == 0;
            is_parent && part.symlink_metadata().is_ok_and(is_sticky)
        };
        match self.find_change(directory) {
            Some((uid, part)) if !is_sticky(&part) => Err((uid, part)),
            _ => Ok(()),
        }
    }

    /// Fails if one of the users can put another directory in the place of the ACME cache, into
    /// which the master writes keys.
    pub(super) fn check_cache(&self, path: &Path) -> Result<(), String> {
        let Some((uid, part)) = self.find_change(path) else { return Ok(()) };
        Err(format!(
            "--acme-cache: cannot use {} as root: the workers' user {uid} (--user) can change {}, \
             and so lead it elsewhere; choose a directory below ones that only root can write to",
            path.display(),
            part.display()
        ))
    }

    /// A user who can change what the path leads to, and the part of it that this user can change.
    fn find_change(&self, path: &Path) -> Option<(u32, PathBuf)> {
        let Ok(path) = std::path::absolute(path) else { return None };
        self.0.iter().find_map(|user| {
            let part = changeable_part(user, &path).or_else(|| {
                let target = path.metadata().ok()?;
                can_write(user, &path, &target).then(|| path.clone())
            });
            Some((user.uid, part?))
        })
    }
}

/// The part of this absolute path at which `user` could make it lead elsewhere. If there is none,
/// that also cannot happen between this check and the use of the path.
pub(super) fn changeable_part(user: &Identity, path: &Path) -> Option<PathBuf> {
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
            return None;
        }
        let Ok(directory) = here.symlink_metadata() else { return Some(here) };
        let next = here.join(&name);
        let entry = next.symlink_metadata();
        if can_write(user, &here, &directory) {
            // In a sticky directory such as /tmp the user cannot move another user's directory
            // away. Files and links do not count: they could be hard links.
            let kept = |entry: &Metadata| entry.is_dir() && entry.uid() != user.uid;
            let sticky = directory.mode() & 0o1000 != 0 && directory.uid() != user.uid;
            if !(sticky && entry.as_ref().is_ok_and(kept)) {
                return Some(here);
            }
        }
        match entry {
            Ok(entry) if entry.is_symlink() => {
                let Ok(target) = next.read_link() else { return Some(next) };
                rest.extend(reversed_components(&target));
                links += 1;
                if links > MAX_LINKS {
                    return Some(next);
                }
            }
            Ok(_) => here = next,
            // A user who cannot write to the directory cannot create the entry, either.
            Err(failure) => return (failure.kind() != io::ErrorKind::NotFound).then_some(next),
        }
    }
    None
}

/// The components of a path, the last one first.
fn reversed_components(path: &Path) -> Vec<OsString> {
    let components = path.components().filter(|part| *part != Component::CurDir);
    components.rev().map(|part| part.as_os_str().to_owned()).collect()
}

/// Whether the user may write to a file, or create and remove entries of a directory, or could
/// change its mode to do so.
fn can_write(user: &Identity, path: &Path, meta: &Metadata) -> bool {
    let group = || user.groups.contains(&meta.gid()) || meta.gid() == user.gid || has_acl(path);
    meta.uid() == user.uid || meta.mode() & 0o002 != 0 || (meta.mode() & 0o020 != 0 && group())
}

/// Whether the file or directory has an access control list. Its entries are limited by the group's
/// mode bits: acl(5).
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
        let can = |path: PathBuf| changeable_part(&other_user(), &path).is_some();
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
            changeable_part(user, &dir.path().join("log")).is_some()
        };
        let gid = dir.path().metadata().unwrap().gid();
        let member = Identity { groups: vec![gid], ..other_user() };
        assert!(can(0o770, &member) && !can(0o750, &member) && !can(0o770, &other_user()));
        let owner = Identity { uid: rustix::process::geteuid().as_raw(), ..other_user() };
        assert!(can(0o500, &owner), "it could change the mode");
    }

    #[test]
    fn file_can_be_changed_by_who_may_write_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rustwsgi.toml");
        std::fs::write(&path, "").unwrap();
        let users = WorkerUsers(vec![other_user()]);
        for (mode, expected) in [(0o644, false), (0o664, false), (0o666, true)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(users.can_change(&path), expected, "{mode:o}");
            assert_eq!(users.check_file(&path).is_err(), expected, "{mode:o}");
            assert!(!WorkerUsers::default().can_change(&path));
        }
    }

    #[test]
    fn cache_that_could_be_replaced_is_refused_also_before_it_exists() {
        let dir = tempfile::tempdir().unwrap();
        let users = WorkerUsers(vec![other_user()]);
        let ours = directory(dir.path().join("ours"), 0o755);
        let shared = directory(dir.path().join("shared"), 0o777);
        directory(shared.join("acme"), 0o700);
        assert_eq!(users.check_cache(&ours.join("acme")), Ok(()));
        for refused in [shared.join("acme"), shared.join("new/acme")] {
            assert!(users.check_cache(&refused).unwrap_err().contains("shared"), "{refused:?}");
            assert_eq!(WorkerUsers::default().check_cache(&refused), Ok(()));
        }
    }

    #[test]
    fn pid_file_may_be_in_a_sticky_directory_and_in_no_writable_one() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let users = WorkerUsers(vec![other_user()]);
        let [ours, shared] = [("ours", 0o755), ("shared", 0o777)]
            .map(|(name, mode)| directory(dir.join(name), mode).join("pid"));
        assert_eq!(users.check_pidfile(&ours), Ok(()));
        assert!(users.check_pidfile(&shared).unwrap_err().contains("shared"));
        if rustix::process::geteuid().is_root() {
            let sticky = directory(dir.join("sticky"), 0o1777);
            assert_eq!(users.check_pidfile(&sticky.join("pid")), Ok(()));
        }
    }
}
