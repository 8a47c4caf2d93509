//! The master's loop: waits for signals, for what workers say, and for deadlines; nothing else wakes it.

mod reload;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{error, info, warn};
use pyo3::prelude::*;

use self::reload::Past;
use super::Door;
use super::child::{Birth, READY, RETIRE, WORN};
use super::crew::{self, Backoff, Card, State};
use super::hooks::Hooks;
use super::identity::{self, Identity};
use super::pidfile::{self, Pidfile};
use super::process::{ended, fate, kill};
use super::pulse::Pulse;
use super::signals::{self, Signals};
use super::sockets::Sockets;
use super::successor::{Predecessor, Successor, VARIABLES};
use super::systemd::{self, Notifier};
use crate::config::{Bind, Settings};
use crate::net::Listener;
use crate::observe;

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

/// How long the interpreter of a worker may be out of reach, if --timeout does not say.
const PATIENCE: Duration = Duration::from_secs(60);

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
    /// When it is killed, if it still lives.
    kill_at: Option<Instant>,
    /// The master has killed it.
    killed: bool,
    /// Ends when the worker does.
    channel: UnixStream,
    pulse: Pulse,
}

/// The master.
pub(super) struct Master<'a> {
    argv: &'a [OsString],
    settings: Arc<Settings>,
    door: Door,
    hooks: Hooks,
    /// Workers that were forked so far.
    born: i64,
    signals: Signals,
    sockets: Sockets,
    /// What systemd has opened for us, in place of the settings' addresses.
    activated: Option<Vec<Bind>>,
    notifier: Notifier,
    pidfile: Option<Pidfile>,
    members: Vec<Member>,
    /// So many workers there should be.
    target: usize,
    /// Grows with every reload.
    generation: u32,
    /// A reload is under way.
    past: Option<Past>,
    backoff: Backoff,
    /// All workers have been ready once.
    started: bool,
    /// The server ends, with this exit code.
    stopping: Option<i32>,
    /// Nothing is waited for any more.
    quick: bool,
    /// Who the workers become.
    identity: Option<Identity>,
    /// The application, if it is imported here.
    app: Option<Py<PyAny>>,
    successor: Option<Successor>,
    /// Ends when the master that has started this one does.
    predecessor: Option<Predecessor>,
}

