//! What the master hears, and what it makes of it: signals, words from workers, deaths.

use std::io::Read;
use std::process::ExitStatus;
use std::time::Instant;

use log::{error, info, warn};
use pyo3::prelude::*;

use super::{Master, Member};
use crate::supervisor::messages::{BROKEN, CHANGED, READY, WORN};
use crate::supervisor::pool::State;
use crate::supervisor::process::{fate, memory_kills};
use crate::supervisor::signals;
use crate::supervisor::successor::Successor;
use crate::sys::process::{kill, peek_ended_child, try_wait};

/// A number of workers, for a hook.
pub(super) fn count(workers: usize) -> i64 {
    i64::try_from(workers).unwrap_or(i64::MAX)
}

impl Master<'_> {
    pub(super) fn hear(&mut self, py: Python<'_>, signal: i32) {
        if signal != libc::SIGCHLD {
            info!(
                "Handling signal: {}",
                signals::name(py, signal).trim_start_matches("SIG").to_lowercase()
            );
        }
        if self.stopping.is_some() {
            // Not TERM: several may come of one wish, from `timeout`, systemd, or a shell that signals a
            // process and its group.
            if matches!(signal, libc::SIGINT | libc::SIGQUIT) && !self.quick {
                info!("Shutting down at once");
                self.stop(0, true);
            }
            return;
        }
        match signal {
            libc::SIGTERM => {
                info!(
                    "Shutting down: requests in flight are finished first; INT or QUIT stops at once"
                );
                self.stop(0, false);
            }
            libc::SIGINT | libc::SIGQUIT => {
                info!("Shutting down at once");
                self.stop(0, true);
            }
            libc::SIGHUP => self.reload(py),
            libc::SIGUSR1 => {
                self.reopen_logs(py);
                for member in &self.members {
                    // Before it is ready it could not hear, and has counted nothing.
                    if member.card.state != State::Booting {
                        kill(member.pid, libc::SIGUSR1);
                    }
                }
            }
            libc::SIGUSR2 => self.start_successor(),
            libc::SIGTTIN => {
                self.target += 1;
                self.backoff.forgive();
                self.target_changed(py, self.target - 1);
                info!("{} workers from now on", self.target);
            }
            libc::SIGTTOU => {
                if self.target > 1 {
                    self.target -= 1;
                    self.target_changed(py, self.target + 1);
                    info!("{} workers from now on", self.target);
                } else {
                    info!("the last worker stays");
                }
            }
            libc::SIGWINCH => {
                // A terminal sends it when its window changes, to everything that runs in it.
                if std::fs::File::open("/dev/tty").is_ok() {
                    info!("ignored: this server runs in a terminal");
                } else if !self.started {
                    info!("ignored: the server has not started yet");
                } else {
                    self.target = 0;
                    info!("the workers are retired; HUP starts new ones");
                }
            }
            _ => {}
        }
    }

    pub(super) fn target_changed(&self, py: Python<'_>, before: usize) {
        self.hooks.call(py, "nworkers_changed", &[count(self.target), count(before)]);
    }

    /// What workers say.
    pub(super) fn listen(&mut self, py: Python<'_>) {
        let mut changed = false;
        for member in &mut self.members {
            let mut bytes = [0; 16];
            let count = match member.channel.as_mut().map(|from| from.read(&mut bytes)) {
                Some(Ok(0)) => {
                    member.channel = None;
                    0
                }
                Some(Ok(count)) => count,
                Some(Err(_)) | None => 0,
            };
            member.broken |= bytes[..count].contains(&BROKEN);
            if bytes[..count].contains(&READY) && member.card.state == State::Booting {
                member.card.state = State::Ready;
                member.since = Instant::now();
                self.backoff.booted();
            }
            // Siblings report the same change; by then there is another generation.
            changed |=
                bytes[..count].contains(&CHANGED) && member.card.generation == self.generation;
            member.card.worn |= bytes[..count].contains(&WORN);
        }
        if changed && self.stopping.is_none() {
            self.reload(py);
        }
    }

    pub(super) fn reap(&mut self, py: Python<'_>) {
        let mut at = 0;
        while at < self.members.len() {
            match try_wait(self.members[at].pid) {
                Some(status) => {
                    let member = self.members.remove(at);
                    self.hooks.call(py, "child_exit", &[member.pid.into()]);
                    self.bury(py, &member, status);
                }
                None => at += 1,
            }
        }
        if std::process::id() == 1 {
            self.bury_strangers();
        }
        if let Some(successor) = &mut self.successor
            && let Some(status) = successor.ended()
        {
            let pid = successor.id();
            warn!("the new master {pid} {}; this one goes on", fate(py, status, false));
            self.successor = None;
        }
    }

    /// The first process of a container inherits what others leave behind, as `init` does elsewhere.
    fn bury_strangers(&self) {
        while let Some(pid) = peek_ended_child() {
            let is_ours = self.members.iter().any(|member| member.pid == pid)
                || self
                    .successor
                    .as_ref()
                    .is_some_and(|successor| i32::try_from(successor.id()) == Ok(pid));
            // It has died since, and is dealt with at the next turn.
            if is_ours || try_wait(pid).is_none() {
                return;
            }
        }
    }

    fn bury(&mut self, py: Python<'_>, member: &Member, status: ExitStatus) {
        if self.stopping.is_some() || member.card.state == State::Leaving {
            return;
        }
        let now = Instant::now();
        let pid = member.pid;
        let kills = memory_kills();
        let how = fate(py, status, kills > self.memory_kills);
        self.memory_kills = kills;
        if member.card.state == State::Ready {
            match status.code() {
                Some(0) => info!("worker {pid} has ended"),
                _ => error!("worker {pid} {how}; it is replaced"),
            }
            self.backoff.died(now, now - member.since);
            return;
        }
        if member.card.generation != self.generation {
            return;
        }
        if self.past.is_some() {
            error!("worker {pid} {how} before it was ready");
            self.call_off(py);
        } else if self.started {
            error!("worker {pid} {how} before it was ready; another one is tried");
            self.backoff.boot_failed(now);
        } else {
            error!("worker {pid} {how} before it was ready: the server ends");
            self.stop(status.code().filter(|&code| code != 0).unwrap_or(3), true);
        }
    }

    // A new master

    fn start_successor(&mut self) {
        if !self.started {
            warn!("ignored: a server that has not started yet has nothing to hand over");
            return;
        }
        if let Some(successor) = &self.successor {
            warn!("there is a new master already: {}", successor.id());
            return;
        }
        match Successor::start(&self.sockets) {
            Ok(successor) => {
                info!(
                    "Started a new master: {}. Stop this one with TERM once that serves",
                    successor.id()
                );
                self.successor = Some(successor);
            }
            Err(error) => error!("cannot start a new master: {error}"),
        }
    }

    /// Takes the place of a master that is gone.
    pub(super) fn succeed(&mut self) {
        let Some(predecessor) = self.predecessor.take_if(|other| other.has_ended()) else { return };
        self.sockets.own();
        self.notifier.promoted();
        info!("the old master is gone: this one is the master now");
        if let (Some(pidfile), Some(path)) = (&mut self.pidfile, &self.settings.processes.pidfile)
            && let Err(error) = pidfile.rename(path, predecessor.id())
        {
            error!("the pid file stays {}: {error:#}", pidfile.path().display());
        }
    }
}
