//! The memory and the processor time of a process, on systems that have /proc.

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::supervisor) struct Usage {
    /// The resident set size in bytes.
    pub(in crate::supervisor) resident_bytes: u64,
    /// Processor time of all its threads in seconds.
    pub(in crate::supervisor) cpu_seconds: f64,
}

impl Usage {
    /// Reads /proc. [proc_pid_stat(5)]
    pub(in crate::supervisor) fn of(pid: i32) -> Option<Usage> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let page_bytes = rustix::param::page_size() as u64;
        parse(&stat, page_bytes, rustix::param::clock_ticks_per_second())
    }
}

/// The name in parentheses may contain anything, so the fields are counted from its end.
fn parse(stat: &str, page_bytes: u64, ticks_per_second: u64) -> Option<Usage> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = number(14)?.checked_add(number(15)?)?;
    let cpu_seconds = ticks as f64 / ticks_per_second.max(1) as f64;
    Some(Usage { resident_bytes: number(24)?.saturating_mul(page_bytes), cpu_seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 1 1 300 1 1";
        let expected = Usage { resident_bytes: 300 * 4096, cpu_seconds: 2.0 };
        assert_eq!(parse(stat, 4096, 100), Some(expected));
        assert_eq!(parse("7 (a) S 1 7", 4096, 100), None);
        assert_eq!(parse("", 4096, 100), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn own_process_uses_memory() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(Usage::of(pid).is_some_and(|usage| usage.resident_bytes > 1 << 16));
    }
}
