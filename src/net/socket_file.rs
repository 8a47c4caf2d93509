//! The file of a unix socket: its mode and its owner.
//!
//! The directory may belong to a user with fewer rights than the server. Between two calls, that
//! user can replace the file, or a directory above it, by a link. So the file is found and removed
//! through a descriptor of its directory, and examined and changed through one of its own, which no
//! link can redirect.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawMode, Stat, Uid};
use socket2::{Domain, SockAddr, Socket, Type};

#[cfg(target_os = "linux")]
use crate::sys::descriptors;

/// The place of a socket's file: a directory that is open, and a name in it.
#[derive(Debug)]
pub(super) struct Place {
    directory: OwnedFd,
    name: OsString,
}

impl Place {
    /// # Errors
    /// If the directory cannot be opened, or the path does not end in a name.
    pub(super) fn of(path: &Path) -> io::Result<Place> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | READS_NOTHING;
        let directory = rustix::fs::open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())?;
        Ok(Place { directory, name })
    }

    /// What is at the place; a link is not followed. `None` if there is nothing.
    pub(super) fn find(&self) -> Option<Found> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::statat(&self.directory, &self.name, flags).ok().map(Found)
    }

    /// Removes the file, if it is still the one with this device and inode: another server may have
    /// replaced it by its own.
    ///
    /// # Errors
    /// As unlink(2).
    pub(super) fn remove(&self, known: (u64, u64)) -> io::Result<()> {
        match self.find() {
            Some(found) if found.identity() == known => {
                Ok(rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty())?)
            }
            _ => Ok(()),
        }
    }

    /// Sets the permissions of the socket that this process has just bound here, where nothing was,
    /// and returns its device and inode. A socket whose permissions cannot be set is removed.
    ///
    /// # Errors
    /// As the system does, and if the file was replaced.
    pub(super) fn set_mode(&self, mode: u32) -> io::Result<(u64, u64)> {
        let replaced = || io::Error::other("another process has replaced it");
        let (file, found) = self.open()?.ok_or_else(replaced)?;
        let own = rustix::process::geteuid().as_raw();
        // A second name may be that of another program's socket.
        if !found.is_socket() || found.0.st_uid != own || found.0.st_nlink != 1 {
            return Err(replaced());
        }
        // The type of a mode differs between systems.
        #[allow(clippy::unnecessary_cast)]
        let wanted = Mode::from_raw_mode(mode as RawMode);
        let permissions = Mode::RWXU | Mode::RWXG | Mode::RWXO;
        if Mode::from_raw_mode(found.0.st_mode) & permissions != wanted {
            self.change_mode(&file, wanted).inspect_err(|_| {
                let _ = self.remove(found.identity());
            })?;
        }
        Ok(found.identity())
    }

    /// Gives the file to another user, if it is still the socket with this device and inode.
    ///
    /// # Errors
    /// As the system does.
    pub(super) fn give(&self, known: (u64, u64), uid: u32, gid: u32) -> io::Result<()> {
        match self.open()? {
            Some((file, found)) if found.is_socket() && found.identity() == known => {
                self.change_owner(&file, Uid::from_raw(uid), Gid::from_raw(gid))
            }
            _ => Ok(()),
        }
    }
}

/// A file.
pub(super) struct Found(Stat);

impl Found {
    pub(super) fn is_socket(&self) -> bool {
        FileType::from_raw_mode(self.0.st_mode) == FileType::Socket
    }

    /// The device and the inode. The types of the fields differ between systems.
    #[allow(clippy::unnecessary_cast)]
    pub(super) fn identity(&self) -> (u64, u64) {
        (self.0.st_dev as u64, self.0.st_ino as u64)
    }
}

