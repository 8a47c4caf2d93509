//! Carries out the commands of the control socket.

use std::io::ErrorKind;
use std::time::Duration;

use log::{debug, info};
use pyo3::prelude::*;
use serde_json::json;

use super::stage::Stage;
use super::state::Master;
use crate::config::{MAX_PROFILE_SECONDS, MAX_WORKERS, MIN_PROFILE_SECONDS};
use crate::control::{Command, Outcome};
use crate::supervisor::admin::{Awaited, Request};
use crate::sys::peer::PeerProcess;
use crate::worker::Inspection;

/// When the client of a command gets its outcome.
enum Answer {
    Now(Outcome),
    /// With this event.
    With(Awaited),
    /// From a worker, on the client's connection.
    From(i32, Inspection),
}

impl Master<'_> {
    /// Carries out a command.
    pub(super) fn execute(&mut self, py: Python<'_>, request: Request) {
        let Request { client, peer, command } = request;
        let answer = match self.refusal(peer, &command) {
            Some(reason) => Answer::Now(Err(reason)),
            None => {
                log(&command, peer);
                self.carry_out(py, &command)
            }
        };
        let Some(admin) = &mut self.admin else { return };
        match answer {
            Answer::Now(outcome) => admin.reply(client, &outcome),
            Answer::With(event) => admin.wait(client, event),
            Answer::From(pid, inspection) => {
                let worker = self.workers.iter().find(|worker| worker.pid == pid);
                let passed = match (worker, admin.connection(client)) {
                    (Some(worker), Some(connection)) => worker.inspect(inspection, connection),
                    // The client has gone.
                    (_, None) => return,
                    (None, _) => {
                        let known = self.workers.iter().map(|worker| worker.pid.to_string());
                        let known = known.collect::<Vec<_>>().join(", ");
                        let reason = format!("no worker has the pid {pid}; there are {known}");
                        return admin.reply(client, &Err(reason));
                    }
                };
                match passed {
                    Ok(()) => admin.release(client),
                    Err(failure) => {
                        let reason = match failure.kind() {
                            ErrorKind::BrokenPipe => format!("worker {pid} ends"),
                            _ => format!("worker {pid} cannot be asked: {failure}"),
                        };
                        admin.reply(client, &Err(reason));
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, py: Python<'_>, command: &Command) -> Answer {
        Answer::Now(match *command {
            Command::Status => self.status(),
            Command::Workers { count } => self.resize(py, count),
            Command::Reopen => self.reopen(py),
            Command::Reload => match self.reload(py) {
                Ok(()) => return Answer::With(Awaited::Reload),
                Err(reason) => Err(format!("the reload was rejected: {reason}")),
            },
            Command::Stop => {
                // Another shutdown would give the workers their graceful timeout again.
                if !matches!(self.stage, Stage::Stopping(_)) {
                    info!(target: "server.stopping", "Shutting down: waiting for running requests");
                    self.stop(0, false);
                }
                return Answer::With(Awaited::End);
            }
            Command::Stacks { worker } => return Answer::From(worker, Inspection::Stacks),
            Command::Profile { worker, seconds } => match profile_length(seconds) {
                Some(length) => return Answer::From(worker, Inspection::Profile(length)),
                None => Err(format!(
                    "{seconds} is not a number of seconds from {MIN_PROFILE_SECONDS} to \
                     {MAX_PROFILE_SECONDS}"
                )),
            },
        })
    }

    /// Why this process may not give this command now.
    fn refusal(&self, peer: Option<PeerProcess>, command: &Command) -> Option<String> {
        let is_worker = |peer: PeerProcess| {
            let own = rustix::process::geteuid().as_raw();
            // With another user than the master, the workers are outside of its boundary, whatever
            // the mode of the socket is.
            self.workers.iter().any(|worker| worker.pid == peer.pid)
                || peer.uid != own && self.worker_users.contains(peer.uid)
        };
        if peer.is_some_and(is_worker) {
            return Some("workers and their user may not control the server".to_owned());
        }
        let needs_server = matches!(command, Command::Workers { .. } | Command::Reload);
        let is_stopping = matches!(self.stage, Stage::Stopping(_));
        (needs_server && is_stopping).then(|| SHUTTING_DOWN.to_owned())
    }

    fn status(&mut self) -> Outcome {
        let mut admin = self.admin.take().ok_or("the control socket is closed")?;
        let facts = self.survey(&mut admin.ledger);
        let status = admin.status(&facts);
        self.admin = Some(admin);
        Ok(status)
    }

    fn resize(&mut self, py: Python<'_>, count: usize) -> Outcome {
        if !(1..=MAX_WORKERS).contains(&count) {
            return Err(format!("{count} is not a number of workers from 1 to {MAX_WORKERS}"));
        }
        let previous = self.deployment.target;
        if count != previous {
            self.workers.backoff.reset();
            self.set_target(py, |_| count);
        } else if let Some(restorable) = self.stage.previous_mut() {
            restorable.resize(|_| count);
        }
        Ok(json!({"workers": count, "previous": previous}))
    }

    fn reopen(&mut self, py: Python<'_>) -> Outcome {
        let failures = self.reopen_logs(py);
        if failures.is_empty() { Ok(json!({})) } else { Err(failures.join("; ")) }
    }

    /// A reload has ended: sends its outcome to the clients that wait for it.
    pub(super) fn report_reload(&mut self, outcome: Result<(), String>) {
        let workers = self.deployment.target;
        let outcome = outcome.map(|()| json!({"workers": workers}));
        self.admin.iter_mut().for_each(|admin| admin.notify(Awaited::Reload, &outcome));
    }

    /// The server ends: sends that to the clients that wait for it.
    pub(super) fn report_end(&mut self, exit_code: i32) {
        let outcome = Ok(json!({"exit_code": exit_code}));
        self.admin.iter_mut().for_each(|admin| admin.notify(Awaited::End, &outcome));
    }
}

fn profile_length(seconds: f64) -> Option<Duration> {
    (MIN_PROFILE_SECONDS..=MAX_PROFILE_SECONDS)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

/// The outcome of a reload that a shutdown ends.
pub(super) const SHUTTING_DOWN: &str = "the server is shutting down";

fn log(command: &Command, peer: Option<PeerProcess>) {
    let name = command.name();
    let by = peer.map_or_else(String::new, |peer| {
        format!(" (from process {} of user {})", peer.pid, peer.uid)
    });
    if *command == Command::Status {
        debug!("Handling command: {name}{by}");
    } else {
        info!(target: "control.command", "Handling command: {name}{by}");
    }
}
