//! The trial of a reload (`--respawn-canary`): one new worker, the canary, serves beside the old
//! ones, and the responses of both decide whether the others follow. A policy without I/O, tested
//! by tables.
//!
//! Canary and old workers are compared over the same time, so a database that fails for both
//! decides nothing. Chance must not decide either: see [`is_worse`].

use std::time::{Duration, Instant};

use crate::observe::shared_state::{CLASSES, Totals};

/// How often the trial is judged before it ends.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The significance level of the test: a canary as good as the old workers fails in at most this
/// share of trials.
const MAX_CHANCE: f64 = 0.01;
/// The significance level before the end: smaller, because the test is repeated each second.
const MAX_CHANCE_EARLY: f64 = 0.000_1;
/// A single 5xx never fails the canary.
const MIN_FAILED: u64 = 2;
/// The old workers count as having answered at least this many requests, the missing ones without
/// 5xx: they served until now.
const MIN_OLD_ANSWERED: u64 = 10;

/// Counts above are scaled down: they decide the same, and the sum of the test stays short,
/// whatever a worker has written to its memory.
const MAX_ANSWERED: u64 = 10_000_000;

/// The responses of some workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// All of them.
    pub(super) answered: u64,
    /// Those with 5xx.
    pub(super) failed: u64,
}

impl Tally {
    /// The responses among these counts. A request without a response says nothing of the code.
    pub(super) fn of(totals: &Totals) -> Tally {
        let in_class = |name: &str| {
            let place = CLASSES.iter().position(|class| *class == name);
            let counts = totals.requests.iter().filter_map(|counts| counts.get(place?));
            counts.fold(0, |sum: u64, count| sum.saturating_add(*count))
        };
        let answered = totals.answered().saturating_sub(in_class("none"));
        Tally { answered, failed: in_class("5xx").min(answered) }
    }

    pub(super) fn plus(self, other: Tally) -> Tally {
        Tally {
            answered: self.answered.saturating_add(other.answered),
            failed: self.failed.saturating_add(other.failed),
        }
    }

    fn since(self, earlier: Tally) -> Tally {
        Tally {
            answered: self.answered.saturating_sub(earlier.answered),
            failed: self.failed.saturating_sub(earlier.failed),
        }
    }

    /// With the same rate, and at most [`MAX_ANSWERED`] responses.
    fn scaled(self) -> Tally {
        let Tally { answered, failed } = self;
        if answered <= MAX_ANSWERED {
            return Tally { answered, failed: failed.min(answered) };
        }
        let rate = failed.min(answered) as f64 / answered as f64;
        Tally { answered: MAX_ANSWERED, failed: (rate * MAX_ANSWERED as f64) as u64 }
    }

    /// `0.5 % of 200 responses`.
    fn describe(self) -> String {
        let percent = 100.0 * self.failed as f64 / self.answered.max(1) as f64;
        format!("{percent:.1} % of {}", crate::observe::counted(self.answered, "response"))
    }
}

/// What new and old workers have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tallies {
    /// Of the new deployment.
    pub(super) new: Tally,
    /// Of earlier ones.
    pub(super) old: Tally,
}

/// A trial.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    /// How long the canary serves.
    length: Duration,
    stage: Stage,
    /// The counts of workers that have ended since the trial was planned.
    ended: Tallies,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    /// The canary boots.
    Booting,
    /// It serves.
    Serving {
        until: Option<Instant>,
        next_check: Instant,
        /// What the old workers had answered before.
        before: Tally,
    },
}

/// The verdict on the canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Open,
    Passed,
    Failed,
}

impl Trial {
    pub(super) fn new(length: Duration) -> Trial {
        Trial { length, stage: Stage::Booting, ended: Tallies::default() }
    }

    /// The canary is ready. `running` are the counts of the workers that run. False if it was ready
    /// before: this one is the successor of a canary that was recycled, or of an old worker.
    pub(super) fn begin(&mut self, now: Instant, running: Tallies) -> bool {
        if !matches!(self.stage, Stage::Booting) {
            return false;
        }
        let until = now.checked_add(self.length);
        let before = self.ended.old.plus(running.old);
        self.stage = Stage::Serving { until, next_check: now + CHECK_INTERVAL, before };
        true
    }

