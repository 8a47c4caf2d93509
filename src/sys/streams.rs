//! The standard streams that the process was started with.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::descriptors;

/// Standard output; `None` if the process was started without one.
pub(crate) fn stdout() -> Option<BorrowedFd<'static>> {
    descriptors::standard_stream(libc::STDOUT_FILENO)
}

/// Standard error; `None` if the process was started without one.
pub(crate) fn stderr() -> Option<BorrowedFd<'static>> {
    descriptors::standard_stream(libc::STDERR_FILENO)
}

/// Redirects standard input to `/dev/null`.
///
/// # Errors
/// As the system does.
pub(crate) fn discard_input() -> io::Result<()> {
    Ok(rustix::stdio::dup2_stdin(null()?)?)
}

/// From now on standard output and error go nowhere.
///
/// # Errors
/// As the system does.
pub(crate) fn discard_output() -> io::Result<()> {
    let null = null()?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(rustix::stdio::dup2_stderr(&null)?)
}

/// A descriptor of `/dev/null` that is none of the standard streams, even if one of them is closed,
/// so that dropping it closes none.
fn null() -> io::Result<OwnedFd> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    descriptors::duplicate(null.as_raw_fd())
}
