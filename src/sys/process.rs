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

/// The kernel's number of the calling thread; 0 where it has none.
pub(crate) fn thread_id() -> i32 {
    #[cfg(target_os = "linux")]
    return rustix::thread::gettid().as_raw_nonzero().get();
    #[cfg(not(target_os = "linux"))]
    0
}

/// The other threads of this process that run, or could, rather than wait in the kernel, and have
/// not blocked this signal. None if the system does not say.
pub(crate) fn running_threads(signal: i32) -> Vec<i32> {
    let own = thread_id();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ids = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok());
    let runs = |id: i32| {
        let status = std::fs::read_to_string(format!("/proc/self/task/{id}/status"));
        status.is_ok_and(|status| runs_without_blocking(&status, signal))
    };
    ids.filter(|&id| id != own && runs(id)).collect()
}

/// Reads a status file. [proc_pid_status(5)]
fn runs_without_blocking(status: &str, signal: i32) -> bool {
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    let mask = value("SigBlk").and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let is_blocked =
        |mask: u64| mask.checked_shr(signal.unsigned_abs().saturating_sub(1)).unwrap_or(0) & 1 == 1;
    value("State").is_some_and(|state| state.starts_with('R')) && !mask.is_some_and(is_blocked)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_thread_is_told_from_others() {
        let status = |state: &str, mask: &str| {
            format!("Name:\ta\nState:\t{state} (x)\nSigPnd:\t0\nSigBlk:\t{mask}\n")
        };
        assert!(runs_without_blocking(&status("R", "0000000000000000"), 60));
        assert!(runs_without_blocking(&status("R", "0400000000000000"), 60));
        assert!(!runs_without_blocking(&status("R", "0800000000000000"), 60));
        assert!(!runs_without_blocking(&status("S", "0000000000000000"), 60));
        assert!(!runs_without_blocking("", 60));
        assert!(!running_threads(60).contains(&thread_id()));
    }
}
