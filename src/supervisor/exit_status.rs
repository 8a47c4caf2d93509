//! Describes exit statuses for the log.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use pyo3::prelude::*;

/// The number of processes that the kernel has killed for lack of memory since it booted, in all
/// control groups.
pub(super) fn oom_kills() -> Option<u64> {
    parse_oom_kills(&std::fs::read_to_string("/proc/vmstat").ok()?)
}

fn parse_oom_kills(vmstat: &str) -> Option<u64> {
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Describes an exit status: `was killed by SIGSEGV`. `out_of_memory` means that the kernel has
/// recently killed a process for lack of memory.
pub(super) fn describe(py: Python<'_>, status: ExitStatus, out_of_memory: bool) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (_, Some(libc::SIGKILL)) if out_of_memory => {
            "was killed by SIGKILL: the system was out of memory".to_owned()
        }
        (_, Some(signal)) => format!("was killed by {}", signal_name(py, signal)),
        _ => "exited".to_owned(),
    }
}

/// `SIGTERM` for 15.
pub(super) fn signal_name(py: Python<'_>, number: i32) -> String {
    let name = || -> PyResult<String> {
        py.import("signal")?.getattr("Signals")?.call1((number,))?.getattr("name")?.extract()
    };
    name().unwrap_or_else(|_| format!("signal {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oom_kills_are_parsed_from_vmstat() {
        assert_eq!(parse_oom_kills("pgfault 7\noom_kill 3\nx 1\n"), Some(3));
        assert_eq!(parse_oom_kills("oom_kill_x 3\n"), None);
    }
}
