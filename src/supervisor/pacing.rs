//! The pace of the master: how soon it starts workers after failures, and how often changed source
//! files reload the server.

use std::time::{Duration, Instant};

/// The death of a worker that has served for at least this long does not count as an early death.
const PROVEN_AFTER: Duration = Duration::from_secs(10);
/// The first pause after a worker that could not boot; each further one doubles it.
const MIN_BOOT_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause after a worker that could not boot.
const MAX_BOOT_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause after a worker that died while serving. Short, because a request that crashes
/// workers must not be able to keep the site down.
const MAX_RESPAWN_PAUSE: Duration = Duration::from_secs(2);
/// An editor writes a file in several steps, and perhaps several files, before the reload reads
/// them. The old workers need most of this time to exit.
const SETTLING_TIME: Duration = Duration::from_millis(50);
/// How many workers in a row are ended while they boot, because a file has changed meanwhile. An
/// application that rewrites its own files would never serve otherwise.
const MAX_INTERRUPTED_BOOTS: u32 = 10;
/// The shortest time between two reloads for changed source files.
const MIN_SOURCE_RELOAD_INTERVAL: Duration = Duration::from_millis(500);

/// Delays new workers after failures, so that a worker that dies at once is not respawned in a
/// loop.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// Consecutive workers that could not boot.
    boot_failures: u32,
    /// Consecutive workers that died soon after they were ready.
    early_deaths: u32,
    /// The time until which no worker is started.
    paused_until: Option<Instant>,
}

impl Backoff {
    /// A worker could not boot, or could not be forked. With `watches_files` (`--reload`), the next
    /// attempt comes soon: no worker is left that could notice a change.
    pub(super) fn on_boot_failure(&mut self, now: Instant, watches_files: bool) {
        let pause = MIN_BOOT_PAUSE * 2_u32.pow(self.boot_failures.min(6));
        let max = if watches_files { MAX_RESPAWN_PAUSE } else { MAX_BOOT_PAUSE };
        self.boot_failures += 1;
        self.paused_until = now.checked_add(pause.min(max));
    }

    /// A worker died after it had served for this long. The first is replaced without a pause.
    pub(super) fn on_death(&mut self, now: Instant, served: Duration) {
        if served >= PROVEN_AFTER {
            self.early_deaths = 0;
            return;
        }
        let pause = match self.early_deaths {
            0 => Duration::ZERO,
            deaths => Duration::from_millis(50) * 2_u32.pow(deaths.min(6)),
        };
        self.early_deaths += 1;
        self.paused_until = now.checked_add(pause.min(MAX_RESPAWN_PAUSE));
    }

    /// A worker is ready.
    pub(super) fn on_ready(&mut self) {
        self.boot_failures = 0;
    }

    /// Ends the pause and clears the failures, after a change by the operator.
    pub(super) fn reset(&mut self) {
        *self = Backoff::default();
    }

    /// The time until which no worker is started, if there is a pause.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Ends the pause if it is over; returns whether workers may be started.
    pub(super) fn end_pause(&mut self, now: Instant) -> bool {
        let over = self.paused_until.is_none_or(|until| until <= now);
        if over {
            self.paused_until = None;
        }
        over
    }
}

/// Bounds how often changed source files reload the server (`--reload`), whatever workers report.
/// A change that comes too early is not lost: its reload waits.
#[derive(Debug, Default)]
pub(super) struct SourceReload {
    /// When the files have settled, if a reload is wanted.
    wanted_at: Option<Instant>,
    /// No reload before this time.
    not_before: Option<Instant>,
    /// Boots in a row that a changed file has interrupted.
    interrupted_boots: u32,
}

impl SourceReload {
    /// A worker has reported a changed file.
    pub(super) fn request(&mut self, now: Instant) {
        self.wanted_at = now.checked_add(SETTLING_TIME);
    }

    /// A worker has reported a changed file while it booted. Returns whether it is ended.
    pub(super) fn may_interrupt_boot(&mut self) -> bool {
        self.interrupted_boots += 1;
        self.interrupted_boots <= MAX_INTERRUPTED_BOOTS
    }

    /// A worker is ready.
    pub(super) fn on_ready(&mut self) {
        self.interrupted_boots = 0;
    }

    /// A reload begins, for this or for another reason: it reads every file anew.
    pub(super) fn on_reload(&mut self, now: Instant) {
        self.wanted_at = None;
        self.not_before = now.checked_add(MIN_SOURCE_RELOAD_INTERVAL);
    }

    /// Whether a reload is wanted that has not begun.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted_at.is_some()
    }

    /// When the next reload is due, if one is wanted.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.wanted_at.map(|at| self.not_before.map_or(at, |not_before| at.max(not_before)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_reloads_keep_their_distance_and_none_is_lost() {
        let now = Instant::now();
        let mut reload = SourceReload::default();
        assert_eq!(reload.deadline(), None);
        reload.request(now);
        assert_eq!(reload.deadline(), Some(now + SETTLING_TIME), "the first is due soon");
        reload.on_reload(now);
        assert_eq!(reload.deadline(), None);
        reload.request(now);
        reload.request(now);
        assert_eq!(reload.deadline(), Some(now + MIN_SOURCE_RELOAD_INTERVAL));
        reload.on_reload(now);
        let later = now + 2 * MIN_SOURCE_RELOAD_INTERVAL;
        reload.request(later);
        assert_eq!(reload.deadline(), Some(later + SETTLING_TIME));
    }

    #[test]
    fn boots_are_interrupted_a_few_times_in_a_row() {
        let mut reload = SourceReload::default();
        for _ in 0..2 {
            for _ in 0..MAX_INTERRUPTED_BOOTS {
                assert!(reload.may_interrupt_boot());
            }
            assert!(!reload.may_interrupt_boot());
            reload.on_ready();
        }
    }

    #[test]
    fn pauses_grow_up_to_their_limits() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        let mut pause_after_death = |served| {
            backoff.on_death(now, served);
            backoff.paused_until().map(|until| until - now)
        };
        let soon = Duration::ZERO;
        assert_eq!(pause_after_death(soon), Some(Duration::ZERO), "the first is an accident");
        assert_eq!(pause_after_death(soon), Some(Duration::from_millis(100)));
        assert_eq!(pause_after_death(soon), Some(Duration::from_millis(200)));
        for _ in 0..100 {
            assert!(pause_after_death(soon) <= Some(MAX_RESPAWN_PAUSE));
        }
        backoff.reset();
        for (watches_files, max) in [(false, MAX_BOOT_PAUSE), (true, MAX_RESPAWN_PAUSE)] {
            for _ in 0..100 {
                backoff.on_boot_failure(now, watches_files);
            }
            assert_eq!(backoff.paused_until(), Some(now + max));
        }
    }

    #[test]
    fn pause_ends_with_time_and_with_success() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert!(backoff.end_pause(now), "there is none");
        backoff.on_boot_failure(now, false);
        assert!(!backoff.end_pause(now));
        assert!(backoff.end_pause(now + MIN_BOOT_PAUSE));
        backoff.on_ready();
        backoff.on_boot_failure(now, false);
        assert_eq!(backoff.paused_until(), Some(now + MIN_BOOT_PAUSE), "the count starts again");
        backoff.on_death(now, Duration::ZERO);
        backoff.on_death(now, PROVEN_AFTER);
        backoff.on_death(now, Duration::ZERO);
        assert!(backoff.end_pause(now), "an accident again");
    }
}
