//! The last states of a server. Their counts only grow, so their differences are rates.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::status::{HistogramStatus, Status, WorkerStatus};

/// How long states are kept.
const KEPT: Duration = Duration::from_secs(300);
/// Latencies are those of the requests that were answered in this time.
const LATENCY_WINDOW: Duration = Duration::from_secs(10);

/// A state with the time at which it came.
type Sample = (Instant, Status);

/// The last states of one master.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Sample>);

/// Seconds that a share of the requests did not exceed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Latency {
    /// Interpolated within a bucket of the histogram.
    Seconds(f64),
    /// More than the largest bound that the server counts.
    Beyond(f64),
}

impl History {
    /// Adds a state. That of another master begins a new history: its counts begin at 0.
    pub(super) fn add(&mut self, at: Instant, status: Status) {
        if self.latest().is_some_and(|latest| latest.pid != status.pid) {
            self.0.clear();
        }
        self.0.push_back((at, status));
        while self.0.front().is_some_and(|(first, _)| at.duration_since(*first) > KEPT) {
            self.0.pop_front();
        }
    }

    /// The last state.
    pub(super) fn latest(&self) -> Option<&Status> {
        self.0.back().map(|(_, status)| status)
    }

    /// When the last state came.
    pub(super) fn latest_at(&self) -> Option<Instant> {
        self.0.back().map(|(at, _)| *at)
    }

    /// Answered requests per second, by pair of consecutive states, the newest last.
    pub(super) fn rates(&self) -> Vec<f64> {
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        pairs.map(|(old, new)| rate(old, new, |status| status.totals.answered)).collect()
    }

    /// The newest rate by class of status.
    pub(super) fn class_rates(&self) -> BTreeMap<String, f64> {
        let Some((old, new)) = self.last_pair() else { return BTreeMap::new() };
        let classes = new.1.totals.by_class();
        let of = |status: &Status, class: &str| {
            status.totals.by_class().get(class).copied().unwrap_or_default()
        };
        let rates =
            classes.keys().map(|class| (class.to_string(), rate(old, new, |s| of(s, class))));
        rates.collect()
    }

    /// Requests per second of a worker.
    pub(super) fn worker_rate(&self, pid: i32) -> Option<f64> {
        let (seconds, old, new) = self.worker_pair(pid)?;
        Some(new.answered.saturating_sub(old.answered) as f64 / seconds)
    }

    /// How much of a processor a worker uses.
    pub(super) fn worker_cpu(&self, pid: i32) -> Option<f64> {
        let (seconds, old, new) = self.worker_pair(pid)?;
        Some((new.cpu_seconds? - old.cpu_seconds?).max(0.0) / seconds)
    }

    /// The latencies that these shares of the last requests did not exceed.
    pub(super) fn latencies<const N: usize>(&self, shares: [f64; N]) -> Option<[Latency; N]> {
        let (newest, last) = self.0.back()?;
        let first = self.0.iter().find(|(at, _)| newest.duration_since(*at) <= LATENCY_WINDOW)?;
        let counts = difference(&first.1.totals.duration, &last.totals.duration);
        let total: u64 = counts.iter().sum();
        (total > 0).then(|| shares.map(|share| percentile(&last.totals.duration, &counts, share)))
    }

    fn last_pair(&self) -> Option<(&Sample, &Sample)> {
        let newest = self.0.len().checked_sub(1)?;
        Some((self.0.get(newest.checked_sub(1)?)?, self.0.get(newest)?))
    }

    /// Seconds between the last two states, and a worker in both.
    fn worker_pair(&self, pid: i32) -> Option<(f64, &WorkerStatus, &WorkerStatus)> {
        let (old, new) = self.last_pair()?;
        let of = |status: &'_ Status| -> Option<usize> {
            status.workers.iter().position(|worker| worker.pid == pid)
        };
        let (before, after) = (of(&old.1)?, of(&new.1)?);
        Some((seconds(old.0, new.0), &old.1.workers[before], &new.1.workers[after]))
    }
}

