//! Writes without SIGPIPE to a pipe or socket whose reader may have closed it.
//!
//! Python ignores SIGPIPE, but an application may restore its default, which ends the process: then
//! one client that aborts a download would end a worker. `send` has a flag against that; `sendfile`
//! and `write` have none. So the signal is blocked around those calls, and discarded if it came.
//!
//! It is not blocked permanently: a program that the application starts inherits the thread's
//! signal mask, and `yes | head -1` relies on the signal.

use std::io;

use nix::sys::signal::Signal;
use rustix::net::SendFlags;

use super::signals::{Blocked, discard_pending};

/// The flag of send(2) against the signal. Systems of Apple have none: there socket2 sets
/// `SO_NOSIGPIPE` for the sockets that it makes and accepts.
#[cfg(not(target_vendor = "apple"))]
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::empty();

/// Makes one system call that writes. SIGPIPE is always sent to the calling thread.
pub(crate) fn suppressed<T>(write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let blocked = match Blocked::these(&[libc::SIGPIPE]) {
        Some(blocked) if !blocked.was_blocked(Signal::SIGPIPE) => blocked,
        // The code that blocked it handles pending signals, and there is no mask to restore.
        blocked => {
            std::mem::forget(blocked);
            return write();
        }
    };
    let written = write();
    // Even after a success: the reader may have closed after some of the bytes were sent.
    discard_pending(Signal::SIGPIPE);
    drop(blocked);
    written
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use nix::sys::signal::SigSet;

    use super::super::fork_free::ForkFree;
    use super::*;

    fn is_blocked() -> bool {
        SigSet::thread_get_mask().unwrap().contains(Signal::SIGPIPE)
    }

    /// Black-box tests show that the signal does not end the process: here it would end all tests.
    #[test]
    fn write_without_a_reader_fails_and_leaves_the_signal_mask_alone() {
        let _fork_free = ForkFree::new();
        let (reader, mut writer) = io::pipe().unwrap();
        assert_eq!(suppressed(|| writer.write(b"read")).unwrap(), 4);
        drop(reader);
        let written = suppressed(|| {
            assert!(is_blocked());
            writer.write(b"lost")
        });
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(!is_blocked());
    }

    #[test]
    fn signal_that_was_blocked_before_stays_blocked() {
        let _fork_free = ForkFree::new();
        let outer = Blocked::these(&[libc::SIGPIPE]).unwrap();
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        assert!(suppressed(|| writer.write(b"lost")).is_err());
        assert!(is_blocked());
        discard_pending(Signal::SIGPIPE);
        drop(outer);
        assert!(!is_blocked());
    }
}
