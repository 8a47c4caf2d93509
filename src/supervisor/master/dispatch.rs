//! Turns each event into an action of the master.

use std::process::ExitStatus;
use std::time::Instant;

use log::{error, info};
use pyo3::prelude::*;

use super::stage::Stage;
use super::state::Master;
use crate::config::Replace;
use crate::observe::{self, Sink};
use crate::supervisor::exit_status::signal_name;
use crate::supervisor::log_files;
use crate::supervisor::messages::{FromWorker, Log, ToWorker};
use crate::supervisor::pool::WorkerState;
use crate::supervisor::worker_process::WorkerProcess;

/// The events that the master handles, besides deadlines.
pub(super) enum Event {
    Signal(i32),
    /// A message from the worker with this pid.
    Message(i32, FromWorker),
    WorkerExited(WorkerProcess, ExitStatus),
    SuccessorExited(ExitStatus),
    PredecessorExited,
}

impl Master<'_> {
    /// Handles an event.
    pub(super) fn handle(&mut self, py: Python<'_>, event: Event) {
        match event {
            Event::Signal(signal) => self.handle_signal(py, signal),
            Event::Message(pid, message) => self.handle_message(pid, message),
            Event::WorkerExited(worker, status) => self.on_worker_exit(py, &worker, status),
            Event::SuccessorExited(status) => self.on_successor_exit(py, status),
            Event::PredecessorExited => self.take_over(),
        }
    }

    /// Acts on a message, if the worker's status expects it.
    fn handle_message(&mut self, pid: i32, message: FromWorker) {
        let Some(worker) = self.workers.accept(pid, message) else { return };
        match message {
            FromWorker::Ready { serves_error_page } => {
                observe::release_start();
                worker.set_ready(serves_error_page);
                let generation = worker.status.generation;
                self.workers.on_ready();
                if generation == self.workers.generation() {
                    self.begin_trial(pid);
                }
                self.source_reload.on_ready();
                self.note(|ledger| ledger.note("worker ready", Some(pid), ""));
            }
            FromWorker::ReplacementWanted => worker.status.replacement_wanted = true,
            FromWorker::BootConflict => worker.status.has_conflict = true,
            FromWorker::SourceChanged => {
                if worker.status.state != WorkerState::Booting
                    || self.source_reload.may_interrupt_boot()
                {
                    self.on_source_change();
                }
            }
        }
    }

    /// A source file has changed (`--reload`). The workers end at once, also if the reload has to
    /// wait: no request that comes from now on may meet the old code.
    pub(super) fn on_source_change(&mut self) {
        self.source_reload.request(Instant::now());
        let timeout = self.deployment.settings.yield_timeout();
        self.workers.retire_all(Replace::StopFirst, timeout);
    }

    fn handle_signal(&mut self, py: Python<'_>, signal: i32) {
        if signal != libc::SIGCHLD {
            observe::release_start();
            let name = signal_name(py, signal).trim_start_matches("SIG").to_lowercase();
            info!(target: "signal.received", "Handling signal: {name}");
        }
        match (&self.stage, signal) {
            (Stage::Stopping(shutdown), libc::SIGINT | libc::SIGQUIT) if shutdown.quick => {}
            (_, libc::SIGINT | libc::SIGQUIT) => {
                info!(target: "server.stopping", "Shutting down without waiting for requests");
                self.stop(0, true);
            }
            // Further TERMs change nothing: `timeout`, systemd, or a shell that signals a process
            // and its group may send several.
            (Stage::Stopping(_), _) => {}
            (_, libc::SIGTERM) => {
                info!(
                    target: "server.stopping",
                    "Shutting down: waiting for running requests; INT or QUIT stops at once"
                );
                self.stop(0, false);
            }
            // A rejected reload is logged.
            (_, libc::SIGHUP) => drop(self.reload(py)),
            (_, libc::SIGUSR1) => {
                // What cannot be opened is logged.
                let _ = self.reopen_logs(py);
                self.workers.request_reports();
            }
            (_, libc::SIGUSR2) => self.start_successor(),
            (_, libc::SIGTTIN) => {
                self.workers.backoff.reset();
                self.set_target(py, |count| count + 1);
            }
            (_, libc::SIGTTOU) if self.deployment.target <= 1 => {
                info!(target: "signal.ignored", "Ignoring TTOU: keeping the last worker");
            }
            (_, libc::SIGTTOU) => self.set_target(py, |count| count.saturating_sub(1).max(1)),
            (_, libc::SIGWINCH) => self.retire_all_workers(),
            _ => {}
        }
    }

    /// Changes the number of workers. If a reload in progress is rolled back, the change stays.
    pub(super) fn set_target(&mut self, py: Python<'_>, change: impl Fn(usize) -> usize) {
        let target = change(self.deployment.target);
        let previous = std::mem::replace(&mut self.deployment.target, target);
        if let Some(restorable) = self.stage.previous_mut() {
            restorable.resize(change);
        }
        self.call_nworkers_changed(py, previous);
        info!(target: "pool.resized", "Changing the number of workers from {previous} to {target}");
    }

    /// Keeps the master without workers, as gunicorn's WINCH.
    fn retire_all_workers(&mut self) {
        // A terminal sends WINCH to every process in it when its window changes.
        let reason = match std::fs::File::open("/dev/tty") {
            Ok(_) => "this server runs in a terminal",
            Err(_) if !self.stage.has_started() => "the server has not started yet",
            Err(_) => {
                self.deployment.target = 0;
                info!(target: "pool.emptied", "Retiring all workers; HUP starts new ones");
                return;
            }
        };
        info!(target: "signal.ignored", "Ignoring WINCH: {reason}");
    }

    /// Reopens both logs and sends the files to all workers. A booting worker reads the message
    /// when it is ready. Returns a sentence about each log that cannot be opened.
    pub(super) fn reopen_logs(&mut self, py: Python<'_>) -> Vec<String> {
        let mut failures = Vec::new();
        for log in [Log::Error, Log::Access] {
            let (settings, user) = (&self.deployment.settings, self.deployment.identity.as_ref());
            let file = match log_files::reopen(py, log, settings, user) {
                Ok(Some(file)) => file,
                Ok(None) => continue,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            };
            for worker in self.workers.iter() {
                match worker.send(ToWorker::LogFile(log, &file)) {
                    Ok(()) => {}
                    // The worker has just exited.
                    Err(failure) if failure.kind() == std::io::ErrorKind::BrokenPipe => {}
                    Err(failure) => error!(
                        target: "log.not_sent",
                        "Cannot send the new {log} to worker {}, which keeps the old file: \
                         {failure}",
                        worker.pid
                    ),
                }
            }
            match log {
                Log::Error => observe::redirect(Sink::from(file)),
                Log::Access => self.deployment.log_files.access = Some(file),
            }
        }
        failures
    }
}