/// Seconds from one state to the next; never 0.
fn seconds(old: Instant, new: Instant) -> f64 {
    new.duration_since(old).as_secs_f64().max(0.001)
}

fn rate(old: &Sample, new: &Sample, count: impl Fn(&Status) -> u64) -> f64 {
    count(&new.1).saturating_sub(count(&old.1)) as f64 / seconds(old.0, new.0)
}

fn difference(old: &HistogramStatus, new: &HistogramStatus) -> Vec<u64> {
    let old = old.counts.iter().copied().chain(std::iter::repeat(0));
    new.counts.iter().zip(old).map(|(new, old)| new.saturating_sub(old)).collect()
}

/// Within a bucket the durations count as evenly spread.
fn percentile(histogram: &HistogramStatus, counts: &[u64], share: f64) -> Latency {
    let rank = counts.iter().sum::<u64>() as f64 * share;
    let (mut below, mut lower) = (0.0, 0.0);
    for (&count, &upper) in counts.iter().zip(&histogram.bounds) {
        let count = count as f64;
        if count > 0.0 && below + count >= rank {
            return Latency::Seconds(lower + (upper - lower) * ((rank - below) / count).max(0.0));
        }
        below += count;
        lower = upper;
    }
    Latency::Beyond(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn status(pid: i32, answered: u64, counts: [u64; 3]) -> Status {
        let mut status = Status { pid, ..Status::default() };
        status.totals.answered = answered;
        status.totals.duration.bounds = vec![0.1, 1.0];
        status.totals.duration.counts = counts.to_vec();
        let of_get = [("2xx".to_owned(), answered)].into();
        status.totals.requests = [("GET".to_owned(), of_get)].into();
        let cpu_seconds = Some(answered as f64 / 100.0);
        status.workers = vec![WorkerStatus { pid: 7, answered, cpu_seconds, ..Default::default() }];
        status
    }

    #[test]
    fn rates_are_differences_of_states() {
        let (mut history, start) = (History::default(), Instant::now());
        history.add(start, status(1, 100, [100, 0, 0]));
        assert!(history.rates().is_empty() && history.worker_rate(7).is_none());
        history.add(start + SECOND * 2, status(1, 150, [100, 0, 0]));
        history.add(start + SECOND * 3, status(1, 160, [100, 0, 0]));
        assert_eq!(history.rates(), [25.0, 10.0]);
        assert_eq!(history.class_rates(), [("2xx".to_owned(), 10.0)].into());
        assert_eq!(history.worker_rate(7), Some(10.0));
        assert!((history.worker_cpu(7).unwrap() - 0.1).abs() < 1e-9);
        assert_eq!(history.worker_rate(8), None);
    }

    #[test]
    fn another_master_begins_a_new_history() {
        let (mut history, start) = (History::default(), Instant::now());
        history.add(start, status(1, 100, [100, 0, 0]));
        history.add(start + SECOND, status(2, 5, [5, 0, 0]));
        assert!(history.rates().is_empty());
        history.add(start + SECOND * 400, status(2, 6, [6, 0, 0]));
        assert!(history.rates().is_empty(), "old states are not kept");
    }

    #[test]
    fn latencies_are_those_of_the_last_requests() {
        let (mut history, start) = (History::default(), Instant::now());
        history.add(start, status(1, 0, [1000, 0, 0]));
        assert_eq!(history.latencies([0.5]), None);
        history.add(start + SECOND, status(1, 0, [1010, 5, 5]));
        let [p25, p50, p75, p99] = history.latencies([0.25, 0.5, 0.75, 0.99]).unwrap();
        assert_eq!(p25, Latency::Seconds(0.05));
        assert_eq!(p50, Latency::Seconds(0.1));
        assert_eq!(p75, Latency::Seconds(1.0));
        assert_eq!(p99, Latency::Beyond(1.0));
        history.add(start + SECOND * 20, status(1, 0, [1010, 5, 5]));
        assert_eq!(history.latencies([0.5]), None, "nothing was answered lately");
    }
}
