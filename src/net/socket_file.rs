//! The file of a unix socket: its mode and its owner.
//!
//! The directory may belong to a user with fewer rights than the server. Between two calls, that
//! user can replace the file by a link. So the file is examined and changed through one descriptor,
//! which no link can redirect.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

#[cfg(target_os = "linux")]
use crate::sys::descriptors;

/// Sets the permissions of the socket that this process has just bound to `path`, and returns its
/// device and inode. A socket whose permissions cannot be set is removed.
///
/// # Errors
/// As the system does, and if the file was replaced.
pub(super) fn set_mode(path: &Path, mode: u32) -> io::Result<(u64, u64)> {
    let (file, meta) = open(path)?;
    let own = rustix::process::geteuid().as_raw();
    // A second name may be that of another program's socket.
    if !meta.file_type().is_socket() || meta.uid() != own || meta.nlink() != 1 {
        return Err(io::Error::other("another process has replaced it"));
    }
    let known = (meta.dev(), meta.ino());
    if meta.mode() & 0o777 != mode {
        change_mode(&file, path, Mode::from_raw_mode(mode)).inspect_err(|_| remove(path, known))?;
    }
    Ok(known)
}

/// Removes the file, if it is still the one with this device and inode: another server may have
/// replaced it by its own.
pub(super) fn remove(path: &Path, known: (u64, u64)) {
    if let Ok(meta) = fs::symlink_metadata(path)
        && (meta.dev(), meta.ino()) == known
    {
        let _ = fs::remove_file(path);
    }
}

/// Gives the file to another user, if it is still the socket with this device and inode.
///
/// # Errors
/// As the system does.
pub(super) fn give(path: &Path, known: (u64, u64), uid: u32, gid: u32) -> io::Result<()> {
    let (file, meta) = match open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if meta.file_type().is_socket() && (meta.dev(), meta.ino()) == known {
        change_owner(&file, path, Uid::from_raw(uid), Gid::from_raw(gid))?;
    }
    Ok(())
}

/// Opens the file itself without following a link, and without read permission.
#[cfg(target_os = "linux")]
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let meta = file.metadata()?;
    Ok((file, meta))
}

#[cfg(target_os = "linux")]
fn change_mode(file: &File, _: &Path, mode: Mode) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // Kernels before 6.6 have no other way to change the mode through such a descriptor.
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::chmod(itself, mode) {
        Err(rustix::io::Errno::NOENT) => change_mode_without_proc(file, mode),
        done => Ok(done?),
    }
}

/// Without /proc, which kernels before 6.6 need.
#[cfg(target_os = "linux")]
fn change_mode_without_proc(file: &File, mode: Mode) -> io::Result<()> {
    descriptors::change_mode_of_path_descriptor(file, mode.as_raw_mode()).map_err(|failure| {
        io::Error::other(format!(
            "cannot set the mode of its file; mount /proc, or use Linux 6.6 or later: {failure}"
        ))
    })
}

#[cfg(target_os = "linux")]
fn change_owner(file: &File, _: &Path, uid: Uid, gid: Gid) -> io::Result<()> {
    Ok(rustix::fs::chownat(file, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?)
}

/// Elsewhere a socket cannot be opened, but its path can be changed without following a link.
#[cfg(not(target_os = "linux"))]
fn open(path: &Path) -> io::Result<((), Metadata)> {
    Ok(((), std::fs::symlink_metadata(path)?))
}

#[cfg(not(target_os = "linux"))]
fn change_mode(_: &(), path: &Path, mode: Mode) -> io::Result<()> {
    Ok(rustix::fs::chmodat(rustix::fs::CWD, path, mode, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn change_owner(_: &(), path: &Path, uid: Uid, gid: Gid) -> io::Result<()> {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::chownat(rustix::fs::CWD, path, Some(uid), Some(gid), flags)?)
}
