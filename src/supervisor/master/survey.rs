//! What the master shows at the metrics address, and what it notes for it.

use std::time::Instant;

use pyo3::prelude::*;

use super::stage::Stage;
use super::state::Master;
use crate::config::WorkerCount;
use crate::observe::WorkerSlot;
use crate::observe::shared_state::Totals;
use crate::supervisor::admin::{CanaryView, Facts, Ledger, Restart, Usage, WorkerView};
use crate::supervisor::deployment::Deployment;
use crate::supervisor::pool::WorkerState;
use crate::supervisor::worker_process::WorkerProcess;
use crate::sys::clock;

impl Master<'_> {
    /// Answers requests at the metrics address, and commands at the control socket.
    pub(super) fn answer(&mut self, py: Python<'_>) {
        let Some(mut admin) = self.admin.take() else { return };
        let accepts = self.accepts_metrics();
        let requests = admin.turn(accepts, &|ledger| self.survey(ledger));
        self.admin = Some(admin);
        requests.into_iter().for_each(|request| self.execute(py, request));
    }

    /// Beside another master only the older one accepts: otherwise each scrape could meet another
    /// one, and counters would seem to go back.
    pub(super) fn accepts_metrics(&self) -> bool {
        self.predecessor.is_none()
    }

    /// Notes something for metrics, if there are any.
    pub(super) fn note(&mut self, note: impl FnOnce(&mut Ledger)) {
        if let Some(admin) = &mut self.admin {
            note(&mut admin.ledger);
        }
    }

    /// Keeps the counts of a worker that has ended.
    pub(super) fn keep_counts(&mut self, worker: &WorkerProcess) {
        self.keep_tally(worker);
        if let Some(slot) = &worker.slot {
            self.note(|ledger| ledger.keep(worker.pid, slot));
        }
    }

    /// Counts the end of a worker, unless the server is smaller for it.
    pub(super) fn count_restart(&mut self, worker: &WorkerProcess, code: Option<i32>) {
        let is_outdated = worker.status.generation != self.workers.generation();
        let reason = match (worker.status.state, code) {
            (WorkerState::Booting, _) => Restart::BootFailed,
            (WorkerState::Ready, _) if worker.is_overdue() => Restart::Timeout,
            (WorkerState::Ready, Some(0)) => Restart::Exited,
            (WorkerState::Ready, Some(_)) => Restart::Failed,
            (WorkerState::Ready, None) => Restart::Killed,
            (WorkerState::Retiring, _) if is_outdated => Restart::Reloaded,
            (WorkerState::Retiring, _) if worker.status.replacement_wanted => Restart::Recycled,
            (WorkerState::Retiring, _) => return,
        };
        self.note(|ledger| ledger.count_restart(worker.pid, reason));
    }

    /// What the server shows now.
    pub(super) fn survey(&self, ledger: &mut Ledger) -> Facts {
        let now = Instant::now();
        ledger.collect_lost_lines();
        let slots = || self.workers.iter().filter_map(|worker| worker.slot.as_deref());
        for worker in self.workers.iter() {
            worker.slot.iter().for_each(|slot| ledger.collect_slow(worker.pid, slot));
        }
        let view = |worker| view(worker, self.is_canary(worker), now);
        let workers: Vec<_> = self.workers.iter().map(view).collect();
        Facts {
            stage: match self.stage {
                Stage::Starting(_) => "starting",
                Stage::Serving => "serving",
                Stage::Reloading { .. } => "reloading",
                Stage::Stopping(_) => "stopping",
            },
            not_ready: self.not_ready(&workers),
            workers,
            totals: ledger.totals(slots()),
            workers_wanted: self.deployment.target,
            is_auto: self.has_auto_target(),
            cpus: self.deployment.cpus,
            reloads: self.reloads.clone(),
            canary: self.stage.trial().map(|trial| CanaryView {
                left: trial.left(now),
                compared: trial.compared(self.tallies()),
            }),
        }
    }

    /// Whether `--workers auto` has chosen the number of workers, and nothing has changed it since.
    fn has_auto_target(&self) -> bool {
        let Deployment { settings, cpus, target, .. } = &self.deployment;
        let count = settings.processes.workers;
        count == WorkerCount::Auto && *target == count.number(cpus.usable())
    }

    /// Why a load balancer should send no requests, if it should not.
    fn not_ready(&self, workers: &[WorkerView]) -> Option<&'static str> {
        let mut ready = workers.iter().filter(|worker| worker.state == "ready").peekable();
        let limit = self.deployment.settings.observability.ready_busy.as_secs_f64();
        match &self.stage {
            // The new master serves the same address.
            Stage::Stopping(_) if self.successor.is_some() => None,
            Stage::Stopping(_) => Some("the server is shutting down"),
            _ if ready.peek().is_some() => {
                let is_busy = limit > 0.0 && ready.all(|worker| worker.snapshot.is_busy_for(limit));
                is_busy.then_some("all threads have been busy for --ready-busy")
            }
            // Clients wait in the accept queue for the new workers.
            Stage::Reloading { start: None, .. } => None,
            Stage::Serving if self.source_reload.is_wanted() => None,
            Stage::Serving if self.deployment.target == 0 => Some("all workers were retired"),
            Stage::Serving => Some("no worker is ready"),
            Stage::Starting(_) | Stage::Reloading { .. } => Some("no worker is ready yet"),
        }
    }
}

fn view(worker: &WorkerProcess, is_canary: bool, now: Instant) -> WorkerView {
    let mut totals = Totals::default();
    let slot: Option<&WorkerSlot> = worker.slot.as_deref();
    slot.iter().for_each(|slot| totals.add(slot));
    WorkerView {
        pid: worker.pid,
        state: match worker.status.state {
            WorkerState::Booting => "booting",
            WorkerState::Ready => "ready",
            WorkerState::Retiring => "retiring",
        },
        is_canary,
        time_in_state: worker.time_in_state(now),
        answered: totals.answered(),
        snapshot: slot.map(|slot| slot.read(clock::now())).unwrap_or_default(),
        usage: Usage::of(worker.pid),
    }
}