    /// Keeps the counts of a worker that has ended.
    pub(super) fn keep(&mut self, is_new: bool, tally: Tally) {
        let side = if is_new { &mut self.ended.new } else { &mut self.ended.old };
        *side = side.plus(tally);
    }

    /// When to judge it next; `None` while the canary boots.
    pub(super) fn next_check(&self) -> Option<Instant> {
        match self.stage {
            Stage::Booting => None,
            Stage::Serving { until, next_check, .. } => {
                Some(until.map_or(next_check, |until| until.min(next_check)))
            }
        }
    }

    /// How long the canary serves yet; `None` while it boots.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        match self.stage {
            Stage::Booting => None,
            Stage::Serving { until, .. } => {
                Some(until.map_or(Duration::MAX, |until| until.saturating_duration_since(now)))
            }
        }
    }

    /// What new and old workers have answered during the trial.
    pub(super) fn compared(&self, running: Tallies) -> Tallies {
        let before = match self.stage {
            Stage::Booting => return Tallies::default(),
            Stage::Serving { before, .. } => before,
        };
        Tallies {
            new: self.ended.new.plus(running.new),
            old: self.ended.old.plus(running.old).since(before),
        }
    }

    /// Judges the canary, if it is time to.
    pub(super) fn judge(&mut self, now: Instant, running: Tallies) -> Verdict {
        let compared = self.compared(running);
        let Stage::Serving { until, next_check, .. } = &mut self.stage else {
            return Verdict::Open;
        };
        let is_over = until.is_some_and(|until| until <= now);
        if !is_over && now < *next_check {
            return Verdict::Open;
        }
        *next_check = now + CHECK_INTERVAL;
        match (is_worse(compared, is_over), is_over) {
            (true, _) => Verdict::Failed,
            (false, true) => Verdict::Passed,
            (false, false) => Verdict::Open,
        }
    }
}

impl Tallies {
    /// For the log: what the verdict is based on.
    pub(super) fn describe(self) -> String {
        let Tallies { new, old } = self;
        format!("5xx in {}, of the old workers in {}", new.describe(), old.describe())
    }
}

/// Whether the canary's rate of 5xx is above that of the old workers, and not by chance: Fisher's
/// exact test, which holds for few requests too.
fn is_worse(Tallies { new, old }: Tallies, is_over: bool) -> bool {
    let (new, old) = (new.scaled(), old.scaled());
    let old = Tally { answered: old.answered.max(MIN_OLD_ANSWERED), ..old };
    let is_above = new.failed * old.answered > old.failed * new.answered;
    let max_chance = if is_over { MAX_CHANCE } else { MAX_CHANCE_EARLY };
    new.failed >= MIN_FAILED && is_above && chance(new, old) <= max_chance
}

/// The probability that at least `new.failed` of all failures fall on the new workers if each
/// request is as likely to fail: the upper tail of the hypergeometric distribution.
fn chance(new: Tally, old: Tally) -> f64 {
    let all = new.answered as f64 + old.answered as f64;
    let failed = new.failed as f64 + old.failed as f64;
    let answered = new.answered as f64;
    let first = new.failed as f64;
    let ln_first = ln_choose(failed, first) + ln_choose(all - failed, answered - first)
        - ln_choose(all, answered);
    let mut term = ln_first.exp();
    let (mut sum, mut count) = (term, first);
    // The terms fall, as `first` is above the mean.
    while count < failed.min(answered) && term > sum * 1e-12 {
        let rest = all - failed - answered + count + 1.0;
        term *= (failed - count) * (answered - count) / ((count + 1.0) * rest);
        sum += term;
        count += 1.0;
    }
    sum.min(1.0)
}

/// The logarithm of a binomial coefficient.
fn ln_choose(n: f64, k: f64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// The logarithm of a factorial, by Stirling's series: for 16 and more to 12 digits.
fn ln_factorial(n: f64) -> f64 {
    if n < 16.0 {
        return (2..=n as u64).map(|factor| (factor as f64).ln()).sum();
    }
    let series = 1.0 / (12.0 * n) - 1.0 / (360.0 * n.powi(3)) + 1.0 / (1260.0 * n.powi(5));
    n * n.ln() - n + 0.5 * (std::f64::consts::TAU * n).ln() + series
}

#[cfg(test)]
mod tests;
