//! The master's part of ACME: when to visit the authority, the child process that does, and what it
//! has reported.

use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::acme::{self, Cache, Outcome, Report};
use crate::config::AcmeSettings;
use crate::net::Challenges;
use crate::sys::helper::{self, Helper};
use crate::sys::process::{kill, try_wait};

/// How long a visit may take.
const VISIT_TIMEOUT: Duration = Duration::from_secs(900);
/// The pause after a visit without a report, and while another process uses the cache.
const PAUSE: Duration = Duration::from_secs(60);
/// The shortest and the longest pause after a failure, whatever the child has reported.
const MIN_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);
/// The longest wait before the time of day is looked at again, which may be set meanwhile.
const MAX_WAIT: Duration = Duration::from_secs(600);
/// More than a report has.
const MAX_REPORT_BYTES: usize = 1 << 20;

/// Orders and renews the certificate of the running deployment.
#[derive(Debug, Default)]
pub(super) struct Acme {
    /// When to visit the authority, or to look at the time of day again.
    next: Option<Instant>,
    /// The next visit does not wait until the pause after a failure is over.
    skips_pause: bool,
    /// There was a visit.
    has_visited: bool,
    child: Option<Child>,
    /// The pids of children that were ended, until they are reaped. One may wait for a disk.
    ended: Vec<i32>,
}

/// A visit in progress.
#[derive(Debug)]
struct Child {
    helper: Helper,
    /// What it has written.
    report: Vec<u8>,
    deadline: Instant,
}

impl Acme {
    /// The server starts: the pause after a failure of an earlier process holds.
    pub(super) fn new() -> Acme {
        Acme { next: Some(Instant::now()), ..Acme::default() }
    }

    /// When [`Acme::is_due`] may be true, or a visit takes too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.child.as_ref().map_or(self.next, |child| Some(child.deadline))
    }

    /// Readable when the child has written something, or has exited.
    pub(super) fn channel(&self) -> Option<BorrowedFd<'_>> {
        self.child.as_ref().map(|child| child.helper.as_fd())
    }

    pub(super) fn pid(&self) -> Option<i32> {
        self.child.as_ref().map(|child| child.helper.pid)
    }

    /// A deployment begins: what is due is done at once, even after a failure.
    pub(super) fn begin(&mut self) {
        self.next = Some(Instant::now());
        self.skips_pause = true;
    }

    /// Whether to visit the authority now; otherwise decides when to look again.
    pub(super) fn is_due(&mut self, settings: &AcmeSettings, now: Instant) -> bool {
        if self.child.is_some() || self.next.is_none_or(|at| at > now) {
            return false;
        }
        let left = self.time_left(settings);
        self.next = Some(now + left.min(MAX_WAIT));
        left.is_zero()
    }

    /// Whether there was no visit yet.
    pub(super) fn is_first(&self) -> bool {
        !self.has_visited
    }

    fn time_left(&self, settings: &AcmeSettings) -> Duration {
        // The visit reports that the cache cannot be used.
        let Ok(cache) = Cache::open(settings) else { return Duration::ZERO };
        let mut state = cache.state();
        if self.skips_pause {
            state.end_pause();
        }
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let at = acme::next_visit(settings, &state, cache.certificate().as_deref(), now);
        at.saturating_sub(now)
    }

    /// Starts a visit. With `has_redirect`, there is a `--redirect-bind`.
    ///
    /// # Errors
    /// As fork(2).
    pub(super) fn visit(
        &mut self,
        settings: &AcmeSettings,
        has_redirect: bool,
        challenges: &Challenges,
    ) -> std::io::Result<()> {
        self.skips_pause = false;
        self.has_visited = true;
        self.next = Some(Instant::now() + PAUSE);
        // Without a cache nothing is written, and the child reports why.
        let writable = settings.cache.as_deref().unwrap_or(Path::new(""));
        let helper = helper::start(&[challenges.as_fd()], writable, |output| {
            let report = acme::visit(settings, has_redirect, challenges);
            let _ = serde_json::to_writer(output, &report);
        })?;
        let deadline = Instant::now() + VISIT_TIMEOUT;
        self.child = Some(Child { helper, report: Vec::new(), deadline });
        Ok(())
    }

    /// The report of the visit, once it has ended; a failure if it takes too long.
    pub(super) fn take_report(&mut self, now: Instant) -> Option<Report> {
        self.ended.retain(|pid| try_wait(*pid).is_none());
        let child = self.child.as_mut()?;
        let has_ended = child.read();
        if !has_ended && child.deadline > now {
            return None;
        }
        let report: Option<Report> = serde_json::from_slice(&child.report).ok();
        self.stop();
        self.next = Some(now + pause_after(report.as_ref().map(|report| &report.outcome)));
        let reason = match has_ended {
            true => "the process of the ACME client has ended without a report",
            false => "the authority has not answered in time",
        };
        let outcome = || Outcome::Failed { reason: reason.to_owned(), pause: PAUSE.as_secs() };
        Some(report.unwrap_or_else(|| Report { outcome: outcome(), warnings: Vec::new() }))
    }

    /// Ends a visit in progress, without a wait.
    pub(super) fn stop(&mut self) {
        if let Some(child) = self.child.take() {
            kill(child.helper.pid, libc::SIGKILL);
            self.ended.push(child.helper.pid);
        }
        self.ended.retain(|pid| try_wait(*pid).is_none());
    }

    /// In a new worker: forgets the child, which is the master's.
    pub(super) fn forget(&mut self) {
        *self = Acme::default();
    }
}

/// How long to wait before the state in the cache is looked at again. A visit that has failed may
/// not have been able to write when the next one is due.
fn pause_after(outcome: Option<&Outcome>) -> Duration {
    match outcome {
        Some(Outcome::Failed { pause, .. }) => {
            Duration::from_secs(*pause).clamp(MIN_PAUSE, MAX_PAUSE)
        }
        Some(Outcome::Busy) | None => PAUSE,
        Some(Outcome::Issued { .. } | Outcome::Unchanged) => Duration::ZERO,
    }
}

impl Child {
    /// Reads what has come, and returns whether that was all.
    fn read(&mut self) -> bool {
        let mut block = [0; 4096];
        loop {
            match self.helper.output.read(&mut block) {
                Ok(0) => return true,
                Ok(count) if self.report.len() < MAX_REPORT_BYTES => {
                    self.report.extend_from_slice(&block[..count]);
                }
                Ok(_) => return true,
                Err(failure) if failure.kind() == ErrorKind::WouldBlock => return false,
                Err(failure) if failure.kind() == ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visit_without_a_result_is_followed_by_a_pause() {
        let failed = |pause| Outcome::Failed { reason: String::new(), pause };
        for (outcome, seconds) in [
            (None, 60),
            (Some(Outcome::Busy), 60),
            (Some(failed(0)), 1),
            (Some(failed(75)), 75),
            (Some(failed(u64::MAX)), 24 * 3600),
            (Some(Outcome::Unchanged), 0),
        ] {
            assert_eq!(pause_after(outcome.as_ref()).as_secs(), seconds, "{outcome:?}");
        }
    }
}
