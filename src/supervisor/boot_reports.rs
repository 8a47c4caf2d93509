//! Which of the workers that boot together have reported why they failed, so that the same mistake
//! in the application is logged once and not by each of them.
//!
//! The workers share an unnamed file. Each appends a record, and reads the file: the first one of
//! those with the same reason logs it.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use rustix::fs::OFlags;

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

    /// Records that the worker `pid` has failed. Returns whether it is the one to log the reason.
    pub(super) fn is_first(&self, pid: u32, reason: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        reason.hash(&mut hasher);
        let mut record = [0; RECORD_BYTES];
        record[..4].copy_from_slice(&pid.to_ne_bytes());
        record[4..].copy_from_slice(&hasher.finish().to_ne_bytes());
        // A reason that is logged twice is better than one that is not logged.
        if (&self.0).write_all(&record).is_err() {
            return true;
        }
        let first = self.records().into_iter().find(|other| other[4..] == record[4..]);
        first.is_none_or(|first| first[..4] == record[..4])
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
    use super::*;

    #[test]
    fn same_reason_is_logged_by_the_first_worker_only() {
        let reports = BootReports::new().unwrap();
        assert!(!reports.contains(1) && reports.is_empty());
        assert!(reports.is_first(1, "no module"));
        assert!(!reports.is_first(2, "no module"));
        assert!(reports.is_first(3, "another reason"));
        assert!([1, 2, 3].iter().all(|&pid| reports.contains(pid)));
        assert!(!reports.contains(4) && !reports.is_empty());
    }
}
