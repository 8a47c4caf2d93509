//! A worker's heartbeat: an unnamed file whose modification time the worker sets every second, as
//! in gunicorn. The master reads it when a deadline is due, so a heartbeat wakes no process.
//!
//! The worker's control thread sends it, and only while it holds the GIL. So the heartbeat stops
//! when any thread keeps the GIL, for example in a C function that does not return: a state that no
//! exception can end. It also stops when the server makes no [`Progress`]: while the poller is
//! stuck in a system call, the control thread runs, but the worker does not serve.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant, SystemTime};

/// The file that master and worker share.
#[derive(Debug)]
pub(super) struct Heartbeat {
    file: File,
    /// The file's modification time counts from here, on the monotonic clock; a fork keeps it.
    epoch: Instant,
}

impl Heartbeat {
    pub(super) fn new() -> io::Result<Heartbeat> {
        let file = unnamed_file(c"rustwsgi-heartbeat")?;
        let heartbeat = Heartbeat { file, epoch: Instant::now() };
        heartbeat.beat();
        Ok(heartbeat)
    }

    /// Records that the worker is alive.
    pub(super) fn beat(&self) {
        // If this fails the master sees no heartbeat, and acts on that.
        let _ = self.file.set_modified(SystemTime::UNIX_EPOCH + self.epoch.elapsed());
    }

    /// The time of the last heartbeat. Code in the worker can set any time; one in the future is no
    /// heartbeat, and some are beyond what the clock can represent.
    pub(super) fn last(&self) -> Instant {
        let modified = self.file.metadata().and_then(|meta| meta.modified());
        let since = modified.ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let last = since.and_then(|since| self.epoch.checked_add(since));
        last.filter(|last| *last <= Instant::now()).unwrap_or(self.epoch)
    }

    /// The time since the last heartbeat.
    pub(super) fn age(&self) -> Duration {
        self.last().elapsed()
    }
}

/// Decides at each tick of a worker whether its server has made progress since the last one.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The server's count of progress at the last tick.
    last: u64,
}

impl Progress {
    /// True if `count`, the server's count of progress, has changed since the last call. If it has
    /// not, the server is idle or stuck: the caller wakes the poller. If the count
    /// has not changed by the next call either, the server is stuck.
    pub(super) fn has_advanced(&mut self, count: u64) -> bool {
        std::mem::replace(&mut self.last, count) != count
    }
}

/// A file without a path, which child processes share. `/proc/PID/fd` shows the label.
#[cfg(target_os = "linux")]
pub(super) fn unnamed_file(label: &CStr) -> io::Result<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    Ok(rustix::fs::memfd_create(label, flags).map(File::from)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn unnamed_file(_label: &CStr) -> io::Result<File> {
    tempfile::tempfile()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beat_resets_the_age() {
        let mut heartbeat = Heartbeat::new().unwrap();
        heartbeat.epoch -= Duration::from_secs(100);
        assert!(heartbeat.age() >= Duration::from_secs(99));
        heartbeat.beat();
        assert!(heartbeat.age() < Duration::from_secs(50));
    }

    #[test]
    fn time_that_no_heartbeat_can_have_is_no_heartbeat() {
        let mut heartbeat = Heartbeat::new().unwrap();
        heartbeat.epoch -= Duration::from_secs(100);
        heartbeat.beat();
        for seconds in [1 << 40, i64::MAX, -1, i64::MIN] {
            let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            // Some file systems do not store all times.
            if rustix::fs::futimens(&heartbeat.file, &times).is_ok() {
                assert!(heartbeat.age() >= Duration::from_secs(99), "{seconds}");
            }
        }
    }

    #[test]
    fn progress_is_a_count_that_changes() {
        let mut progress = Progress::default();
        for (count, expected) in [(1, true), (1, false), (1, false), (2, true), (u64::MAX, true)] {
            assert_eq!(progress.has_advanced(count), expected, "{count}");
        }
    }
}
