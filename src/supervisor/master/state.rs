//! The state of the master. The sibling files are the steps that change it.

use std::time::Instant;

use pyo3::prelude::*;

use super::stage::Stage;
use crate::net::Listener;
use crate::supervisor::acme::Acme;
use crate::supervisor::admin::Admin;
use crate::supervisor::deployment::{Deployment, Origin};
use crate::supervisor::hand_overs::HandOvers;
use crate::supervisor::import_guard::ImportGuard;
use crate::supervisor::pacing::SourceReload;
use crate::supervisor::path_trust::WorkerUsers;
use crate::supervisor::pidfile::Pidfile;
use crate::supervisor::pool::{Plan, Policy};
use crate::supervisor::reloads::Reloads;
use crate::supervisor::signals::Signals;
use crate::supervisor::successor::{Predecessor, Successor};
use crate::supervisor::systemd::Notifier;
use crate::supervisor::worker_main::WorkerContext;
use crate::supervisor::worker_process::KillTimeouts;
use crate::supervisor::workers::Workers;

/// The signals that the master catches.
pub(super) const CAUGHT: &[i32] = &[
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGWINCH,
    libc::SIGCHLD,
];

/// Why the loop ends.
pub(in crate::supervisor) enum MasterExit {
    /// The server has ended, with this exit code.
    Code(i32),
    /// This process is a new worker.
    IntoWorker(Box<WorkerContext>),
    /// Python raised an exception.
    Python(PyErr),
}

impl From<PyErr> for MasterExit {
    fn from(failure: PyErr) -> MasterExit {
        MasterExit::Python(failure)
    }
}

impl From<std::io::Error> for MasterExit {
    fn from(failure: std::io::Error) -> MasterExit {
        MasterExit::Python(failure.into())
    }
}

/// The master.
pub(in crate::supervisor) struct Master<'a> {
    /// The facts of the start.
    pub(super) origin: Origin<'a>,
    /// The running deployment.
    pub(super) deployment: Deployment,
    /// The stage of the server.
    pub(super) stage: Stage,
    pub(super) workers: Workers,
    /// How each reload has ended.
    pub(super) reloads: Reloads,
    /// Orders certificates.
    pub(super) acme: Acme,
    /// Through which the workers hand requests over to each other.
    pub(super) hand_overs: HandOvers,
    /// The users that workers have run as: the master uses no file that they can change.
    pub(super) worker_users: WorkerUsers,
    /// Guards the master's imports against these users.
    pub(super) import_guard: ImportGuard,
    /// The reload that changed source files ask for (`--reload`).
    pub(super) source_reload: SourceReload,
    pub(super) signals: Signals,
    /// The metrics address, if there is one.
    pub(super) admin: Option<Admin>,
    /// Reports to systemd.
    pub(super) notifier: Notifier,
    pub(super) pidfile: Option<Pidfile>,
    /// The application, if the master has imported it (`--preload`).
    pub(super) app: Option<Py<PyAny>>,
    /// [`oom_kills`](crate::supervisor::exit_status::oom_kills) when the last worker died.
    pub(super) oom_kills: Option<u64>,
    /// The new master, after USR2.
    pub(super) successor: Option<Successor>,
    /// The master that has started this one, until it exits.
    pub(super) predecessor: Option<Predecessor>,
}

impl Master<'_> {
    /// In a new worker: drops the master's state, except the listening sockets.
    pub(in crate::supervisor) fn into_worker_listeners(self) -> Vec<Listener> {
        self.deployment.sockets.disown();
        if let Some(previous) = self.stage.into_previous() {
            previous.disown_sockets();
        }
        self.deployment.sockets.into_listeners()
    }

    /// Sends SIGKILL to all workers, when the master itself fails.
    pub(in crate::supervisor) fn kill_workers(&self) {
        self.workers.kill_all();
    }

    /// True while the canary of a reload is judged, until it has passed.
    pub(super) fn is_on_trial(&self) -> bool {
        self.stage.trial().is_some() && self.deployment.target > 0
    }

    /// Which workers to start and to retire.
    pub(super) fn plan(&self) -> Plan {
        let processes = &self.deployment.settings.processes;
        let policy = Policy {
            reload: processes.reload,
            replace: processes.replace,
            is_on_trial: self.is_on_trial(),
        };
        // Until the canary has passed, workers beyond the old number would serve new code as well.
        let target = match self.stage.previous() {
            Some(previous) if policy.is_on_trial => {
                self.deployment.target.min(previous.deployment.target)
            }
            _ => self.deployment.target,
        };
        let plan = self.workers.plan(target, policy);
        // A worker started now would be replaced by the reload at once.
        let start = if self.source_reload.is_wanted() { 0 } else { plan.start };
        Plan { start, ..plan }
    }

    /// A worker could not boot: the next one starts after a pause.
    pub(super) fn pause_boots(&mut self) {
        let watches_files = self.deployment.settings.processes.watch.is_some();
        self.workers.backoff.pause_after_boot_failure(Instant::now(), watches_files);
    }

    pub(super) fn kill_timeouts(&self) -> KillTimeouts {
        let timeouts = &self.deployment.settings.timeouts;
        KillTimeouts::new(timeouts.boot, timeouts.request)
    }

    /// Calls nworkers_changed, if the number of workers has changed.
    pub(super) fn call_nworkers_changed(&self, py: Python<'_>, previous: usize) {
        let target = self.deployment.target;
        if target != previous {
            let numbers = [hook_number(target), hook_number(previous)];
            self.deployment.hooks.call(py, "nworkers_changed", &numbers);
        }
    }
}

/// A number of workers as the argument of a hook.
pub(super) fn hook_number(workers: usize) -> i64 {
    i64::try_from(workers).unwrap_or(i64::MAX)
}
