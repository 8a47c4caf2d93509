//! The master's loop: waits for signals, for what workers say, and for deadlines; nothing else wakes it.
//!
//! - [`setup`] is what comes before the loop,
//! - [`hear`] is what the master is told, [`clock`] what it waits for,
//! - [`reload`] replaces all workers, and [`change`] what of the configuration is the master's own.

mod change;
mod clock;
mod hear;
mod logs;
mod reload;
mod setup;
mod tell;

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};
use pyo3::prelude::*;
use rustix::fs::Mode;

use self::reload::Past;
use super::Entrypoints;
use super::background::Launcher;
use super::child::Birth;
use super::crew::{self, Backoff, Card, State};
use super::forks;
use super::hooks::Hooks;
use super::identity::{self, Identity};
use super::pidfile::Pidfile;
use super::pulse::Pulse;
use super::signals::Signals;
use super::sockets::Sockets;
use super::successor::{Predecessor, Successor};
use super::systemd::Notifier;
use crate::config::{Bind, Settings};
use crate::net::Listener;
use crate::sys::process::kill;

const CAUGHT: &[i32] = &[
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
/// What a worker does not hear: a terminal sends these to every process in it, and they are the
/// master's business.
const DEAF: &[i32] = &[libc::SIGHUP, libc::SIGUSR2, libc::SIGTTIN, libc::SIGTTOU, libc::SIGWINCH];
/// How long a worker that ends by its own clock is given beyond it.
const GRACE: Duration = Duration::from_secs(3);

/// Why the loop, or a step of it, ends.
pub(super) enum Stop {
    /// The server has ended, with this exit code.
    Done(i32),
    /// This process is a new worker.
    Child(Box<Birth>),
    /// Python failed.
    Python(PyErr),
}

impl From<PyErr> for Stop {
    fn from(failure: PyErr) -> Stop {
        Stop::Python(failure)
    }
}

impl From<std::io::Error> for Stop {
    fn from(failure: std::io::Error) -> Stop {
        Stop::Python(failure.into())
    }
}

/// A worker, as the master sees it.
#[derive(Debug)]
struct Member {
    pid: i32,
    card: Card,
    /// When it entered its state.
    since: Instant,
    /// When the master saw first that it has no pulse.
    silent_at: Option<Instant>,
    /// When it is killed, if it still lives.
    kill_at: Option<Instant>,
    /// The master has killed it.
    killed: bool,
    /// What it serves is only why the application does not load.
    broken: bool,
    /// Ends when the worker does; `None` once it has, as the end would be told again and again while the
    /// process is still on its way out.
    channel: Option<UnixStream>,
    pulse: Pulse,
}

/// The master.
pub(super) struct Master<'a> {
    argv: &'a [OsString],
    settings: Arc<Settings>,
    /// The warnings about the settings, which have been logged.
    warnings: Vec<String>,
    /// Those of the start, as some of them hold until the end.
    began: Arc<Settings>,
    /// The file mode mask that this process was started with.
    umask: Mode,
    entrypoints: Entrypoints,
    hooks: Hooks,
    /// Workers that were forked so far.
    born: i64,
    signals: Signals,
    sockets: Sockets,
    /// What systemd has opened for us, in place of the settings' addresses.
    activated: Option<Vec<Bind>>,
    /// The file of the access log, for the workers. That of the error log is [`observe`](crate::observe)'s.
    access_log: Option<File>,
    notifier: Notifier,
    pidfile: Option<Pidfile>,
    members: Vec<Member>,
    /// So many workers there should be.
    target: usize,
    /// More than one worker serves, or may soon: the workers know.
    multiprocess: bool,
    /// Grows with every reload.
    generation: u32,
    /// A reload is under way.
    past: Option<Past>,
    backoff: Backoff,
    /// All workers have been ready once.
    started: bool,
    /// Waits for that.
    launcher: Option<Launcher>,
    /// What [`memory_kills`](super::process::memory_kills) said at the last death.
    memory_kills: Option<u64>,
    /// The server ends, with this exit code.
    stopping: Option<i32>,
    /// Nothing is waited for any more.
    quick: bool,
    /// The user and group that the workers run as, if other than ours.
    identity: Option<Identity>,
    /// The application, if it is imported here.
    app: Option<Py<PyAny>>,
    successor: Option<Successor>,
    /// Ends when the master that has started this one does.
    predecessor: Option<Predecessor>,
}

