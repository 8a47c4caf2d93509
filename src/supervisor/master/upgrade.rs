//! USR2: starts a new master beside this one. The new master takes over when the old one exits.

use std::process::ExitStatus;

use log::{error, info, warn};
use pyo3::prelude::*;

use super::state::Master;
use crate::supervisor::admin::Admin;
use crate::supervisor::exit_status::describe;
use crate::supervisor::successor::Successor;

impl Master<'_> {
    /// Starts a new master on the same sockets.
    pub(super) fn start_successor(&mut self) {
        if !self.stage.has_started() {
            warn!(target: "signal.ignored", "Ignoring USR2: the server has not started yet");
            return;
        }
        if let Some(successor) = &self.successor {
            let pid = successor.id();
            warn!(target: "signal.ignored", "Ignoring USR2: the new master {pid} runs already");
            return;
        }
        let of_master = self.admin.iter().flat_map(Admin::sockets);
        match Successor::start(&self.deployment.sockets, of_master) {
            Ok(successor) => {
                info!(
                    target: "upgrade.started",
                    "Started new master {}: when it logs that it is ready, stop this one with TERM",
                    successor.id()
                );
                self.successor = Some(successor);
            }
            Err(failure) => {
                error!(target: "upgrade.failed", "Cannot start a new master: {failure}");
            }
        }
    }

    /// The new master has exited before this one.
    pub(super) fn on_successor_exit(&mut self, py: Python<'_>, status: ExitStatus) {
        let Some(successor) = self.successor.take() else { return };
        let (pid, how) = (successor.id(), describe(py, status, false));
        successor.end();
        warn!(target: "upgrade.ended", "The new master {pid} {how}: this one keeps serving");
    }

    /// Takes over after the old master has exited.
    pub(super) fn take_over(&mut self) {
        let Some(predecessor) = self.predecessor.take() else { return };
        let mut used = self.application_sockets();
        used.take_ownership();
        let of_master = self.admin.iter().flat_map(Admin::sockets);
        of_master.for_each(|(_, sockets)| sockets.take_ownership());
        self.admin.iter().flat_map(Admin::sockets).for_each(|(_, sockets)| used.keep(sockets));
        predecessor.remove_unused_sockets(&used);
        self.notifier.promoted();
        let old = predecessor.id();
        let passed = predecessor.into_passed();
        if let Some(admin) = &mut self.admin {
            admin.inherit(&String::from_utf8_lossy(&passed), &mut self.reloads);
        }
        info!(target: "upgrade.completed", "The old master {old} has exited: taking its place");
        if let (Some(pidfile), Some(path)) =
            (&mut self.pidfile, &self.deployment.settings.processes.pidfile)
            && let Err(failure) = pidfile.rename(path, old)
        {
            error!(
                target: "pidfile.not_moved",
                "Cannot rename the pid file, which stays {}: {failure:#}",
                pidfile.path().display()
            );
        }
    }
}
