//! The reloads of a server, and how each has ended: the one place where the log, the metrics and a
//! client that waits for its reload find that.

use std::collections::VecDeque;
use std::time::SystemTime;

/// Outcomes that are kept.
const MAX_ENDED: usize = 16;

/// How a reload has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The new workers serve.
    Completed,
    /// The new configuration is invalid.
    Rejected,
    /// The new workers cannot boot, or the canary has failed.
    RolledBack,
    /// Another reload has begun before its workers were ready.
    Superseded,
    /// The server has shut down meanwhile.
    Interrupted,
}

impl Outcome {
    /// All outcomes, in the order of the enum, as metrics show them.
    pub(super) const NAMES: [&str; 5] =
        ["completed", "rejected", "rolled_back", "superseded", "interrupted"];

    pub(super) fn name(self) -> &'static str {
        Outcome::NAMES[self as usize]
    }
}

/// A reload that has ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// The first reload is 1.
    pub(super) number: u64,
    pub(super) outcome: Outcome,
    /// Why; empty if it was completed.
    pub(super) reason: String,
    pub(super) at: SystemTime,
}

/// All reloads.
#[derive(Debug, Clone, Default)]
pub(super) struct Reloads {
    /// How many there were.
    begun: u64,
    /// The one whose workers are not ready yet.
    running: Option<u64>,
    /// How many have ended, by [`Outcome`].
    counts: [u64; Outcome::NAMES.len()],
    /// The last ones that have ended, the latest last.
    ended: VecDeque<Ended>,
}

impl Reloads {
    /// A reload is wanted: returns its number. It reads the configuration next.
    pub(super) fn begin(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// Its configuration is invalid. One that runs already is not affected.
    pub(super) fn reject(&mut self, number: u64, reason: &str) {
        self.end(number, Outcome::Rejected, reason);
    }

    /// Its configuration is applied, and its workers start. The one that runs is to be ended first.
    pub(super) fn run(&mut self, number: u64) {
        self.running = Some(number);
    }

    /// The one that runs has ended; false if there is none.
    pub(super) fn end_running(&mut self, outcome: Outcome, reason: &str) -> bool {
        let running = self.running.take();
        running.iter().for_each(|&number| self.end(number, outcome, reason));
        running.is_some()
    }

    fn end(&mut self, number: u64, outcome: Outcome, reason: &str) {
        self.counts[outcome as usize] += 1;
        if self.ended.len() == MAX_ENDED {
            self.ended.pop_front();
        }
        let (reason, at) = (reason.to_owned(), SystemTime::now());
        self.ended.push_back(Ended { number, outcome, reason, at });
    }

    /// How many have ended, by [`Outcome`].
    pub(super) fn counts(&self) -> &[u64; Outcome::NAMES.len()] {
        &self.counts
    }

    /// The same, to add those of another master.
    pub(super) fn counts_mut(&mut self) -> &mut [u64; Outcome::NAMES.len()] {
        &mut self.counts
    }

    /// The last ones that have ended, the latest last.
    pub(super) fn ended(&self) -> impl Iterator<Item = &Ended> {
        self.ended.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(reloads: &Reloads) -> Vec<(u64, &'static str)> {
        reloads.ended().map(|ended| (ended.number, ended.outcome.name())).collect()
    }

    #[test]
    fn each_reload_ends_once() {
        let mut reloads = Reloads::default();
        let first = reloads.begin();
        reloads.run(first);
        let second = reloads.begin();
        reloads.reject(second, "--threads: wrong");
        assert_eq!(outcomes(&reloads), [(2, "rejected")], "the first one runs");
        let third = reloads.begin();
        assert!(reloads.end_running(Outcome::Superseded, "another one"));
        reloads.run(third);
        assert!(reloads.end_running(Outcome::RolledBack, "it cannot boot"));
        assert!(!reloads.end_running(Outcome::Completed, ""));
        assert_eq!(outcomes(&reloads), [(2, "rejected"), (1, "superseded"), (3, "rolled_back")]);
        assert_eq!(reloads.counts(), &[0, 1, 1, 1, 0]);
        assert_eq!(
            reloads.ended().last().map(|ended| ended.reason.as_str()),
            Some("it cannot boot")
        );
    }

    #[test]
    fn last_outcomes_are_kept() {
        let mut reloads = Reloads::default();
        for _ in 0..100 {
            let number = reloads.begin();
            reloads.run(number);
            reloads.end_running(Outcome::Completed, "");
        }
        assert_eq!(outcomes(&reloads).len(), MAX_ENDED);
        assert_eq!(outcomes(&reloads).last(), Some(&(100, "completed")));
        assert_eq!(reloads.counts()[Outcome::Completed as usize], 100);
    }

    #[test]
    fn names_are_in_the_order_of_the_enum() {
        assert_eq!(Outcome::RolledBack.name(), "rolled_back");
        assert_eq!(Outcome::Interrupted.name(), "interrupted");
    }
}
