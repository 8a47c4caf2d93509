//! Opens the file of a log, but root follows no link that somebody else has laid.
//!
//! A log is opened by name again and again, at signals, often in a directory to which the workers may write.
//! Whoever has taken over one of them could put a link there, and root would append to any file: see
//! CVE-2016-1247, of a package of nginx. Only the last part of the path is minded: the directories that lead
//! there should be the operator's own.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens for appending; creates what is missing.
///
/// # Errors
/// What open(2) says; that permission is denied for a link as above.
pub(super) fn open(path: &Path) -> io::Result<File> {
    #[cfg(target_os = "linux")]
    if rustix::process::geteuid().is_root() {
        return guarded::open(path);
    }
    File::options().append(true).create(true).open(path)
}

#[cfg(target_os = "linux")]
mod guarded {
    use std::ffi::OsStr;
    use std::fs::File;
    use std::io;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::{Path, PathBuf};

    use rustix::fs::{self, Mode, OFlags};

    /// As many links as the kernel follows.
    const MOST: usize = 40;

    pub(super) fn open(path: &Path) -> io::Result<File> {
        let mut path = path.to_path_buf();
        for _ in 0..MOST {
            let mut options = File::options();
            options.append(true).create(true);
            match options.custom_flags(libc::O_NOFOLLOW).open(&path) {
                Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {}
                opened => return opened,
            }
            match follow(&path)? {
                Some(next) => path = next,
                // What /dev/stderr leads to has no other name.
                None => return options.custom_flags(0).open(&path),
            }
        }
        Err(io::Error::from_raw_os_error(libc::ELOOP))
    }

    /// Where a link leads; `None` if it is the kernel's own.
    fn follow(path: &Path) -> io::Result<Option<PathBuf>> {
        // Opened once, so that owner and target are those of the same link.
        let link =
            fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        if fs::fstatfs(&link)?.f_type == fs::PROC_SUPER_MAGIC {
            return Ok(None);
        }
        let owner = fs::fstat(&link)?.st_uid;
        if owner != 0 {
            let shown = path.display();
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "{shown} is a link that belongs to user {owner}, and root does not follow it"
                ),
            ));
        }
        let target = fs::readlinkat(&link, "", Vec::new())?;
        let target = OsStr::from_bytes(target.to_bytes());
        Ok(Some(path.parent().unwrap_or(Path::new("/")).join(target)))
    }
}
