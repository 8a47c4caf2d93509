//! The processes of the pool, to which the policy of [`pool`] is applied.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::boot_reports::BootReports;
use super::messages::{FromWorker, ToWorker};
use super::pacing::Backoff;
use super::pool::{self, Plan, Policy, Verdict, WorkerState, WorkerStatus};
use super::worker_process::{KillTimeouts, WorkerProcess};
use crate::config::Replace;
use crate::sys::process::{kill, try_wait};

/// The workers of one master, in the order in which they were started.
#[derive(Debug, Default)]
pub(super) struct Workers {
    list: Vec<WorkerProcess>,
    /// The number of the running deployment; grows with every reload.
    generation: u32,
    /// Workers forked since the start.
    forked: i64,
    /// Whether several workers serve, as the workers were last notified.
    multiprocess: bool,
    /// What the workers that boot together have reported.
    boot_reports: Option<Arc<BootReports>>,
    /// A worker could not boot beside its predecessor: until one is ready, predecessors end first.
    stops_first: bool,
    /// Delays new workers after failures.
    pub(super) backoff: Backoff,
}

impl Workers {
    pub(super) fn iter(&self) -> impl Iterator<Item = &WorkerProcess> {
        self.list.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn multiprocess(&self) -> bool {
        self.multiprocess
    }

    /// The channels of all workers, to wait for messages on.
    pub(super) fn channels(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.list.iter().filter_map(WorkerProcess::channel)
    }

    // Starting

    /// Counts a fork, and returns the number of forks so far.
    pub(super) fn count_fork(&mut self) -> i64 {
        self.forked += 1;
        self.forked
    }

    /// Where the next worker reports why it cannot boot: with the other workers that boot now.
    pub(super) fn boot_reports(&mut self) -> io::Result<Arc<BootReports>> {
        let is_booting = |worker: &WorkerProcess| worker.status.state == WorkerState::Booting;
        let shared = self.boot_reports.clone().filter(|_| self.list.iter().any(is_booting));
        let reports = shared.map_or_else(|| BootReports::new().map(Arc::new), Ok)?;
        self.boot_reports = Some(Arc::clone(&reports));
        Ok(reports)
    }

    /// Whether the worker `pid` has logged why it cannot boot, or another one for the same reason.
    pub(super) fn has_reported(&self, pid: i32) -> bool {
        self.boot_reports.as_ref().is_some_and(|reports| reports.contains(pid.unsigned_abs()))
    }

    /// Whether one of the workers that boot has logged why it cannot.
    pub(super) fn has_failed_to_boot(&self) -> bool {
        self.boot_reports.as_ref().is_some_and(|reports| !reports.is_empty())
    }

    /// Adds a worker that was just forked with the running deployment.
    pub(super) fn add(&mut self, worker: WorkerProcess) {
        self.list.push(worker);
    }

    /// Drops all workers, in a new worker process.
    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    /// Begins a new deployment: workers added from now on belong to it.
    pub(super) fn begin_generation(&mut self) {
        self.generation += 1;
        self.stops_first = false;
        self.backoff.reset();
    }

    /// Which workers to start and to retire.
    pub(super) fn plan(&self, target: usize, policy: Policy) -> Plan {
        let statuses: Vec<WorkerStatus> = self.list.iter().map(|worker| worker.status).collect();
        let policy = Policy { replace: self.replace(policy.replace), ..policy };
        pool::plan(&statuses, target, self.generation, policy)
    }

    /// How workers are replaced at present, with this setting.
    pub(super) fn replace(&self, setting: Replace) -> Replace {
        if self.stops_first { Replace::StopFirst } else { setting }
    }

    /// Whether a worker serves that is to be replaced.
    pub(super) fn has_outdated(&self) -> bool {
        self.list.iter().map(|worker| worker.status).any(|status| {
            status.state == WorkerState::Ready
                && (status.generation != self.generation || status.replacement_wanted)
        })
    }

    /// A worker is ready.
    pub(super) fn on_ready(&mut self) {
        self.stops_first = false;
        self.backoff.on_ready();
    }

    /// The next workers start when their predecessors have ended, until one of them is ready. Those
    /// that are booting beside their predecessors are ended.
    pub(super) fn stop_first_until_ready(&mut self, graceful_timeout: Duration) {
        self.stops_first = true;
        let booting = |worker: &&mut WorkerProcess| worker.status.state == WorkerState::Booting;
        for worker in self.list.iter_mut().filter(booting) {
            worker.retire(Replace::StopFirst, graceful_timeout);
        }
    }

    /// Whether `target` workers of the running deployment are ready.
    pub(super) fn are_ready(&self, target: usize) -> bool {
        self.of_generation().filter(|w| w.status.state == WorkerState::Ready).count() >= target
    }

    /// Whether a worker of the running deployment serves the error page.
    pub(super) fn any_serves_error_page(&self) -> bool {
        self.of_generation().any(|worker| worker.serves_error_page)
    }

    /// The workers of the running deployment.
    pub(super) fn of_generation(&self) -> impl Iterator<Item = &WorkerProcess> {
        self.list.iter().filter(|worker| worker.status.generation == self.generation)
    }

    /// Whether the next worker boots beside the one worker that it replaces. In a reload of several
    /// workers the owner of a port or lock is unknown: it may be a worker that stays.
    pub(super) fn has_predecessor(&self, target: usize, setting: Replace) -> bool {
        self.replace(setting) == Replace::ReadyFirst
            && self.list.iter().map(|worker| worker.status).any(|status| {
                status.state == WorkerState::Ready
                    && match status.generation == self.generation {
                        true => status.replacement_wanted,
                        false => target == 1,
                    }
            })
    }

    // Messages

    /// Takes the messages of all workers, each with the pid of its sender.
    pub(super) fn receive(&mut self) -> Vec<(i32, FromWorker)> {
        let with_pid = |worker: &mut WorkerProcess| {
            let pid = worker.pid;
            worker.receive().into_iter().map(move |message| (pid, message)).collect::<Vec<_>>()
        };
        self.list.iter_mut().flat_map(with_pid).collect()
    }

    /// The worker that sent a message, if its status expects it. This is the only place that
    /// decides whether the master acts on a message.
    pub(super) fn accept(&mut self, pid: i32, message: FromWorker) -> Option<&mut WorkerProcess> {
        let generation = self.generation;
        let worker = self.list.iter_mut().find(|worker| worker.pid == pid)?;
        match worker.status.judge(message, generation) {
            Verdict::Expected => Some(worker),
            Verdict::Late => {
                worker.ignore_late(message);
                None
            }
            Verdict::Unexpected => {
                worker.ignore_unexpected(&format_args!("{message:?}"));
                None
            }
        }
    }

    /// Notifies all workers if `multiprocess` has changed.
    pub(super) fn set_multiprocess(&mut self, multiprocess: bool) {
        if self.multiprocess == multiprocess {
            return;
        }
        self.multiprocess = multiprocess;
        for worker in &self.list {
            // A worker that cannot be reached has exited and is reaped next.
            let _ = worker.send(ToWorker::<&File>::Multiprocess(multiprocess));
        }
    }

    // Ending

    /// Asks one worker, by its index in the list, to exit when its running requests are done.
    pub(super) fn retire(&mut self, index: usize, replace: Replace, graceful_timeout: Duration) {
        if let Some(worker) = self.list.get_mut(index) {
            worker.retire(replace, graceful_timeout);
        }
    }

    /// Asks all workers to exit when their running requests are done.
    pub(super) fn retire_all(&mut self, replace: Replace, graceful_timeout: Duration) {
        self.list.iter_mut().for_each(|worker| worker.retire(replace, graceful_timeout));
    }

    /// Ends all workers with a signal.
    pub(super) fn stop_all(&mut self, signal: i32, graceful_timeout: Duration) {
        self.list.iter_mut().for_each(|worker| worker.stop(signal, graceful_timeout));
    }

    /// Sends SIGKILL to all workers.
    pub(super) fn kill_all(&self) {
        self.list.iter().for_each(|worker| kill(worker.pid, libc::SIGKILL));
    }

    /// Sends SIGUSR1 to the workers that catch it. One that is booting does not, and has counted
    /// nothing.
    pub(super) fn request_reports(&self) {
        for worker in self.list.iter().filter(|w| w.status.state != WorkerState::Booting) {
            kill(worker.pid, libc::SIGUSR1);
        }
    }

    /// Kills the workers that are overdue.
    pub(super) fn kill_overdue(&mut self, timeouts: &KillTimeouts, now: Instant) {
        self.list.iter_mut().for_each(|worker| worker.kill_if_overdue(timeouts, now));
    }

    /// When to call [`Workers::kill_overdue`] next.
    pub(super) fn next_deadline(&self, timeouts: &KillTimeouts) -> Option<Instant> {
        self.list.iter().filter_map(|worker| worker.next_deadline(timeouts)).min()
    }

    /// Removes a worker that has exited from the list. One at a time, so that no signal goes to a
    /// pid that was reaped and may belong to another process by now. Its last messages count.
    pub(super) fn reap_one(&mut self) -> Option<(WorkerProcess, std::process::ExitStatus)> {
        let exited = |(at, worker): (usize, &WorkerProcess)| Some((at, try_wait(worker.pid)?));
        let (at, status) = self.list.iter().enumerate().find_map(exited)?;
        let worker = self.list.remove(at);
        worker.leave_hand_over();
        Some((worker, status))
    }

    /// Another reload replaces the running deployment, which has not passed its trial: retires its
    /// workers, if older ones serve.
    pub(super) fn retire_unproven(&mut self, graceful_timeout: Duration) {
        let (_, old) = self.ready_new_and_old();
        let generation = self.generation;
        let is_unproven = |worker: &&mut WorkerProcess| {
            old > 0
                && worker.status.state == WorkerState::Ready
                && worker.status.generation == generation
        };
        for worker in self.list.iter_mut().filter(is_unproven) {
            worker.retire(Replace::ReadyFirst, graceful_timeout);
        }
    }

    // Rolling back

    /// How many ready workers belong to the running deployment, and how many to earlier ones.
    pub(super) fn ready_new_and_old(&self) -> (usize, usize) {
        let ready = self.list.iter().filter(|worker| worker.status.state == WorkerState::Ready);
        let (new, old): (Vec<_>, Vec<_>) =
            ready.partition(|worker| worker.status.generation == self.generation);
        (new.len(), old.len())
    }

    /// Undoes a reload: retires the workers that are booting, and with `retire_new` those of the
    /// failed deployment; the others count as workers of the running deployment from now on.
    pub(super) fn roll_back(
        &mut self,
        retire_new: bool,
        replace: Replace,
        graceful_timeout: Duration,
    ) {
        let replace = self.replace(replace);
        self.stops_first = false;
        for worker in &mut self.list {
            let is_new = worker.status.generation == self.generation;
            match worker.status.state {
                WorkerState::Booting => worker.retire(replace, graceful_timeout),
                WorkerState::Ready if is_new && retire_new => {
                    worker.retire(replace, graceful_timeout);
                }
                WorkerState::Ready => worker.status.generation = self.generation,
                WorkerState::Retiring => {}
            }
        }
    }
}