/// What ties a worker to its master: both ends of a channel, and a pulse.
fn equipment() -> std::io::Result<(UnixStream, UnixStream, Pulse)> {
    let (channel, others) = UnixStream::pair()?;
    channel.set_nonblocking(true)?;
    Ok((channel, others, Pulse::new()?))
}

impl Master<'_> {
    /// Runs until the server has ended. Also returns in every worker that is forked.
    pub(super) fn run(&mut self, py: Python<'_>) -> Stop {
        let ended = self.preload(py).and_then(|()| {
            loop {
                self.turn(py)?;
            }
        });
        let Err(stop): Result<std::convert::Infallible, Stop> = ended;
        if !matches!(stop, Stop::Child(_)) {
            if let Some(launcher) = self.launcher.take() {
                launcher.failed(if let Stop::Done(code) = stop { code } else { 1 });
            }
            if self.successor.is_some() {
                self.sockets.disown();
            }
            // A new master takes over the pid file as well, if it is to have the same.
            let awaited = |file: &&Pidfile| {
                self.successor.as_ref().is_some_and(|other| file.is_awaited_by(other.id()))
            };
            self.pidfile.iter().filter(|file| !awaited(file)).for_each(Pidfile::remove);
        }
        stop
    }

    /// In a new worker: lets go of everything that is the master's, but the sockets.
    pub(super) fn leave_to_child(self) -> Vec<Listener> {
        let mut sockets = self.sockets;
        sockets.disown();
        if let Some(mut past) = self.past {
            past.dropped.disown();
        }
        sockets.into_listeners()
    }

    /// The last resort.
    pub(super) fn kill_all(&mut self) {
        for member in &self.members {
            kill(member.pid, libc::SIGKILL);
        }
    }

    fn turn(&mut self, py: Python<'_>) -> Result<(), Stop> {
        self.act(py)?;
        let limit = self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let mut watched: Vec<_> =
            self.members.iter().flat_map(|m| &m.channel).map(AsFd::as_fd).collect();
        watched.extend(self.predecessor.iter().map(Predecessor::lifeline));
        self.signals.wait(py, &watched, limit)?;
        // Before the rest is looked at, which may be what made somebody send them.
        let signals = self.signals.take();
        self.listen(py);
        if self.stopping.is_none() {
            // Whoever was served may send signals to a server that has started.
            self.note_progress(py);
        }
        for signal in signals {
            self.hear(py, signal);
        }
        self.reap(py);
        self.succeed();
        Ok(())
    }

    fn plan(&self) -> crew::Plan {
        let cards: Vec<Card> = self.members.iter().map(|member| member.card).collect();
        crew::plan(&cards, self.target, self.generation, self.settings.processes.reload)
    }

    // What is to be done

    /// Starts, retires and kills whom the plan and the clock say.
    fn act(&mut self, py: Python<'_>) -> Result<(), Stop> {
        let now = Instant::now();
        self.notifier.beat(now);
        self.kill_overdue(now);
        if let Some(code) = self.stopping {
            return if self.members.is_empty() {
                self.hooks.call(py, "on_exit", &[]);
                info!("Shut down");
                Err(Stop::Done(code))
            } else {
                Ok(())
            };
        }
        let plan = self.plan();
        for at in plan.retire {
            self.retire(at);
        }
        self.tell_of_siblings(plan.start);
        if plan.start > 0 && self.backoff.not_before.is_none_or(|at| at <= now) {
            self.backoff.not_before = None;
            for _ in 0..plan.start {
                self.fork(py)?;
            }
        }
        self.note_progress(py);
        Ok(())
    }

    /// Notes the end of the start, or of a reload.
    fn note_progress(&mut self, py: Python<'_>) {
        let is_new = |m: &&Member| m.card.generation == self.generation;
        let ready = |m: &&Member| m.card.state == State::Ready;
        if self.members.iter().filter(is_new).filter(ready).count() < self.target {
            return;
        }
        if !self.started {
            self.started = true;
            self.hooks.call(py, "when_ready", &[]);
            self.notifier.ready();
            if let Some(launcher) = self.launcher.take() {
                launcher.ready(py);
            }
        }
        if let Some(past) = self.past.take() {
            self.notifier.ready();
            let is_broken = |m: &Member| is_new(&m) && m.broken;
            match self.members.iter().any(is_broken) {
                true => warn!(
                    "Reloaded, but the application cannot be loaded: what is served is the reason, until a \
                     file changes"
                ),
                false => info!("Reloaded: {} new workers serve", self.target),
            }
            drop(past.dropped);
        }
    }

    fn fork(&mut self, py: Python<'_>) -> Result<(), Stop> {
        let (channel, others, pulse) = match equipment() {
            Ok(equipment) => equipment,
            // Out of descriptors, say. Those who serve go on.
            Err(failure) => {
                self.cannot_fork(&failure);
                return Ok(());
            }
        };
        self.born += 1;
        self.hooks.call(py, "pre_fork", &[self.born]);
        if self.app.is_some() {
            // What waits in Python's buffers would be written by both.
            identity::flush(py);
        }
        self.signals.hold(py)?;
        let os = py.import("os")?;
        let forked = forks::of_worker(|| os.call_method0("fork")?.extract::<i32>());
        match forked {
            Ok(0) => {
                // Copies of these would keep the multiprocess from seeing the master's end.
                self.members.clear();
                self.successor = None;
                self.predecessor = None;
                drop(channel);
                self.signals.reset(py, DEAF)?;
                self.signals.release(py)?;
                let app = self.app.as_ref().map(|app| app.clone_ref(py));
                let settings = self.settings.clone();
                let identity = self.identity.clone();
                let hooks = self.hooks.share(py);
                let access_log = self.access_log.take();
                let birth = Birth {
                    channel: others,
                    settings,
                    access_log,
                    identity,
                    pulse,
                    hooks,
                    app,
                    multiprocess: self.multiprocess,
                    in_background: self.launcher.is_some(),
                };
                Err(Stop::Child(Box::new(birth)))
            }
            Ok(pid) => {
                self.signals.release(py)?;
                self.hooks.call(py, "forked", &[pid.into()]);
                let card = Card { generation: self.generation, state: State::Booting, worn: false };
                self.members.push(Member {
                    pid,
                    card,
                    since: Instant::now(),
                    silent_at: None,
                    kill_at: None,
                    killed: false,
                    broken: false,
                    channel: Some(channel),
                    pulse,
                });
                Ok(())
            }
            Err(failure) => {
                self.signals.release(py)?;
                self.cannot_fork(&failure);
                Ok(())
            }
        }
    }

    fn cannot_fork(&mut self, failure: &dyn std::fmt::Display) {
        error!("cannot fork: {failure}");
        self.backoff.boot_failed(Instant::now());
    }

    /// Ends the server.
    fn stop(&mut self, code: i32, quick: bool) {
        // It may have ended a moment ago, and takes nothing over.
        self.successor.take_if(|other| other.ended().is_some());
        // Whoever connects from now on learns at once that nobody is there.
        if self.successor.is_some() {
            self.sockets.disown();
        }
        self.sockets.refuse_newcomers();
        self.sockets = Sockets::default();
        self.past = None;
        match (&self.successor, &self.predecessor) {
            // The service goes on, in the hands of the other.
            (Some(successor), _) => self.notifier.handed_over(successor.id()),
            (None, Some(_)) => {}
            (None, None) => self.notifier.stopping(),
        }
        self.stopping.get_or_insert(code);
        self.quick |= quick;
        let graceful = self.settings.timeouts.graceful;
        let patience = if self.quick { graceful.min(GRACE) } else { graceful };
        let kill_at = Instant::now().checked_add(patience.saturating_add(GRACE));
        // Clients of a server that another one replaces are treated as by a reload.
        let gently = !self.quick && (self.successor.is_some() || self.predecessor.is_some());
        for at in 0..self.members.len() {
            if gently {
                self.retire(at);
                continue;
            }
            let member = &mut self.members[at];
            // INT ends a worker that does not listen yet as well, without a core file.
            kill(member.pid, if self.quick { libc::SIGINT } else { libc::SIGTERM });
            member.card.state = State::Leaving;
            member.kill_at = kill_at;
        }
    }
}
