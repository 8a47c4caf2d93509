//! Handles processes that have exited: workers, and orphans if the master is a container's first
//! process.

use std::process::ExitStatus;
use std::time::Instant;

use log::{Level, error, info, log, warn};
use pyo3::prelude::*;

use super::stage::Stage;
use super::state::Master;
use crate::observe;
use crate::supervisor::exit_status::{describe, oom_kills};
use crate::supervisor::messages::FromWorker;
use crate::supervisor::pool::{BootFailure, BootRemedy, Verdict, WorkerState};
use crate::supervisor::worker_process::WorkerProcess;
use crate::sys::process::{peek_ended_child, try_wait};

/// The exit code of a server whose first workers exit with 0 before they are ready.
const BOOT_FAILED: i32 = 3;

impl Master<'_> {
    /// A worker has exited and was removed from the pool.
    pub(super) fn on_worker_exit(
        &mut self,
        py: Python<'_>,
        worker: &WorkerProcess,
        status: ExitStatus,
    ) {
        self.deployment.hooks.call(py, "child_exit", &[worker.pid.into()]);
        let stopping = matches!(self.stage, Stage::Stopping(_));
        if !stopping {
            self.count_restart(worker, status.code());
        }
        match worker.status.state {
            _ if stopping => {}
            WorkerState::Retiring => {}
            WorkerState::Ready if self.is_canary(worker) => {
                self.on_canary_death(py, worker, status);
            }
            WorkerState::Ready => self.on_death(py, worker, status),
            // A file has changed while it was imported, so it was not to serve anyway.
            WorkerState::Booting if self.source_reload.is_wanted() => {}
            WorkerState::Booting => self.on_failed_boot(py, worker, status),
        }
    }

    /// A worker that was ready has exited: the pool replaces it.
    fn on_death(&mut self, py: Python<'_>, worker: &WorkerProcess, status: ExitStatus) {
        let (pid, now) = (worker.pid, Instant::now());
        let how = self.describe_exit(py, status);
        match status.code() {
            Some(0) => {
                info!(target: "worker.exited", "Worker {pid} has exited: starting another one");
            }
            _ => error!(target: "worker.died", "Worker {pid} {how}: starting another one"),
        }
        self.workers.backoff.on_death(now, worker.time_in_state(now));
    }

    /// A worker has exited before it was ready: rolls a reload back, ends a start, or tries again.
    fn on_failed_boot(&mut self, py: Python<'_>, worker: &WorkerProcess, status: ExitStatus) {
        let how = self.describe_exit(py, status);
        let settings = &self.deployment.settings;
        let failure = BootFailure {
            is_current: worker.status.generation == self.workers.generation(),
            has_conflict: worker.status.has_conflict,
            has_predecessor: self.workers.has_outdated(),
            replace: self.workers.replace(settings.processes.replace),
            ends_server: self.stage.ends_with_failed_boot(),
            is_reloading: self.stage.is_reloading(),
            is_on_trial: self.is_on_trial(),
        };
        let what = format!("Worker {} {how} before it was ready", worker.pid);
        match failure.remedy() {
            BootRemedy::Ignore => {}
            BootRemedy::StopFirst => {
                warn!(
                    target: "worker.boot_conflict",
                    "{what}: its predecessor seems to hold a port, a lock or a file: ending it, \
                     then trying once more (--replace stop-first always ends it first)"
                );
                self.workers.stop_first_until_ready(settings.timeouts.graceful);
            }
            BootRemedy::RollBack => {
                error!(target: "worker.boot_failed", "{what}: rolling the reload back");
                self.roll_back(py, &what);
            }
            BootRemedy::TryAgainLater => {
                error!(target: "worker.boot_failed", "{what}: trying again after a pause");
                self.pause_boots();
            }
            BootRemedy::ShutDown => {
                // The reason, if the worker has logged it, is the last line of a failed start.
                let is_told = self.workers.has_reported(worker.pid);
                let level = if is_told { Level::Debug } else { Level::Error };
                log!(target: "worker.boot_failed", level, "{what}: shutting down");
                observe::forget_start();
                self.stop(status.code().filter(|&code| code != 0).unwrap_or(BOOT_FAILED), true);
            }
        }
    }

    /// Acts on the messages that a worker has sent just before it exited.
    pub(super) fn receive_last_messages(&mut self, worker: &mut WorkerProcess) {
        if receive_last(worker, self.workers.generation()) {
            self.on_source_change();
        }
    }

    pub(super) fn describe_exit(&mut self, py: Python<'_>, status: ExitStatus) -> String {
        let before = std::mem::replace(&mut self.oom_kills, oom_kills());
        describe(py, status, self.oom_kills > before)
    }

    /// As the first process of a container: reaps the orphans that it inherits, as `init` does
    /// elsewhere.
    pub(super) fn reap_orphans(&self) {
        if std::process::id() != 1 {
            return;
        }
        while let Some(pid) = peek_ended_child() {
            let is_successor = |successor: u32| i32::try_from(successor) == Ok(pid);
            let is_known = self.workers.iter().any(|worker| worker.pid == pid)
                || self.acme.pid() == Some(pid)
                || self.successor.as_ref().is_some_and(|other| is_successor(other.id()));
            // A worker that has just exited is handled in the next turn.
            if is_known || try_wait(pid).is_none() {
                return;
            }
        }
    }
}

/// Updates the status of a worker by the messages that it has sent just before it exited. Returns
/// whether a source file has changed.
fn receive_last(worker: &mut WorkerProcess, generation: u32) -> bool {
    let mut has_source_changed = false;
    for message in worker.receive() {
        if worker.status.judge(message, generation) != Verdict::Expected {
            continue;
        }
        match message {
            // The worker has died before the master could read that it serves: a death, and no
            // failed boot.
            FromWorker::Ready { serves_error_page } => {
                observe::release_start();
                worker.set_ready(serves_error_page);
            }
            FromWorker::BootConflict => worker.status.has_conflict = true,
            FromWorker::SourceChanged => has_source_changed = true,
            FromWorker::ReplacementWanted => {}
        }
    }
    has_source_changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::link::Link;
    use crate::supervisor::pool::WorkerStatus;

    /// What the master makes of these messages of a booting worker: its status, and whether a
    /// source file has changed.
    fn last(messages: &[FromWorker]) -> (WorkerStatus, bool) {
        let link = Link::new().unwrap();
        for message in messages {
            message.send(&link.worker_end).unwrap();
        }
        let mut worker = WorkerProcess::new(i32::MAX, WorkerStatus::booting(0, true), link);
        let has_source_changed = receive_last(&mut worker, 0);
        (worker.status, has_source_changed)
    }

    #[test]
    fn worker_that_dies_just_after_it_was_ready_was_ready() {
        let (status, _) = last(&[FromWorker::Ready { serves_error_page: false }]);
        assert_eq!(status.state, WorkerState::Ready);
        let (status, _) = last(&[]);
        assert_eq!(status.state, WorkerState::Booting);
    }

    #[test]
    fn last_messages_report_conflicts_and_changes() {
        let (status, has_source_changed) = last(&[FromWorker::BootConflict]);
        assert!(status.has_conflict && !has_source_changed);
        let (status, has_source_changed) = last(&[FromWorker::SourceChanged]);
        assert!(!status.has_conflict && has_source_changed);
    }
}
