//! The state of the server at one time, as the routes show it.

use std::ops::Deref;
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::usage::Usage;
use crate::observe::shared_state::{Snapshot, Totals};
use crate::supervisor::canary::Tallies;
use crate::supervisor::reloads::Reloads;
use crate::sys::cpus::Cpus;

/// What the master and its workers show at one time.
#[derive(Debug)]
pub(in crate::supervisor) struct Facts {
    /// The stage of the master: `serving`.
    pub(in crate::supervisor) stage: &'static str,
    /// Why the server is not ready, if it is not.
    pub(in crate::supervisor) not_ready: Option<&'static str>,
    pub(in crate::supervisor) workers: Vec<WorkerView>,
    /// The counts of all workers, those that have ended included.
    pub(in crate::supervisor) totals: Totals,
    /// The number of workers that the master keeps.
    pub(in crate::supervisor) workers_wanted: usize,
    /// That is one for each CPU (`--workers auto`).
    pub(in crate::supervisor) is_auto: bool,
    /// The CPUs that the server may use.
    pub(in crate::supervisor) cpus: Cpus,
    pub(in crate::supervisor) reloads: Reloads,
    /// The trial of a canary, if there is one.
    pub(in crate::supervisor) canary: Option<CanaryView>,
}

/// The trial of a canary.
#[derive(Debug)]
pub(in crate::supervisor) struct CanaryView {
    /// How long it serves yet; `None` while it boots.
    pub(in crate::supervisor) left: Option<Duration>,
    /// What it and the old workers have answered meanwhile.
    pub(in crate::supervisor) compared: Tallies,
}

/// One worker.
#[derive(Debug)]
pub(in crate::supervisor) struct WorkerView {
    pub(in crate::supervisor) pid: i32,
    /// `booting`, `ready` or `retiring`.
    pub(in crate::supervisor) state: &'static str,
    /// It is on trial (`--respawn-canary`).
    pub(in crate::supervisor) is_canary: bool,
    /// How long it has been in that state.
    pub(in crate::supervisor) time_in_state: Duration,
    /// Requests that it has answered.
    pub(in crate::supervisor) answered: u64,
    pub(in crate::supervisor) snapshot: Snapshot,
    /// `None` if the system does not say.
    pub(in crate::supervisor) usage: Option<Usage>,
}

/// The facts, with what the master remembers.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) facts: &'a Facts,
    pub(super) ledger: &'a Ledger,
}

impl Deref for View<'_> {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        self.facts
    }
}

impl View<'_> {
    /// The sum of a value over all workers. A worker may have written any number.
    pub(super) fn sum(&self, value: impl Fn(&WorkerView) -> u64) -> u64 {
        self.workers.iter().map(value).fold(0, u64::saturating_add)
    }

    pub(super) fn uptime(&self) -> Duration {
        Instant::now().saturating_duration_since(self.ledger.started)
    }
}
