//! A directory whose files are served, and the only place that opens them.
//!
//! The kernel resolves a name below the directory (`openat2` with `RESOLVE_BENEATH`), so that
//! neither `..` nor a symbolic link leaves it, also while another process renames directories.
//! Systems without `openat2`, and links with an absolute target, are resolved by [`steps`].

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::steps::{self, strip_root};

/// Why a directory cannot be served. Displayed as a part of a sentence.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve the directory {}: {reason}", path.display())]
pub struct OpenError {
    path: PathBuf,
    reason: io::Error,
}

/// Whether a lookup may wait for a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// It fails with `WouldBlock` instead.
    Cached,
    /// It may.
    Blocking,
}

/// An open directory.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    /// Its path without symbolic links, and its absolute path as it was given.
    paths: [PathBuf; 2],
    /// It is in memory, where opening never waits for a disk.
    is_in_memory: bool,
}

/// How a file is opened. Without `O_NONBLOCK`, a named pipe would wait for a writer.
const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

impl Root {
    /// Opens the directory.
    pub(super) fn open(path: &Path) -> Result<Root, OpenError> {
        let open = || {
            let given = std::path::absolute(path)?;
            let path = std::fs::canonicalize(path)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = rustix::fs::open(&path, flags, Mode::empty())?;
            let is_in_memory = is_in_memory(&directory);
            Ok(Root { directory, paths: [path, given], is_in_memory })
        };
        open().map_err(|reason| OpenError { path: path.to_owned(), reason })
    }

    /// The part of an absolute path below the directory: empty, or from a slash on.
    pub(super) fn strip<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        strip_root(path, &self.paths)
    }

    /// Opens what `name` names below the directory, of whatever type it is. An empty name is the
    /// directory. With [`Lookup::Cached`] it fails with `WouldBlock` rather than wait for a disk.
    pub(super) fn open_file(&self, name: &[u8], lookup: Lookup) -> io::Result<File> {
        let name = if name.is_empty() { b"." } else { name };
        let opened = match self.open_beneath(name, lookup == Lookup::Cached && !self.is_in_memory) {
            // An absolute link, or one that leaves the directory; or a system without the call. It
            // is EPERM where a container's filter does not know the call.
            Err(Errno::XDEV) if lookup == Lookup::Cached => Err(Errno::AGAIN),
            Err(Errno::XDEV | Errno::NOSYS | Errno::PERM) => {
                steps::open(&self.directory, &self.paths, name, FLAGS)
            }
            opened => opened,
        };
        Ok(File::from(opened?))
    }

    #[cfg(target_os = "linux")]
    fn open_beneath(&self, name: &[u8], is_cached: bool) -> rustix::io::Result<OwnedFd> {
        use rustix::fs::{ResolveFlags, openat2};
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        resolve.set(ResolveFlags::CACHED, is_cached);
        // EAGAIN also means that a directory was renamed meanwhile.
        let mut tries = 0..4;
        loop {
            match openat2(&self.directory, name, FLAGS, Mode::empty(), resolve) {
                Err(Errno::AGAIN) if !is_cached && tries.next().is_some() => {}
                // A kernel before 5.12 does not know RESOLVE_CACHED.
                Err(Errno::INVAL) if resolve.contains(ResolveFlags::CACHED) => {
                    resolve.remove(ResolveFlags::CACHED);
                }
                opened => return opened,
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn open_beneath(&self, _: &[u8], _: bool) -> rustix::io::Result<OwnedFd> {
        Err(Errno::NOSYS)
    }

    /// As on a system without `openat2`.
    #[cfg(test)]
    pub(super) fn open_by_steps(&self, name: &[u8]) -> io::Result<File> {
        Ok(File::from(steps::open(&self.directory, &self.paths, name, FLAGS)?))
    }
}

/// True for a file system without a disk. It keeps no names of files that do not exist, so that a
/// lookup of one never succeeds from the cache.
#[cfg(target_os = "linux")]
fn is_in_memory(directory: &OwnedFd) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    rustix::fs::fstatfs(directory).is_ok_and(|found| matches!(found.f_type as u64, TMPFS | RAMFS))
}

#[cfg(not(target_os = "linux"))]
fn is_in_memory(_: &OwnedFd) -> bool {
    false
}

/// True if an error means that there is no such file to serve.
pub(super) fn is_missing(error: &io::Error) -> bool {
    let Some(errno) = Errno::from_io_error(error) else { return false };
    [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::LOOP,
        Errno::XDEV,
        Errno::ACCESS,
        Errno::NAMETOOLONG,
        Errno::INVAL,
        // A name that is not UTF-8, on a file system that has no others.
        Errno::ILSEQ,
        // A socket, or a device without a driver.
        Errno::NXIO,
        Errno::NODEV,
    ]
    .contains(&errno)
}
