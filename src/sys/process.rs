//! Other processes and the end of this one.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::wait::{Id, WaitPidFlag};
use rustix::process::{Pid, Signal, WaitOptions};

/// Ends this process at once: no exit handlers, no destructors, no flushing of buffers.
pub(crate) fn exit_immediately(code: i32) -> ! {
    // SAFETY: _exit may be called at any time, by any thread, and in a signal handler.
    unsafe { libc::_exit(code) }
}

/// Sends a signal to a child that has not been reaped, so that its pid is still its own. A child
/// that has ended already is no error.
pub(crate) fn kill(pid: i32, signal: i32) {
    if let (Some(pid), Some(signal)) = (Pid::from_raw(pid), Signal::from_named_raw(signal)) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Reaps a child if it has ended. `None` while it runs. A child that other code has reaped counts
/// as one that exited with 0.
pub(crate) fn try_wait(pid: i32) -> Option<ExitStatus> {
    match rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::NOHANG) {
        Ok(Some((_, status))) => Some(ExitStatus::from_raw(status.as_raw())),
        Err(rustix::io::Errno::CHILD) => Some(ExitStatus::from_raw(0)),
        Ok(None) | Err(_) => None,
    }
}

/// The pid of any child that has ended. It stays to be reaped by [`try_wait`].
pub(crate) fn peek_ended_child() -> Option<i32> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let status = nix::sys::wait::waitid(Id::All, flags).ok()?;
    status.pid().map(nix::unistd::Pid::as_raw)
}
