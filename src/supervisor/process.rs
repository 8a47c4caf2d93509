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

/// How it ended, in words: `was killed by SIGSEGV`.
pub(super) fn fate(py: Python<'_>, status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (_, Some(libc::SIGKILL)) => {
            "was killed by SIGKILL (if nobody sent it, the system was out of memory)".to_owned()
        }
        (_, Some(signal)) => format!("was killed by {}", signals::name(py, signal)),
        _ => "ended".to_owned(),
    }
}
