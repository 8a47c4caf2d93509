//! Which of the workers that boot together have reported why they failed, so that the same mistake
//! in the application is logged once and not by each of them.
//!
//! The workers share an unnamed file. Under its lock, each looks for a record with the same reason,
//! logs the reason if there is none, and appends its own. So a record means that the reason stands
//! in the log: the master ends the other workers once it has seen the first one exit.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FlockOperation, OFlags};

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

    /// Calls `log` unless another worker has logged the same `reason`, then records that the worker
    /// `pid` has failed. Waits while another worker does this.
    pub(super) fn report(&self, pid: u32, reason: &str, log: impl FnOnce()) {
        let mut hasher = DefaultHasher::new();
        reason.hash(&mut hasher);
        let mut record = [0; RECORD_BYTES];
        record[..4].copy_from_slice(&pid.to_ne_bytes());
        record[4..].copy_from_slice(&hasher.finish().to_ne_bytes());
        // A lock of the process, because the workers share the open file. It ends with the process.
        // If it fails, a reason may be logged twice, which is better than not at all.
        let _ = rustix::fs::fcntl_lock(&self.0, FlockOperation::LockExclusive);
        if !self.records().iter().any(|other| other[4..] == record[4..]) {
            log();
        }
        let _ = (&self.0).write_all(&record);
        let _ = rustix::fs::fcntl_lock(&self.0, FlockOperation::Unlock);
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    /// Whether the reason was logged.
    fn report(reports: &BootReports, pid: u32, reason: &str) -> bool {
        let mut logged = false;
        reports.report(pid, reason, || logged = true);
        logged
    }

    #[test]
    fn same_reason_is_logged_by_the_first_worker_only() {
        let reports = BootReports::new().unwrap();
        assert!(!reports.contains(1) && reports.is_empty());
        assert!(report(&reports, 1, "no module"));
        assert!(!report(&reports, 2, "no module"));
        assert!(report(&reports, 3, "another reason"));
        assert!([1, 2, 3].iter().all(|&pid| reports.contains(pid)));
        assert!(!reports.contains(4) && !reports.is_empty());
    }

    /// Regression: a worker recorded its reason, another one with the same reason exited, and the
    /// master ended the first one before it had logged the reason.
    #[test]
    fn reason_is_logged_before_it_is_recorded() {
        let reports = BootReports::new().unwrap();
        reports.report(1, "no module", || assert!(reports.is_empty()));
        assert!(reports.contains(1));
    }

    #[test]
    fn other_workers_wait_while_one_logs() {
        let reports = BootReports::new().unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), reports.0.as_raw_fd());
        let is_locked = || {
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            let inode = format!(":{} ", std::fs::metadata(&path).unwrap().ino());
            locks.lines().any(|line| line.contains(&inode) && line.contains("POSIX"))
        };
        reports.report(1, "no module", || assert!(is_locked()));
        assert!(!is_locked());
    }
}
