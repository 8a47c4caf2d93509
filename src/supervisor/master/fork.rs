//! Forking a worker.

use std::sync::Arc;

use log::error;
use pyo3::prelude::*;

use super::state::{Master, MasterExit};
use crate::observe;
use crate::supervisor::boot_reports::BootReports;
use crate::supervisor::forks;
use crate::supervisor::identity;
use crate::supervisor::pool::WorkerStatus;
use crate::supervisor::worker_main::{WorkerContext, booting};
use crate::supervisor::worker_process::{Link, WorkerProcess};

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
        let (link, reports) = match made {
            Ok(made) => made,
            Err(failure) => {
                self.on_fork_failure(&failure);
                return Ok(());
            }
        };
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
                let Link { master_end, heartbeat, .. } = link;
                let watches_files = self.deployment.settings.processes.watch.is_some();
                let status = WorkerStatus::booting(self.workers.generation(), watches_files);
                self.workers.add(WorkerProcess::new(pid, status, master_end, heartbeat));
                Ok(())
            }
            Err(failure) => {
                self.signals.unblock(py)?;
                self.on_fork_failure(&failure);
                Ok(())
            }
        }
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
        self.successor = None;
        self.predecessor = None;
        let Link { worker_end, heartbeat, master_end } = link;
        drop(master_end);
        self.signals.reset(py, IGNORED_BY_WORKERS)?;
        self.signals.unblock(py)?;
        Ok(WorkerContext {
            channel: worker_end,
            settings: self.deployment.settings.clone(),
            access_log: self.deployment.log_files.access.take(),
            identity: self.deployment.identity.clone(),
            heartbeat,
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
