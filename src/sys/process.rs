//! Signals and reaps child processes, and ends this one.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

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
///
/// Not by `nix`, whose waitid fails for a child that a real-time signal has ended, and would fail
/// again each time; nor by `rustix`, whose status has no pid.
pub(crate) fn peek_ended_child() -> Option<i32> {
    // SAFETY: an all-zero `siginfo_t` is a valid value of that plain C struct.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: waitid fills in the one struct it is given, which lives until it returns.
    let failed = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) } != 0;
    // SAFETY: waitid always sets the pid, to zero if no child has ended.
    let pid = unsafe { info.si_pid() };
    (!failed && pid > 0).then_some(pid)
}
