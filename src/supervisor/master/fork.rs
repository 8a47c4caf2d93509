//! Forking a worker.

use std::sync::Arc;

use log::error;
use pyo3::prelude::*;

use super::state::{Master, MasterExit};
use crate::net::Membership;
use crate::observe;
use crate::supervisor::admin::Admin;
use crate::supervisor::boot_reports::BootReports;
use crate::supervisor::forks;
use crate::supervisor::identity;
use crate::supervisor::link::Link;
use crate::supervisor::pool::WorkerStatus;
use crate::supervisor::successor::Successor;
use crate::supervisor::worker_main::{WorkerContext, booting};
use crate::supervisor::worker_process::WorkerProcess;

/// The signals that a worker ignores: the master handles them, but a terminal sends some to all its
/// processes.
const IGNORED_BY_WORKERS: &[i32] =
    &[libc::SIGHUP, libc::SIGUSR2, libc::SIGTTIN, libc::SIGTTOU, libc::SIGWINCH];

impl Master<'_> {
    /// Forks a worker of the running deployment. In the worker, this ends the master's loop. If the
    /// system refuses, the next attempt comes after a pause, and the workers that serve keep
    /// serving.
    pub(super) fn fork_worker(&mut self, py: Python<'_>) -> Result<(), MasterExit> {
        let made = Link::new().and_then(|link| Ok((link, self.workers.boot_reports()?)));
        let (mut link, reports) = match made {
            Ok(made) => made,
            Err(failure) => {
                self.on_fork_failure(&failure);
                return Ok(());
            }
        };
        let takes_commands = self.admin.as_ref().is_some_and(Admin::takes_commands);
        if self.reads_slots()
            && let Err(failure) = link.show(self.deployment.settings.threads, takes_commands)
        {
            self.on_fork_failure(&failure);
            return Ok(());
        }
        link.hand_over = self.hand_overs.add_worker(self.deployment.sockets.listeners());
        let number = self.workers.count_fork();
        self.deployment.hooks.call(py, "pre_fork", &[number]);
        if self.app.is_some() {
            // Otherwise both processes would write the output that an imported application has
            // buffered.
            identity::flush_streams(py);
        }
        self.signals.block(py)?;
        let os = py.import("os")?;
        let forked = forks::fork_worker(|| os.call_method0("fork")?.extract::<i32>());
        match forked {
            Ok(0) => Err(MasterExit::IntoWorker(Box::new(self.become_worker(py, link, reports)?))),
            Ok(pid) => {
                self.signals.unblock(py)?;
                hold_booting_line(pid);
                self.deployment.hooks.call(py, "forked", &[pid.into()]);
                let watches_files = self.deployment.settings.processes.watch.is_some();
                let status = WorkerStatus::booting(self.workers.generation(), watches_files);
                self.workers.add(WorkerProcess::new(pid, status, link));
                self.note(|ledger| ledger.note("worker booting", Some(pid), ""));
                Ok(())
            }
            Err(failure) => {
                link.hand_over.iter().for_each(Membership::remove_worker);
                self.signals.unblock(py)?;
                self.on_fork_failure(&failure);
                Ok(())
            }
        }
    }

    /// Whether workers show what they do: for metrics, and to judge canaries.
    fn reads_slots(&self) -> bool {
        self.admin.is_some() || !self.deployment.settings.processes.canary.is_zero()
    }

    /// In the new worker: drops the state of other processes, and collects the worker's context.
    fn become_worker(
        &mut self,
        py: Python<'_>,
        link: Link,
        boot_reports: Arc<BootReports>,
    ) -> PyResult<WorkerContext> {
        let setting = self.deployment.settings.processes.replace;
        let has_predecessor = self.workers.has_predecessor(self.deployment.target, setting);
        // With inherited ends of their channels open, other workers and a new master would not
        // notice that the master has exited.
        self.workers.clear();
        self.acme.forget();
        self.hand_overs.clear();
        // The files of unix sockets belong to the master.
        self.successor.take().iter().for_each(Successor::leave_sockets);
        self.predecessor = None;
        if let Some(admin) = self.admin.take() {
            admin.sockets().for_each(|(_, sockets)| sockets.disown());
        }
        let Link { worker_end, heartbeat, hand_over, slot, master_end, inspection } = link;
        drop(master_end);
        self.signals.reset(py, IGNORED_BY_WORKERS)?;
        self.signals.unblock(py)?;
        Ok(WorkerContext {
            channel: worker_end,
            settings: self.deployment.settings.clone(),
            tls: self.deployment.tls.as_ref().map(|renewal| renewal.tls().clone()),
            access_log: self.deployment.log_files.access.take(),
            identity: self.deployment.identity.clone(),
            heartbeat,
            hand_over,
            slot,
            inspection: inspection.map(|(_, worker_end)| worker_end),
            boot_reports,
            hooks: self.deployment.hooks.share(py),
            import_guard: std::mem::take(&mut self.import_guard),
            app: self.app.as_ref().map(|app| app.clone_ref(py)),
            multiprocess: self.workers.multiprocess(),
            has_predecessor,
            detaches: self.stage.launcher().is_some(),
        })
    }

    fn on_fork_failure(&mut self, failure: &dyn std::fmt::Display) {
        error!(
            target: "worker.not_forked",
            "Cannot fork a worker, trying again after a pause: {failure}"
        );
        self.pause_boots();
    }
}

/// During a start whose lines are held back, the worker's first line belongs to them.
fn hold_booting_line(pid: i32) {
    let pid = pid.unsigned_abs();
    observe::hold_line_of(pid, "worker.booting", &booting(pid));
}
