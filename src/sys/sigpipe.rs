//! Writing to what may have no reader any more, without the signal that says so.
//!
//! Python ignores SIGPIPE, but an application may restore its default, which ends the process: then one client
//! that breaks off a download would end a worker. `send` has a flag against that; `sendfile` and `write`
//! have none. So the signal is blocked around those calls, and taken back if it came.
//!
//! Only around them: a program that is started inherits what its parent's thread blocks, and `yes | head -1`
//! relies on the signal.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Does one system call that writes. The signal is the calling thread's own: it never goes to another.
pub(crate) fn suppressed<T>(write: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let Some((pipe, before)) = block() else { return write() };
    let written = write();
    // Also if it has succeeded: the reader may have gone when some of the bytes were sent.
    take_back(&pipe);
    // SAFETY: `before` is a mask that pthread_sigmask has written.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    written
}

/// Blocks SIGPIPE; returns the set with it, and the mask before. `None` if it was blocked already: then it is
/// for whoever has done that to see to what is pending.
fn block() -> Option<(libc::sigset_t, libc::sigset_t)> {
    let mut pipe = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: sigemptyset initializes `pipe`, and pthread_sigmask `before` unless it fails; both are read only
    // after that.
    unsafe {
        libc::sigemptyset(pipe.as_mut_ptr());
        libc::sigaddset(pipe.as_mut_ptr(), libc::SIGPIPE);
        let failed = libc::pthread_sigmask(libc::SIG_BLOCK, pipe.as_ptr(), before.as_mut_ptr());
        if failed != 0 || libc::sigismember(before.as_ptr(), libc::SIGPIPE) == 1 {
            return None;
        }
        Some((pipe.assume_init(), before.assume_init()))
    }
}

/// Takes the signal back if it is pending. It may not be: some systems forget a blocked signal that is ignored.
fn take_back(pipe: &libc::sigset_t) {
    let mut pending = MaybeUninit::uninit();
    let mut taken = 0;
    // SAFETY: sigpending initializes `pending`, which is read only if it has succeeded; `pipe` is a set.
    // sigwait does not block: what is pending for this thread, nobody else can take.
    unsafe {
        if libc::sigpending(pending.as_mut_ptr()) == 0
            && libc::sigismember(pending.as_ptr(), libc::SIGPIPE) == 1
        {
            libc::sigwait(pipe, &raw mut taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn is_blocked() -> bool {
        let mut now = MaybeUninit::uninit();
        // SAFETY: with no new set pthread_sigmask only writes the present one.
        unsafe {
            libc::pthread_sigmask(libc::SIG_BLOCK, ptr::null(), now.as_mut_ptr());
            libc::sigismember(now.as_ptr(), libc::SIGPIPE) == 1
        }
    }

    /// That the signal does not end the process is for `tests/server/test_sigpipe.py` to show: here it would end all
    /// tests.
    #[test]
    fn the_error_comes_and_the_mask_is_as_before() {
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
}
