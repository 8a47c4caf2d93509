//! HUP: applies a new deployment, whose workers start while the old ones keep serving.

use std::path::Path;
use std::time::{Duration, Instant};

use log::{error, info, warn};
use pyo3::prelude::*;

use super::control::SHUTTING_DOWN;
use super::stage::Completed;
use super::state::Master;
use crate::config::{self, Loaded, LogFormat, Replace};
use crate::observe::{self, text_of};
use crate::supervisor::admin::Admin;
use crate::supervisor::deployment::{Deployment, PreviousDeployment};
use crate::supervisor::guard::Guarded;
use crate::supervisor::hooks::Hooks;
use crate::supervisor::identity::{self, Identity};
use crate::supervisor::import_guard::ImportGuard;
use crate::supervisor::pidfile::{self, Pidfile};
use crate::supervisor::reloads::Outcome;
use crate::supervisor::sockets::Sockets;
use crate::supervisor::successor::Successor;

impl Master<'_> {
    /// Builds a deployment from the current configuration, and applies it.
    ///
    /// # Errors
    /// The reason why it is rejected, which was logged.
    pub(super) fn reload(&mut self, py: Python<'_>) -> Result<(), String> {
        self.source_reload.on_reload(Instant::now());
        self.deployment.hooks.call(py, "on_reload", &[]);
        self.notifier.reloading();
        let number = self.reloads.begin();
        match self.build_deployment(py) {
            Ok(next) => {
                self.end_reload(Outcome::Superseded, "another reload has begun");
                self.reloads.run(number);
                self.begin_reload(py, next);
                Ok(())
            }
            Err(reason) => {
                self.reloads.reject(number, &reason);
                let outcome = Outcome::Rejected.name();
                self.note(|ledger| ledger.note_outcome("reload", outcome, &reason));
                error!(
                    target: "reload.rejected",
                    "Reload rejected, keeping the running configuration: {reason}"
                );
                // systemd waits for the end of this reload. A reload that is in progress already
                // will report its own.
                if self.stage.has_started() && !self.stage.is_reloading() {
                    self.notifier.ready();
                }
                Err(reason)
            }
        }
    }

    /// An error is a message for the log; nothing has changed then.
    fn build_deployment(&mut self, py: Python<'_>) -> Result<Deployment, String> {
        let configuration = self.read_configuration(py)?;
        let open = self.application_sockets();
        let deployment =
            Deployment::build(py, &self.origin, configuration, &self.deployment, &open)?;
        let mut users = self.worker_users.clone();
        users.add(deployment.identity.as_ref());
        if let Some(path) = &deployment.settings.processes.pidfile {
            users.check_pidfile(path)?;
        }
        if let Some(path) = &self.origin.settings.observability.control_socket {
            users.check_control_socket(path)?;
        }
        if let Some(path) = deployment.settings.tls.acme.used_cache() {
            users.check_cache(path)?;
        }
        Ok(deployment)
    }

    /// The sockets of the running deployment, of those that a reload in progress replaces, and of a
    /// new master.
    pub(super) fn application_sockets(&self) -> Sockets {
        let mut open = Sockets::default();
        open.keep(&self.deployment.sockets);
        if let Some(previous) = self.stage.previous() {
            previous.keep_sockets_in(&mut open);
        }
        self.successor.iter().for_each(|successor| open.keep(successor.passed()));
        open
    }

    /// Guarded, because the configuration may be a Python program, which may hang.
    fn read_configuration(&mut self, py: Python<'_>) -> Result<(Loaded, Hooks), String> {
        let Master { signals, origin, deployment, pidfile, successor, worker_users, .. } = self;
        let admin = &self.admin;
        let before_exit = |_| {
            // The workers notice that the master has exited, and exit.
            successor.iter().for_each(Successor::leave_sockets);
            deployment.sockets.remove_files();
            if successor.is_none() {
                pidfile.iter().for_each(Pidfile::remove);
                admin.iter().flat_map(Admin::sockets).for_each(|(_, it)| it.remove_files());
            }
        };
        let guarded = Guarded {
            what: "executing the configuration",
            limit: Duration::MAX,
            before_exit: &before_exit,
        };
        let parse = || (origin.entrypoints.parse)(py, origin.argv, worker_users);
        let read = signals.run_guarded(py, &guarded, parse);
        read.map_err(|failure| text_of(&failure)).and_then(|read| read)
    }

    fn begin_reload(&mut self, py: Python<'_>, next: Deployment) {
        self.note(|ledger| ledger.note("reload started", None, ""));
        let replaced = self.apply(py, next);
        self.report_changes(&replaced);
        if let Some(owner) = &self.deployment.identity {
            self.give_sockets(owner);
        }
        self.call_nworkers_changed(py, replaced.target);
        if self.stage.trial().is_some() {
            self.workers.retire_unproven(self.deployment.settings.timeouts.graceful);
        }
        self.workers.begin_generation();
        let trial = self.plan_trial();
        let replace_by = |earlier| match earlier {
            Some(mut previous) => {
                PreviousDeployment::supersede(&mut previous, &replaced);
                previous
            }
            None => PreviousDeployment::new(replaced),
        };
        let is_on_trial = trial.is_some();
        self.stage.begin_reload(replace_by, trial);
        info!(
            target: "reload.started",
            "Reloading: {}",
            match self.deployment.settings.processes.replace {
                _ if is_on_trial => "starting one new worker beside the old ones, as a canary",
                Replace::ReadyFirst => "starting new workers, then retiring the old ones",
                Replace::StopFirst => "ending the old workers, then starting new ones",
            }
        );
        self.acme.begin();
        if self.deployment.settings.processes.watch.is_some() {
            // All at once: no worker may serve code from before a change.
            self.workers.retire_all(Replace::StopFirst, self.deployment.settings.yield_timeout());
        }
    }

    /// Applies a deployment and returns the previous one. A step that fails is logged and changes
    /// nothing.
    fn apply(&mut self, py: Python<'_>, mut next: Deployment) -> Deployment {
        self.guard_against(py, next.identity.as_ref());
        let settings = &next.settings;
        // First, because it applies to the files created below.
        identity::set_umask(settings, self.origin.umask);
        next.log_files.error.take().into_iter().for_each(observe::redirect);
        observe::set_json(settings.logs.format == LogFormat::Json);
        observe::send_to(&settings.collectors());
        log::set_max_level(settings.log_level);
        identity::set_process_title(py, "master", settings);
        next.sockets.set_backlog(settings.backlog);
        self.move_pidfile(settings.processes.pidfile.as_deref());
        next.hooks.adopt(py, &self.deployment.hooks);
        std::mem::replace(&mut self.deployment, next)
    }

    /// From now on uses and imports nothing that this user can change either.
    fn guard_against(&mut self, py: Python<'_>, user: Option<&Identity>) {
        if !self.worker_users.add(user) {
            return;
        }
        let guarded = self.import_guard.remove(py).and_then(|()| {
            self.import_guard = ImportGuard::install(py, &self.worker_users)?;
            Ok(())
        });
        if let Err(failure) = guarded {
            // Workers of this user may plant a module that the master imports.
            error!(
                target: "server.failed",
                "Cannot guard the master's imports against the new user: exiting: {failure}"
            );
            std::process::abort();
        }
    }

    fn move_pidfile(&mut self, path: Option<&Path>) {
        let wanted = path.map(|path| match self.predecessor {
            Some(_) => pidfile::second(path),
            None => path.to_path_buf(),
        });
        let absolute = wanted.as_deref().and_then(|path| std::path::absolute(path).ok());
        if self.pidfile.as_ref().map(Pidfile::path) == absolute.as_deref() {
            return;
        }
        match wanted.map(|path| Pidfile::create(&path)).transpose() {
            Ok(moved) => {
                if let Some(old) = std::mem::replace(&mut self.pidfile, moved) {
                    old.remove();
                }
            }
            Err(failure) => error!(
                target: "pidfile.not_moved",
                "Cannot move the pid file, which stays where it is: {failure:#}"
            ),
        }
    }

    /// Logs the new warnings of the configuration, and options whose change needs more than a
    /// reload.
    fn report_changes(&self, replaced: &Deployment) {
        let settings = &self.deployment.settings;
        let warnings = self.deployment.warnings.iter();
        for warning in warnings.filter(|warning| !replaced.warnings.contains(warning)) {
            warn!(target: "config.warning", "{warning}");
        }
        for (option, remedy) in config::changes_needing_restart(&self.origin.settings, settings) {
            warn!(
                target: "reload.needs_restart",
                "{option} has changed since the start; this {remedy}"
            );
        }
        if self.app.is_some() {
            warn!(
                target: "reload.code_kept",
                "--preload: the new workers serve the code that was imported at the start; newer \
                 code needs USR2 or a restart"
            );
        }
    }

    /// Gives the workers' user the files of unix sockets.
    fn give_sockets(&self, owner: &Identity) {
        if let Err(failure) = owner.give_sockets(self.deployment.sockets.listeners()) {
            error!(target: "socket.not_given", "{}", observe::as_line(&format!("{failure:#}")));
        }
    }

    /// A worker of the new deployment cannot boot: restores the previous deployment, and the old
    /// workers keep serving. If a rolling reload has already retired some of them, the workers of
    /// both deployments keep serving, and the new configuration stays.
    pub(super) fn roll_back(&mut self, py: Python<'_>, reason: &str) {
        let is_on_trial = self.is_on_trial();
        let (new, old) = self.workers.ready_new_and_old();
        let Some(restorable) = self.stage.roll_back(new + old > 0) else { return };
        let previous_target = restorable.target();
        let PreviousDeployment { deployment: mut previous, .. } = restorable;
        self.end_reload(Outcome::RolledBack, reason);
        let needed = previous.target.min(previous_target);
        let back = old >= needed || new == 0 || (is_on_trial && old > 0);
        let consequence = match (back, old) {
            (true, 0) => "restored the previous configuration",
            (true, _) => "restored the previous configuration; the old workers keep serving",
            (false, 0) => "no old worker is left, so the new ones keep serving",
            (false, _) => "the old workers keep serving, beside the new ones that are ready",
        };
        error!(target: "reload.failed", "Reload failed: {consequence}");
        self.report_reload(Err(format!("the reload failed: {reason}: {consequence}")));
        // During a start, too: the workers that serve are all that there will be for now.
        if self.stage.has_started() || new + old > 0 {
            self.notifier.ready();
        }
        self.pause_boots();
        let settings = &self.deployment.settings;
        self.workers.roll_back(back, settings.processes.replace, settings.yield_timeout());
        let target = self.deployment.target;
        previous.target = previous_target;
        if back {
            self.restore(py, previous);
        } else {
            self.deployment.target = previous.target;
        }
        self.call_nworkers_changed(py, target);
    }

    /// Restores the previous deployment.
    fn restore(&mut self, py: Python<'_>, mut previous: Deployment) {
        let settings = &previous.settings;
        previous.log_files = identity::with_umask(settings, self.origin.umask, || {
            previous.log_files.reopen(py, settings, previous.identity.as_ref())
        });
        let failed = self.apply(py, previous);
        if failed.identity.is_some() {
            let owner = self.deployment.identity.clone().unwrap_or_else(Identity::own);
            self.give_sockets(&owner);
        }
    }

    /// The reload that runs has ended, if there is one.
    pub(super) fn end_reload(&mut self, outcome: Outcome, reason: &str) {
        if self.reloads.end_running(outcome, reason) {
            self.note(|ledger| ledger.note_outcome("reload", outcome.name(), reason));
        }
        match outcome {
            Outcome::Completed if reason.is_empty() => self.report_reload(Ok(())),
            Outcome::Interrupted => self.report_reload(Err(SHUTTING_DOWN.to_owned())),
            // Reported with its consequence.
            Outcome::RolledBack => {}
            Outcome::Completed | Outcome::Rejected | Outcome::Superseded => {
                self.report_reload(Err(reason.to_owned()));
            }
        }
    }

    /// Completes the start or the reload once all workers are ready.
    pub(super) fn complete_stage(&mut self, py: Python<'_>) {
        if self.is_on_trial() || !self.workers.are_ready(self.deployment.target) {
            return;
        }
        let Completed { start, previous } = self.stage.complete();
        if let Some(start) = start {
            self.log_ready(start.launcher.is_some());
            self.deployment.hooks.call(py, "when_ready", &[]);
            self.notifier.ready();
            if let Some(launcher) = start.launcher {
                launcher.report_ready(py);
            }
        }
        if previous.is_some() {
            self.notifier.ready();
            if self.workers.any_serves_error_page() {
                warn!(
                    target: "reload.error_page",
                    "Reloaded, but the application failed to load: serving the error page until a \
                     file changes"
                );
                self.end_reload(Outcome::Completed, "the application failed to load");
            } else {
                let serving = serving(self.deployment.target, "new worker");
                info!(target: "reload.completed", "Reloaded: {serving}");
                self.end_reload(Outcome::Completed, "");
            }
        }
    }
}

impl Master<'_> {
    /// On a terminal, says where the server is and how to stop it, unless it detaches.
    fn log_ready(&self, detaches: bool) {
        let serving = serving(self.deployment.target, "worker");
        let is_interactive = !detaches && observe::is_on_terminal();
        let (hint, urls) = match is_interactive {
            true => (", press Ctrl-C to stop", format!(" {}", self.deployment.sockets.urls())),
            false => ("", String::new()),
        };
        match self.workers.any_serves_error_page() {
            false => info!(target: "server.ready", "Ready{hint}: {serving}{urls}"),
            true => info!(
                target: "server.ready",
                "Ready{hint}, but the application failed to load: {serving} the error page{urls}"
            ),
        }
    }
}

/// `1 worker serves`, `2 workers serve`.
fn serving(count: usize, noun: &str) -> String {
    let verb = if count == 1 { "serves" } else { "serve" };
    format!("{} {verb}", observe::counted(count as u64, noun))
}
