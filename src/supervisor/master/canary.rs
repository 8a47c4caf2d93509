//! The trial of a reload (`--respawn-canary`): one new worker serves beside the old ones, which
//! keep serving if it fails.

use std::process::ExitStatus;
use std::time::Instant;

use log::{error, info};
use pyo3::prelude::*;

use super::state::Master;
use crate::config::Replace;
use crate::observe::shared_state::Totals;
use crate::supervisor::canary::{Tallies, Tally, Trial, Verdict};
use crate::supervisor::worker_process::WorkerProcess;

impl Master<'_> {
    /// The trial of a reload that begins now. `None` if every new worker starts at once: without
    /// the option, or if no old worker serves beside which the canary could.
    pub(super) fn plan_trial(&self) -> Option<Trial> {
        let processes = &self.deployment.settings.processes;
        let can_serve_beside = processes.replace == Replace::ReadyFirst
            && self.deployment.target > 0
            && self.workers.has_outdated();
        let length = processes.canary;
        (can_serve_beside && !length.is_zero()).then(|| Trial::new(length))
    }

    /// True for a worker of the new deployment while it is on trial.
    pub(super) fn is_canary(&self, worker: &WorkerProcess) -> bool {
        self.is_on_trial() && worker.status.generation == self.workers.generation()
    }

    /// A worker of the new deployment is ready: the trial begins with the first one.
    pub(super) fn begin_trial(&mut self, pid: i32) {
        let running = self.tallies();
        let seconds = self.deployment.settings.processes.canary.as_secs_f64();
        if let Some(Some(trial)) = self.stage.trial_mut()
            && trial.begin(Instant::now(), running)
        {
            info!(
                target: "canary.serving",
                "Canary worker {pid} serves beside the old workers: judging its responses for \
                 {seconds} s"
            );
            self.note(|ledger| ledger.note("canary serving", Some(pid), ""));
        }
    }

    /// Keeps what a worker that has ended has answered, for the trial.
    pub(super) fn keep_tally(&mut self, worker: &WorkerProcess) {
        let is_new = worker.status.generation == self.workers.generation();
        if let Some(Some(trial)) = self.stage.trial_mut() {
            trial.keep(is_new, tally(worker));
        }
    }

    /// Judges the canary, if it is time to.
    pub(super) fn judge_canary(&mut self, py: Python<'_>, now: Instant) {
        let next_check = self.stage.trial().and_then(Trial::next_check);
        if next_check.is_none_or(|at| at > now) {
            return;
        }
        let running = self.tallies();
        let Some(on_trial) = self.stage.trial_mut() else { return };
        let Some(trial) = on_trial else { return };
        let verdict = trial.judge(now, running);
        let found = trial.compared(running).describe();
        match verdict {
            Verdict::Open => {}
            Verdict::Passed => {
                *on_trial = None;
                info!(
                    target: "canary.passed",
                    "The canary has passed, {found}: replacing the other workers"
                );
                self.note(|ledger| ledger.note_outcome("canary", "passed", &found));
            }
            Verdict::Failed => self.fail_trial(py, &found),
        }
    }

    /// A canary has exited by itself, or was killed.
    pub(super) fn on_canary_death(
        &mut self,
        py: Python<'_>,
        worker: &WorkerProcess,
        status: ExitStatus,
    ) {
        let how = self.describe_exit(py, status);
        self.fail_trial(py, &format!("worker {} {how}", worker.pid));
    }

    fn fail_trial(&mut self, py: Python<'_>, found: &str) {
        error!(target: "canary.failed", "The canary has failed, {found}: rolling the reload back");
        self.note(|ledger| ledger.note_outcome("canary", "failed", found));
        self.roll_back(py, &format!("the canary has failed, {found}"));
    }

    /// What the workers that run have answered in all their life.
    pub(super) fn tallies(&self) -> Tallies {
        let mut tallies = Tallies::default();
        for worker in self.workers.iter() {
            let is_new = worker.status.generation == self.workers.generation();
            let side = if is_new { &mut tallies.new } else { &mut tallies.old };
            *side = side.plus(tally(worker));
        }
        tallies
    }
}

/// What a worker has answered. One that was forked without the option shows nothing.
fn tally(worker: &WorkerProcess) -> Tally {
    let mut totals = Totals::default();
    worker.slot.iter().for_each(|slot| totals.add(slot));
    Tally::of(&totals)
}
