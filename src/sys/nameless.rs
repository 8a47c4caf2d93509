//! A file without a name: its descriptor is all that leads to it, which is passed to other
//! processes, or inherited.

use std::fs::File;
use std::io;

/// In memory, so that no key is written to a disk. The name is for tools such as lsof.
///
/// # Errors
/// As the system does.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(crate) fn nameless_file(name: &str) -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(memfd_create(name, MemfdFlags::CLOEXEC)?.into())
}

/// In the directory of temporary files.
///
/// # Errors
/// As the system does.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(crate) fn nameless_file(_: &str) -> io::Result<File> {
    tempfile::tempfile()
}
