//! How child processes have ended, in words.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use pyo3::prelude::*;

use super::signals;

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
