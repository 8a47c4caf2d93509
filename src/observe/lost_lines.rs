//! Counts lines of logs that are lost, because their reader or a handler of Python does not keep
//! up: the log itself cannot report it, so the metrics do.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use log::warn;

use super::counters::{Count, Counters};
use super::wording::counted;

/// Where they are counted: those of the first server of the process.
static COUNTERS: OnceLock<Arc<Counters>> = OnceLock::new();

/// Lost lines of a process that has no counters, such as a master, or none yet.
static UNCOUNTED: AtomicU64 = AtomicU64::new(0);

/// Counts lost lines among the limits of this server from now on, with those until now.
pub fn count_lost_lines_in(counters: Arc<Counters>) {
    if COUNTERS.set(counters.clone()).is_ok() {
        counters.add(Count::LogLines, take_lost_lines());
    }
}

/// Lines that this process has lost without counters for them, since the last call.
pub fn take_lost_lines() -> u64 {
    UNCOUNTED.swap(0, Ordering::Relaxed)
}

/// Forgets such lines in a forked process: its parent reports them.
pub(super) fn forget() {
    UNCOUNTED.store(0, Ordering::Relaxed);
}

/// Counts lines that a log has lost, and reports itself.
pub(super) fn count(lines: u64) {
    match COUNTERS.get() {
        Some(counters) => counters.add(Count::LogLines, lines),
        None => _ = UNCOUNTED.fetch_add(lines, Ordering::Relaxed),
    }
}

/// A line of the access log was lost, as too many wait for a handler and no file takes it.
pub(super) fn on_routed_line_lost() {
    let counters = COUNTERS.get();
    let count = counters.and_then(|all| all.increment_and_take_report(Count::RoutedLines));
    report_routed(count.unwrap_or(0));
}

/// The routing has ended while this number of access log lines still waited for a handler.
pub(super) fn on_routing_end(lines: u64) {
    report_routed(match COUNTERS.get() {
        Some(counters) => {
            counters.add(Count::RoutedLines, lines);
            counters.take_report(Count::RoutedLines)
        }
        None => lines,
    });
}

fn report_routed(lines: u64) {
    if lines > 0 {
        warn!(
            target: "accesslog.lines_lost",
            "Lost {} of the access log: the handlers of the logger gunicorn.access do not keep up",
            counted(lines, "line")
        );
    }
}
