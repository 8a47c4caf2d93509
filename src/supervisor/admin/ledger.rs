//! What the master remembers for metrics and the live page: the counts of workers that have ended,
//! restarts, recent events, and slow requests.

use std::collections::VecDeque;
use std::time::{Instant, SystemTime};

use crate::observe::shared_state::{Slow, Totals};
use crate::observe::{self, Count, WorkerSlot};
use crate::sys::clock;

/// Events of the timeline that are kept.
const MAX_EVENTS: usize = 100;
/// Slow requests that are kept.
const MAX_SLOW: usize = 50;

/// Why a worker was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Restart {
    /// Its process has exited with 0.
    Exited,
    /// Its process has exited with an error.
    Failed,
    /// A signal has ended it.
    Killed,
    /// The master has ended it: it had no heartbeat.
    Timeout,
    /// It has asked for its replacement: a limit was reached, or a request is stuck.
    Recycled,
    /// A reload has replaced it.
    Reloaded,
    /// It could not boot.
    BootFailed,
}

impl Restart {
    /// All reasons, in the order of the enum, as metrics show them.
    pub(in crate::supervisor) const NAMES: [&str; 7] =
        ["exited", "failed", "killed", "timeout", "recycled", "reload", "boot_failed"];

    fn name(self) -> &'static str {
        Restart::NAMES[self as usize]
    }
}

/// An event of the timeline.
#[derive(Debug, Clone)]
pub(in crate::supervisor) struct TimelineEvent {
    pub(in crate::supervisor) at: SystemTime,
    /// What has happened: `worker ready`.
    pub(in crate::supervisor) what: &'static str,
    pub(in crate::supervisor) pid: Option<i32>,
    pub(in crate::supervisor) detail: &'static str,
    /// Why, if it is known.
    pub(in crate::supervisor) reason: String,
}

/// A slow request of a worker.
#[derive(Debug, Clone)]
pub(in crate::supervisor) struct SlowRequest {
    pub(in crate::supervisor) pid: i32,
    /// When the master has first seen it.
    pub(in crate::supervisor) seen_at: SystemTime,
    pub(in crate::supervisor) request: Slow,
}

/// The memory of the master.
#[derive(Debug)]
pub(in crate::supervisor) struct Ledger {
    pub(in crate::supervisor) started: Instant,
    pub(in crate::supervisor) started_at: SystemTime,
    /// The counts of workers that have ended, those that another master has passed on, and lines
    /// of logs that this one has lost.
    pub(super) ended: Totals,
    pub(in crate::supervisor) restarts: [u64; Restart::NAMES.len()],
    pub(in crate::supervisor) events: VecDeque<TimelineEvent>,
    pub(in crate::supervisor) slow: VecDeque<SlowRequest>,
}

impl Ledger {
    pub(in crate::supervisor) fn new() -> Ledger {
        Ledger {
            started: Instant::now(),
            started_at: SystemTime::now(),
            ended: Totals::default(),
            restarts: Default::default(),
            events: VecDeque::new(),
            slow: VecDeque::new(),
        }
    }

    /// Keeps the counts of a worker that has ended.
    pub(in crate::supervisor) fn keep(&mut self, pid: i32, slot: &WorkerSlot) {
        self.ended.add(slot);
        self.collect_slow(pid, slot);
    }

    /// The counts of all workers: those that have ended, and `running`.
    pub(in crate::supervisor) fn totals<'a>(
        &self,
        running: impl Iterator<Item = &'a WorkerSlot>,
    ) -> Totals {
        let mut totals = self.ended.clone();
        running.for_each(|slot| totals.add(slot));
        totals
    }

    /// Adds the lines of logs that the master has lost to those of the workers.
    pub(in crate::supervisor) fn collect_lost_lines(&mut self) {
        let count = &mut self.ended.limits[Count::LogLines as usize];
        *count = count.wrapping_add(observe::take_lost_lines());
    }

    /// Notes the slow requests of a worker that are not noted yet.
    pub(in crate::supervisor) fn collect_slow(&mut self, pid: i32, slot: &WorkerSlot) {
        let now = clock::now().as_nanos();
        // The worker may have written anything: a time that has not come would never be replaced.
        for request in slot.slow_requests().filter(|request| request.ended_ns <= now) {
            let is_same = |known: &SlowRequest| {
                known.pid == pid
                    && known.request.ended_ns == request.ended_ns
                    && known.request.target == request.target
            };
            if !self.slow.iter().any(is_same) {
                let at = self.slow.partition_point(|k| k.request.ended_ns < request.ended_ns);
                self.slow.insert(at, SlowRequest { pid, seen_at: SystemTime::now(), request });
            }
            if self.slow.len() > MAX_SLOW {
                self.slow.pop_front();
            }
        }
    }

    pub(in crate::supervisor) fn note(
        &mut self,
        what: &'static str,
        pid: Option<i32>,
        detail: &'static str,
    ) {
        self.push(TimelineEvent {
            at: SystemTime::now(),
            what,
            pid,
            detail,
            reason: String::new(),
        });
    }

    /// Notes how a reload, or the trial of its canary, has ended.
    pub(in crate::supervisor) fn note_outcome(
        &mut self,
        what: &'static str,
        detail: &'static str,
        reason: &str,
    ) {
        let (at, reason) = (SystemTime::now(), reason.to_owned());
        self.push(TimelineEvent { at, what, pid: None, detail, reason });
    }

    fn push(&mut self, event: TimelineEvent) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    pub(in crate::supervisor) fn count_restart(&mut self, pid: i32, reason: Restart) {
        self.restarts[reason as usize] += 1;
        self.note("worker ended", Some(pid), reason.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeline_keeps_the_last_events() {
        let mut ledger = Ledger::new();
        for pid in 0..150 {
            ledger.count_restart(pid, Restart::BootFailed);
        }
        assert_eq!(ledger.restarts[Restart::BootFailed as usize], 150);
        let pids: Vec<_> = ledger.events.iter().filter_map(|event| event.pid).collect();
        assert_eq!((pids.len(), pids[0], pids[99]), (100, 50, 149));
    }

    #[test]
    fn names_are_in_the_order_of_the_enums() {
        assert_eq!(Restart::Recycled.name(), "recycled");
        assert_eq!(Restart::BootFailed.name(), "boot_failed");
    }
}
