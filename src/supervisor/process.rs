//! Signals to child processes, and how they have ended.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use pyo3::prelude::*;

use super::signals;

/// Sends a signal to a child of ours.
pub(super) fn kill(pid: i32, signal: i32) {
    // SAFETY: kill(2) touches no memory. The process is a child that has not been waited for, so its
    // number is still its own.
    unsafe { libc::kill(pid, signal) };
}

/// How a child has ended, if it has.
pub(super) fn ended(pid: i32) -> Option<ExitStatus> {
    let mut status = 0;
    // SAFETY: waitpid writes to the one integer it is given, which lives until it returns.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
    match waited {
        0 => None,
        waited if waited == pid => Some(ExitStatus::from_raw(status)),
        // Somebody else has waited for it: it is gone all the same.
        _ if std::io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD) => {
            Some(ExitStatus::from_raw(0))
        }
        _ => None,
    }
}

/// A child that has ended, whoever it is. It is still to be waited for.
pub(super) fn first_dead() -> Option<i32> {
    // SAFETY: an all-zero `siginfo_t` is a valid value of that plain C struct.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: waitid fills in the one struct it is given, which lives until it returns.
    let failed = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) } != 0;
    // SAFETY: for waitid the field of the process is always set, to zero if there is none.
    let pid = unsafe { info.si_pid() };
    (!failed && pid > 0).then_some(pid)
}

/// How many processes the kernel has killed for want of memory since it booted, in any control group.
pub(super) fn memory_kills() -> Option<u64> {
    count_of_kills(&std::fs::read_to_string("/proc/vmstat").ok()?)
}

fn count_of_kills(vmstat: &str) -> Option<u64> {
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// How it ended, in words: `was killed by SIGSEGV`.
/// `out_of_memory` says that the kernel has killed somebody for that reason lately.
pub(super) fn fate(py: Python<'_>, status: ExitStatus, out_of_memory: bool) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (_, Some(libc::SIGKILL)) if out_of_memory => {
            "was killed by SIGKILL: the system was out of memory".to_owned()
        }
        (_, Some(signal)) => format!("was killed by {}", signals::name(py, signal)),
        _ => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted() {
        assert_eq!(count_of_kills("pgfault 7\noom_kill 3\nx 1\n"), Some(3));
        assert_eq!(count_of_kills("oom_kill_x 3\n"), None);
    }
}
