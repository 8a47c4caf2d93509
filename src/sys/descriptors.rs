//! Raw descriptors: numbers that another process, or Python, has passed to this one.

use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::FdFlags;

/// The lowest number for duplicates: below are the standard streams.
const LOWEST: RawFd = 3;

/// Takes over a descriptor that was passed to this process for its own use, by a variable of the
/// environment that names its number. No other code in this process may know the number.
///
/// # Errors
/// If it is not open.
pub(crate) fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    let is_open = fd >= 0 && rustix::io::fcntl_getfd(borrow(fd)).is_ok();
    if !is_open {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: the descriptor is open, and by the function's contract has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Duplicates a descriptor of any kind, with close-on-exec. The original is not changed.
///
/// # Errors
/// If it is not open, or no descriptor is left.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(borrow(fd), LOWEST)?)
}

/// Sets close-on-exec on a descriptor that was passed to this process.
///
/// # Errors
/// If it is not open.
pub(crate) fn close_on_exec(fd: RawFd) -> io::Result<()> {
    if fd < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    Ok(rustix::io::fcntl_setfd(borrow(fd), FdFlags::CLOEXEC)?)
}

/// The file behind a descriptor: its device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

/// Which file is behind a descriptor; `None` if it is not open.
pub(crate) fn file_id(fd: RawFd) -> Option<FileId> {
    let stat = (fd >= 0).then(|| rustix::fs::fstat(borrow(fd)).ok()).flatten()?;
    #[allow(clippy::useless_conversion, reason = "their types differ between systems")]
    Some(FileId(u64::try_from(stat.st_dev).ok()?, u64::try_from(stat.st_ino).ok()?))
}

/// Replaces a descriptor by `/dev/null` atomically, so that its owner may still close it. For a
/// process that was just forked and does not use its copies.
pub(crate) fn replace_with_null(null: &File, fd: RawFd) {
    // SAFETY: dup2 touches no memory. By the function's contract no code in this process uses `fd`.
    unsafe { libc::dup2(null.as_raw_fd(), fd) };
}

/// Writes a byte to a descriptor that another part of this process owns.
///
/// # Errors
/// As write(2); if it is not open.
pub(crate) fn write_byte(fd: RawFd, byte: u8) -> io::Result<()> {
    if fd < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    rustix::io::write(borrow(fd), &[byte])?;
    Ok(())
}

/// A standard stream, 1 or 2, for the whole life of the process; `None` if it is closed.
pub(super) fn standard_stream(fd: RawFd) -> Option<BorrowedFd<'static>> {
    rustix::io::fcntl_getfd(borrow(fd)).ok().map(|_| borrow(fd))
}

/// Lends a number to a system call.
fn borrow(fd: RawFd) -> BorrowedFd<'static> {
    debug_assert!(fd >= 0);
    // SAFETY: the number is not -1, as all callers check. For a number that is not open, or that
    // another thread closes meanwhile, the call returns an error. No caller keeps the value except
    // `standard_stream`, whose descriptors this process never closes.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Sets the mode of a file that was opened as a path only, by fchmodat2(2), which the C libraries
/// of today do not have and kernels have since 6.6.
///
/// # Errors
/// As the system does.
#[cfg(target_os = "linux")]
pub(crate) fn change_mode_of_path_descriptor(file: impl AsFd, mode: u32) -> io::Result<()> {
    /// The number on all architectures but MIPS, where no call has it.
    const FCHMODAT2: libc::c_long = 452;
    // SAFETY: the descriptor is open, and the kernel only reads the path, which is an empty C
    // string.
    let done = unsafe {
        libc::syscall(FCHMODAT2, file.as_fd().as_raw_fd(), c"".as_ptr(), mode, libc::AT_EMPTY_PATH)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than a process has.
    const CLOSED: RawFd = 1_000_000;

    #[test]
    fn numbers_without_a_file_are_refused() {
        for fd in [-1, CLOSED] {
            assert!(adopt(fd).is_err() && duplicate(fd).is_err() && close_on_exec(fd).is_err());
            assert_eq!(file_id(fd), None);
        }
        assert!(standard_stream(CLOSED).is_none());
    }

    #[test]
    fn replaced_descriptor_has_another_file_and_the_same_owner() {
        let file = tempfile::tempfile().unwrap();
        let before = file_id(file.as_raw_fd()).unwrap();
        let copy = duplicate(file.as_raw_fd()).unwrap();
        assert_eq!(file_id(copy.as_raw_fd()), Some(before));
        replace_with_null(&File::open("/dev/null").unwrap(), file.as_raw_fd());
        assert_ne!(file_id(file.as_raw_fd()), Some(before));
        assert_eq!(file_id(copy.as_raw_fd()), Some(before));
    }
}
