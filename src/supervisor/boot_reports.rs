//! Which of the workers that boot together have reported why they failed, so that the same mistake
//! in the application is logged once and not by each of them.
//!
//! The workers share an unnamed file. Each locks it, looks for a record of the same reason, logs
//! the reason if there is none, and appends a record of its own. It exits only then: the master
//! ends all of them when it has seen one exit, and the reason must be in the log by that time.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use rustix::io::retry_on_intr;

use super::heartbeat::unnamed_file;

/// The length of a record: the process id, and a hash of the reason.
const RECORD_BYTES: usize = 12;
/// More records are ignored, whatever code of the application has written to the file.
const MAX_RECORDS: usize = 1024;

/// The file of the workers that boot together.
#[derive(Debug)]
pub(super) struct BootReports(File);

impl BootReports {
    pub(super) fn new() -> io::Result<BootReports> {
        let file = unnamed_file(c"rustwsgi-boot-reports")?;
        rustix::fs::fcntl_setfl(&file, OFlags::APPEND | OFlags::RDWR)?;
        Ok(BootReports(file))
    }

    /// Records that the worker `pid` has failed, and calls `log` unless another worker has logged
    /// the same reason. Waits for a worker that logs.
    pub(super) fn report(&self, pid: u32, reason: &str, log: impl FnOnce()) {
        let mut hasher = DefaultHasher::new();
        reason.hash(&mut hasher);
        let mut record = [0; RECORD_BYTES];
        record[..4].copy_from_slice(&pid.to_ne_bytes());
        record[4..].copy_from_slice(&hasher.finish().to_ne_bytes());
        let locked = Locked::new(&self.0);
        if !self.records().iter().any(|other| other[4..] == record[4..]) {
            log();
        }
        // If this fails, a reason is logged twice, which is better than not at all.
        let _ = (&self.0).write_all(&record);
        drop(locked);
    }

    /// Whether no worker has recorded a failure.
    pub(super) fn is_empty(&self) -> bool {
        self.0.metadata().is_ok_and(|file| file.len() == 0)
    }

    /// Whether the worker `pid` has recorded its failure.
    pub(super) fn contains(&self, pid: u32) -> bool {
        self.records().iter().any(|record| record[..4] == pid.to_ne_bytes())
    }

    fn records(&self) -> Vec<[u8; RECORD_BYTES]> {
        let read = |index: usize| {
            let mut record = [0; RECORD_BYTES];
            let offset = u64::try_from(index * RECORD_BYTES).ok()?;
            self.0.read_exact_at(&mut record, offset).ok().map(|()| record)
        };
        (0..MAX_RECORDS).map_while(read).collect()
    }
}

/// The lock of the file among processes, which ends with the process that has it.
struct Locked<'a>(&'a File);

impl Locked<'_> {
    fn new(file: &File) -> Locked<'_> {
        // Without a lock, the reason may be lost, and the master logs that the worker has failed.
        let _ = retry_on_intr(|| fcntl_lock(file, FlockOperation::LockExclusive));
        Locked(file)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let _ = fcntl_lock(self.0, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_reason_is_logged_by_the_first_worker_only() {
        let reports = BootReports::new().unwrap();
        assert!(!reports.contains(1) && reports.is_empty());
        let mut logged = Vec::new();
        for (pid, reason) in [(1, "no module"), (2, "no module"), (3, "another reason")] {
            reports.report(pid, reason, || logged.push(pid));
        }
        assert_eq!(logged, [1, 3]);
        assert!([1, 2, 3].iter().all(|&pid| reports.contains(pid)));
        assert!(!reports.contains(4) && !reports.is_empty());
    }

    /// A regression test: the second worker exited, and the master ended the first one, which had
    /// not logged the reason yet.
    #[test]
    #[cfg(target_os = "linux")]
    fn worker_waits_until_another_one_has_logged_the_same_reason() {
        use std::os::fd::AsFd as _;
        use std::path::Path;
        use std::time::Duration;

        use crate::sys::helper;
        use crate::sys::process::try_wait;

        let reports = BootReports::new().unwrap();
        let mut second = None;
        let mut ended = None;
        reports.report(1, "no module", || {
            let report = |_: &mut File| reports.report(2, "no module", || panic!("logged twice"));
            let kept = [reports.0.as_fd()];
            let helper = helper::start(&kept, Path::new("/nonexistent"), report).unwrap();
            let waits = |locks: &str| {
                let pid = helper.pid.to_string();
                let is_its = |line: &str| line.split_whitespace().any(|word| word == pid);
                locks.lines().any(|line| line.contains("->") && is_its(line))
            };
            while ended.is_none() && !waits(&std::fs::read_to_string("/proc/locks").unwrap()) {
                ended = try_wait(helper.pid);
                std::thread::sleep(Duration::from_millis(1));
            }
            second = Some(helper);
        });
        assert_eq!(ended, None, "the second worker has not waited");
        let second = second.unwrap();
        let status = loop {
            match try_wait(second.pid) {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        assert_eq!(status.code(), Some(0));
        assert!(reports.contains(2));
    }
}