/// The file of a socket that another server listens on, which may leave it behind.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// The device and the inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// The socket that is at the path now, if there is one.
    pub fn find(path: &Path) -> Option<SocketFile> {
        let found = Place::of(path).ok()?.find().filter(Found::is_socket)?;
        Some(SocketFile { path: path.to_owned(), identity: found.identity() })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file, unless a server listens there, or another file has taken its place: a
    /// server that is starting may not listen yet.
    ///
    /// # Errors
    /// As the system does.
    pub fn remove_if_stale(&self) -> io::Result<()> {
        match has_listener(&self.path) {
            Ok(true) => Ok(()),
            Ok(false) => Place::of(&self.path)?.remove(self.identity),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether a server listens on the socket at the path.
///
/// # Errors
/// As connect(2).
pub(super) fn has_listener(path: &Path) -> io::Result<bool> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Connecting to a full accept queue would block.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(true),
    }
}

#[cfg(target_os = "linux")]
const READS_NOTHING: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const READS_NOTHING: OFlags = OFlags::RDONLY;

#[cfg(target_os = "linux")]
impl Place {
    /// Opens the file itself without following a link, and without read permission.
    fn open(&self) -> io::Result<Option<(OwnedFd, Found)>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.directory, &self.name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let found = Found(rustix::fs::fstat(&file)?);
        Ok(Some((file, found)))
    }

    fn change_mode(&self, file: &OwnedFd, mode: Mode) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        // Kernels before 6.6 have no other way to change the mode through such a descriptor.
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        match rustix::fs::chmod(itself, mode) {
            Err(rustix::io::Errno::NOENT) => change_mode_without_proc(file, mode),
            done => Ok(done?),
        }
    }

    fn change_owner(&self, file: &OwnedFd, uid: Uid, gid: Gid) -> io::Result<()> {
        Ok(rustix::fs::chownat(file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
    }
}

/// Without /proc, which kernels before 6.6 need.
#[cfg(target_os = "linux")]
fn change_mode_without_proc(file: &OwnedFd, mode: Mode) -> io::Result<()> {
    descriptors::change_mode_of_path_descriptor(file, mode.as_raw_mode()).map_err(|failure| {
        io::Error::other(format!(
            "cannot set the mode of its file; mount /proc, or use Linux 6.6 or later: {failure}"
        ))
    })
}

/// Elsewhere a socket cannot be opened, but its file can be changed without following a link.
#[cfg(not(target_os = "linux"))]
impl Place {
    fn open(&self) -> io::Result<Option<((), Found)>> {
        Ok(self.find().map(|found| ((), found)))
    }

    fn change_mode(&self, _: &(), mode: Mode) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::chmodat(&self.directory, &self.name, mode, flags)?)
    }

    fn change_owner(&self, _: &(), uid: Uid, gid: Gid) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let (directory, name) = (&self.directory, &self.name);
        Ok(rustix::fs::chownat(directory, name, Some(uid), Some(gid), flags)?)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::sys::fork_free::ForkFree;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    fn mode(path: &Path) -> u32 {
        let meta = fs::symlink_metadata(path);
        meta.expect("the test has made it").permissions().mode() & 0o777
    }

    #[test]
    fn socket_gets_its_mode_and_is_removed_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let place = Place::of(&path).unwrap();
        assert!(place.find().is_none());
        let _listener = UnixListener::bind(&path).unwrap();
        let known = place.set_mode(0o600).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(place.remove((known.0, known.1 + 1)).is_ok() && path.exists());
        assert!(place.remove(known).is_ok() && !path.exists());
        assert!(place.remove(known).is_ok() && place.give(known, 1, 1).is_ok());
    }

    #[test]
    fn file_that_a_server_leaves_behind_is_removed_unless_it_is_used_or_replaced() {
        let _fork_free = ForkFree::new();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        assert!(SocketFile::find(&path).is_none());
        let old = UnixListener::bind(&path).unwrap();
        let file = SocketFile::find(&path).unwrap();
        assert!(file.remove_if_stale().is_ok() && path.exists(), "it is used");
        // Another server has bound the path, and may not listen yet. The second name keeps the
        // inode in use.
        fs::hard_link(&path, dir.path().join("kept")).unwrap();
        fs::remove_file(&path).unwrap();
        drop((old, UnixListener::bind(&path).unwrap()));
        assert!(file.remove_if_stale().is_ok() && path.exists(), "it was replaced");
        let left = SocketFile::find(&path).unwrap();
        assert!(left.remove_if_stale().is_ok() && !path.exists());
        assert!(left.remove_if_stale().is_ok(), "there is nothing");
        fs::write(&path, "").unwrap();
        assert!(SocketFile::find(&path).is_none(), "no socket");
    }

    #[test]
    fn file_that_is_not_the_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let [path, other] = ["s", "other"].map(|name| dir.path().join(name));
        let place = Place::of(&path).unwrap();
        assert!(place.set_mode(0o600).is_err(), "nothing");
        let _listener = UnixListener::bind(&other).unwrap();
        let before = mode(&other);
        symlink(&other, &path).unwrap();
        assert!(place.set_mode(0o600).is_err(), "a link");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(place.set_mode(0o600).is_err(), "a file");
        fs::remove_file(&path).unwrap();
        fs::hard_link(&other, &path).unwrap();
        assert!(place.set_mode(0o600).is_err(), "another socket");
        assert_eq!(mode(&other), before);
    }

    #[test]
    fn directory_that_is_replaced_by_a_link_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let [run, victim] = ["run", "victim"].map(|name| dir.path().join(name));
        fs::create_dir(&run).unwrap();
        fs::create_dir(&victim).unwrap();
        let _listener = UnixListener::bind(victim.join("s")).unwrap();
        let before = mode(&victim.join("s"));
        let place = Place::of(&run.join("s")).unwrap();
        fs::rename(&run, dir.path().join("away")).unwrap();
        symlink(&victim, &run).unwrap();
        let known = Place::of(&run.join("s")).unwrap().find().unwrap().identity();
        assert!(place.set_mode(0o600).is_err());
        assert!(place.give(known, 1, 1).is_ok() && place.remove(known).is_ok());
        assert!(victim.join("s").exists());
        assert_eq!(mode(&victim.join("s")), before);
    }
}