impl<'a> Master<'a> {
    /// Binds and writes the pid file.
    pub(super) fn new(
        py: Python<'_>,
        argv: &'a [OsString],
        settings: Arc<Settings>,
        hooks: Hooks,
        door: Door,
    ) -> Result<Master<'a>, Stop> {
        let predecessor = Predecessor::of_this_process();
        if settings.processes.daemon && predecessor.is_none() {
            identity::daemonize(py)?;
        }
        if let Some(mask) = settings.processes.umask {
            py.import("os")?.call_method1("umask", (mask,))?;
        }
        let signals = Signals::catch(py, CAUGHT)?;
        let identity = Identity::resolve(py, &settings.processes)
            .map_err(|failure| refuse(anyhow::anyhow!("{}", failure.value(py))))?;
        let pidfile = match &settings.processes.pidfile {
            Some(path) if predecessor.is_some() => Some(Pidfile::create(&pidfile::second(path))),
            Some(path) => Some(Pidfile::create(path)),
            None => None,
        }
        .transpose()
        .map_err(refuse)?;
        if let Err(failure) = hooks.try_call(py, "on_starting", &[]) {
            pidfile.iter().for_each(Pidfile::remove);
            return Err(refuse(anyhow::anyhow!("the hook on_starting failed: {failure}")));
        }
        let mut inherited = Sockets::inherited(settings.backlog);
        // A new master is told by the old one what that was told by systemd.
        let activated = systemd::activated().or_else(|| inherited.descriptors());
        let binds = activated.as_ref().unwrap_or(&settings.binds);
        let sockets = Sockets::open(binds, settings.backlog, &mut inherited);
        let sockets = sockets.map_err(|failure| {
            pidfile.iter().for_each(Pidfile::remove);
            refuse(failure)
        })?;
        let environ = py.import("os")?.getattr("environ")?;
        for name in VARIABLES.iter().chain(&systemd::VARIABLES) {
            // No business of the application's.
            environ.call_method1("pop", (name, py.None()))?;
        }
        if let Some(identity) = &identity {
            identity.give_files(py, &settings)?;
        }
        identity::set_name(py, "master", &settings);
        let target = settings.processes.workers;
        Ok(Master {
            argv,
            settings,
            door,
            hooks,
            born: 0,
            signals,
            sockets,
            activated,
            notifier: Notifier::new(),
            pidfile,
            members: Vec::new(),
            target,
            generation: 0,
            past: None,
            backoff: Backoff::default(),
            started: false,
            stopping: None,
            quick: false,
            identity,
            app: None,
            successor: None,
            predecessor,
        })
    }

    /// Runs until the server has ended. Also returns in every worker that is forked.
    pub(super) fn run(&mut self, py: Python<'_>) -> Stop {
        let ended = self.preload(py).and_then(|()| {
            loop {
                self.turn(py)?;
            }
        });
        let Err(stop): Result<std::convert::Infallible, Stop> = ended;
        if !matches!(stop, Stop::Child(_)) {
            if self.successor.is_some() {
                // It takes over the pid file as well.
                self.sockets.disown();
            } else {
                self.pidfile.iter().for_each(Pidfile::remove);
            }
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

    fn preload(&mut self, py: Python<'_>) -> Result<(), Stop> {
        if self.settings.processes.preload {
            self.app = Some((self.door.load)(py, &self.settings).map_err(Stop::Done)?);
            // What exists by now is shared with the workers as long as nobody writes to it; the garbage
            // collector would, in every object it looks at.
            let gc = py.import("gc")?;
            gc.call_method0("collect")?;
            gc.call_method0("freeze")?;
        }
        Ok(())
    }

    fn turn(&mut self, py: Python<'_>) -> Result<(), Stop> {
        self.act(py)?;
        let limit = self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let mut watched: Vec<_> = self.members.iter().map(|m| m.channel.as_fd()).collect();
        watched.extend(self.predecessor.iter().map(Predecessor::lifeline));
        self.signals.wait(py, &watched, limit)?;
        self.listen();
        for signal in self.signals.take() {
            self.hear(py, signal);
        }
        self.reap(py);
        self.succeed();
        Ok(())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let kills = self.members.iter().filter(|m| !m.killed).filter_map(|m| m.kill_at);
        let missing = self.stopping.is_none() && self.plan().start > 0;
        let patience = self.patience();
        let pulses = self
            .members
            .iter()
            .filter(|m| m.card.state == State::Ready && m.kill_at.is_none())
            .filter_map(|m| m.pulse.last().checked_add(patience));
        kills
            .chain(pulses)
            .chain(self.notifier.next_beat())
            .chain(self.backoff.not_before.filter(|_| missing))
            .min()
    }

    /// How long a worker may be without a pulse.
    fn patience(&self) -> Duration {
        match self.settings.timeouts.request {
            Duration::MAX => PATIENCE,
            limit => limit.saturating_add(GRACE),
        }
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
        let patience = self.patience();
        for member in &mut self.members {
            let silence = member.pulse.age();
            if member.card.state == State::Ready && member.kill_at.is_none() && silence >= patience
            {
                error!(
                    "worker {} gives no sign of life since {} s: it is killed",
                    member.pid,
                    silence.as_secs()
                );
                // Which lets it say where its threads are.
                kill(member.pid, libc::SIGABRT);
                member.kill_at = now.checked_add(GRACE);
            }
            if !member.killed && member.kill_at.is_some_and(|at| at <= now) {
                warn!("worker {} does not end: it is killed", member.pid);
                kill(member.pid, libc::SIGKILL);
                member.killed = true;
            }
        }
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
        }
        if let Some(past) = self.past.take() {
            self.notifier.ready();
            info!("Reloaded: {} new workers serve", self.target);
            drop(past.dropped);
        }
    }

    fn fork(&mut self, py: Python<'_>) -> Result<(), Stop> {
        let (channel, others) = UnixStream::pair()?;
        channel.set_nonblocking(true)?;
        let pulse = Pulse::new()?;
        self.born += 1;
        self.hooks.call(py, "pre_fork", &[self.born]);
        if self.app.is_some() {
            // What waits in Python's buffers would be written by both.
            for stream in ["stdout", "stderr"] {
                py.import("sys")?.getattr(stream)?.call_method0("flush")?;
            }
        }
        self.signals.hold(py)?;
        let forked = py.import("os")?.call_method0("fork").and_then(|pid| pid.extract::<i32>());
        match forked {
            Ok(0) => {
                // Copies of these would keep the siblings from seeing the master's end.
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
                let birth = Birth { channel: others, settings, identity, pulse, hooks, app };
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
                    kill_at: None,
                    killed: false,
                    channel,
                    pulse,
                });
                Ok(())
            }
            Err(failure) => {
                self.signals.release(py)?;
                error!("cannot fork: {failure}");
                self.backoff.boot_failed(Instant::now());
                Ok(())
            }
        }
    }

    /// Tells a worker to go once it has nothing left to do.
    fn retire(&mut self, at: usize) {
        let patience = self.settings.timeouts.graceful.saturating_add(GRACE);
        let Some(member) = self.members.get_mut(at) else { return };
        match member.card.state {
            State::Leaving => return,
            State::Ready if (&member.channel).write_all(&[RETIRE]).is_ok() => {}
            // It does not listen yet, and has nothing to finish.
            _ => kill(member.pid, libc::SIGTERM),
        }
        member.card.state = State::Leaving;
        member.since = Instant::now();
        member.kill_at = member.since.checked_add(patience);
    }

    /// Ends the server.
    fn stop(&mut self, code: i32, quick: bool) {
        // Whoever connects from now on learns at once that nobody is there.
        if self.successor.is_some() {
            self.sockets.disown();
        }
        self.sockets.refuse_newcomers();
        self.sockets = Sockets::default();
        self.past = None;
        self.notifier.stopping();
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

    // What is heard

    fn hear(&mut self, py: Python<'_>, signal: i32) {
        if signal != libc::SIGCHLD {
            info!(
                "Handling signal: {}",
                signals::name(py, signal).trim_start_matches("SIG").to_lowercase()
            );
        }
        if self.stopping.is_some() {
            if matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT) && !self.quick {
                self.stop(0, true);
            }
            return;
        }
        match signal {
            libc::SIGTERM => {
                info!("Shutting down: requests in flight are finished first");
                self.stop(0, false);
            }
            libc::SIGINT | libc::SIGQUIT => {
                info!("Shutting down at once");
                self.stop(0, true);
            }
            libc::SIGHUP => self.reload(py),
            libc::SIGUSR1 => {
                observe::reopen();
                for member in &self.members {
                    // Before it is ready it could not hear; its logs are open anew as it is.
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
                } else {
                    self.target = 0;
                    info!("the workers are retired; HUP starts new ones");
                }
            }
            _ => {}
        }
    }

    fn target_changed(&self, py: Python<'_>, before: usize) {
        let count = |workers: usize| i64::try_from(workers).unwrap_or(i64::MAX);
        self.hooks.call(py, "nworkers_changed", &[count(self.target), count(before)]);
    }

    /// What workers say.
    fn listen(&mut self) {
        for member in &mut self.members {
            let mut bytes = [0; 16];
            let count = (&member.channel).read(&mut bytes).unwrap_or(0);
            if bytes[..count].contains(&READY) && member.card.state == State::Booting {
                member.card.state = State::Ready;
                member.since = Instant::now();
                self.backoff.booted();
            }
            member.card.worn |= bytes[..count].contains(&WORN);
        }
    }

    fn reap(&mut self, py: Python<'_>) {
        let mut at = 0;
        while at < self.members.len() {
            match ended(self.members[at].pid) {
                Some(status) => {
                    let member = self.members.remove(at);
                    self.hooks.call(py, "child_exit", &[member.pid.into()]);
                    self.bury(py, &member, status);
                }
                None => at += 1,
            }
        }
        if let Some(successor) = &mut self.successor
            && let Some(status) = successor.ended()
        {
            let pid = successor.id();
            warn!("the new master {pid} {}; this one goes on", fate(py, status));
            self.successor = None;
        }
    }

    fn bury(&mut self, py: Python<'_>, member: &Member, status: ExitStatus) {
        if self.stopping.is_some() || member.card.state == State::Leaving {
            return;
        }
        let now = Instant::now();
        let pid = member.pid;
        let how = fate(py, status);
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
            self.call_off();
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
    fn succeed(&mut self) {
        if !self.predecessor.as_ref().is_some_and(Predecessor::has_ended) {
            return;
        }
        self.predecessor = None;
        self.sockets.own();
        self.notifier.promoted();
        info!("the old master is gone: this one is the master now");
        if let (Some(pidfile), Some(path)) = (&mut self.pidfile, &self.settings.processes.pidfile)
            && let Err(error) = pidfile.rename(path)
        {
            error!("cannot rename the pid file: {error}");
        }
    }
}

/// Nothing was started: says why.
fn refuse(failure: anyhow::Error) -> Stop {
    error!("{failure:#}");
    Stop::Done(1)
}
