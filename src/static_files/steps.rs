//! Opens a file below a directory one component at a time, following symbolic links itself as long
//! as they stay below the directory. For systems without `openat2`, and for absolute links, which
//! `RESOLVE_BENEATH` refuses wherever they lead.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// How a directory on the way is opened: it need not be readable.
#[cfg(target_os = "linux")]
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

/// Opens `name` below the directory `root`, which has these paths. Fails with EXDEV if it is not
/// below it.
pub(super) fn open(
    root: &OwnedFd,
    root_paths: &[PathBuf],
    name: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let flags = if name.ends_with(b"/") { flags | OFlags::DIRECTORY } else { flags };
    // The open directories below the root, the innermost one last.
    let mut below: Vec<OwnedFd> = Vec::new();
    let mut left: VecDeque<Vec<u8>> = components(name).collect();
    let mut links = 0;
    loop {
        let Some(component) = left.pop_front() else {
            // The name was a directory that is open already.
            return open_component(below.last().unwrap_or(root), b".", flags);
        };
        if component == b".." {
            if below.pop().is_none() {
                return Err(Errno::XDEV);
            }
            continue;
        }
        let directory = below.last().unwrap_or(root);
        let is_last = left.is_empty();
        let opened = open_component(directory, &component, if is_last { flags } else { DIRECTORY });
        match opened {
            Ok(file) if is_last => return Ok(file),
            Ok(directory) => below.push(directory),
            // POSIX has ELOOP for a link, FreeBSD EMLINK, and O_DIRECTORY makes it ENOTDIR.
            Err(failed @ (Errno::LOOP | Errno::MLINK | Errno::NOTDIR)) => {
                let Ok(target) = readlinkat(directory, &component[..], Vec::new()) else {
                    return Err(failed);
                };
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = target.as_bytes();
                let relative = match target {
                    [b'/', ..] => {
                        let rest = strip_root(target, root_paths).ok_or(Errno::XDEV)?;
                        below.clear();
                        rest
                    }
                    relative => relative,
                };
                let mut all: VecDeque<_> = components(relative).collect();
                all.append(&mut left);
                left = all;
            }
            Err(failed) => return Err(failed),
        }
    }
}

/// Opens one component below a directory without following a link.
fn open_component(directory: &OwnedFd, name: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    openat(directory, name, flags | OFlags::NOFOLLOW, Mode::empty())
}

/// The components of a path; `.` and empty ones are none.
fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|&b| b == b'/').filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec)
}

/// The part of an absolute path below a directory that has these paths: empty, or from a slash on.
pub(super) fn strip_root<'a>(path: &'a [u8], roots: &[PathBuf]) -> Option<&'a [u8]> {
    roots.iter().find_map(|root| {
        let root = root.as_os_str().as_bytes();
        let rest = path.strip_prefix(root.strip_suffix(b"/").unwrap_or(root))?;
        matches!(rest, [] | [b'/', ..]).then_some(rest)
    })
}
