//! Joins the desk to the reactor: turns the reactor when the desk asks for it, and brings the requests
//! that it finds to the threads that run them.
//!
//! What running a request means is for the caller to say: `runner` does it with Python, the model checker
//! (`make model`) without.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use log::error;

use super::desk::{Desk, Duty, Pressure, Wake};
use crate::config::Settings;
use crate::net::{Connection, Fate, Reactor, Remote, SWEEP};
use crate::sync::Mutex;

/// What the threads of a process share of its network.
#[derive(Debug)]
pub struct Dispatcher {
    desk: Desk<Box<Connection>>,
    /// Whoever polls has it; nobody else waits for it long.
    reactor: Mutex<Reactor>,
    /// For those who do not poll.
    pub remote: Arc<Remote>,
    settings: Arc<Settings>,
    /// Other workers accept from the same sockets.
    siblings: Arc<AtomicBool>,
}

impl Wake for Remote {
    fn wake(&self) {
        Remote::wake(self);
    }
}

impl Dispatcher {
    /// For `--threads` runners, of which the interpreter can run `parallel` at a time. `siblings` says whether
    /// other workers accept from the same sockets, at any time.
    pub fn new(
        (reactor, remote): (Reactor, Arc<Remote>),
        parallel: usize,
        settings: Arc<Settings>,
        siblings: Arc<AtomicBool>,
    ) -> Dispatcher {
        Dispatcher {
            desk: Desk::new(settings.threads).running(parallel),
            reactor: Mutex::new(reactor),
            remote,
            settings,
            siblings,
        }
    }

    /// Other workers accept from the same sockets. One that has none does not leave them a connection, and
    /// takes as many at a time as there are.
    fn has_siblings(&self) -> bool {
        self.siblings.load(Ordering::Relaxed)
    }

    /// Says so from now on.
    pub fn set_siblings(&self, are_there: bool) {
        self.siblings.store(are_there, Ordering::Relaxed);
        // Whoever polls now does it on the old assumption.
        self.remote.wake();
    }

    /// Polls as runner `me` until there is something to do with the interpreter, and returns the duty: to
    /// run requests, or to quit. [`Duty::Poll`] means that nothing is to be done but to have the
    /// interpreter for a moment, for which `wants_interpreter` has asked while nobody runs a request.
    pub fn duty(&self, me: usize, wants_interpreter: impl Fn() -> bool) -> Duty {
        loop {
            match self.desk.duty(me, &*self.remote) {
                Duty::Poll => {
                    let room = self.has_siblings().then(|| self.desk.room());
                    let ready = self.turn(room, |pressure| pressure.pressed);
                    self.desk.polled(Some(me), ready, &*self.remote);
                    if wants_interpreter() && self.desk.is_quiet() {
                        return Duty::Poll;
                    }
                }
                duty => return duty,
            }
        }
    }

    /// Runs requests as runner `me`, which has the interpreter, as long as there are any and `serve` allows
    /// it: that runs one, and returns whether there is time for another.
    pub fn run_batch(&self, me: usize, mut serve: impl FnMut(Box<Connection>) -> bool) {
        let Some(mut job) = self.desk.first(me, &*self.remote) else { return };
        while serve(job) {
            match self.desk.another(me, &*self.remote) {
                Some(next) => job = next,
                None => break,
            }
        }
        self.desk.done();
        self.remote.nudge();
    }

    /// The life of the sentinel.
    pub fn watch(&self) {
        // However much is queued, it is not for the sentinel to run: it may wait.
        // It polls when every runner is inside the application: what it accepts has to wait.
        let room = || self.has_siblings().then_some(0);
        self.desk.watch(&*self.remote, || self.turn(room(), |_| false));
    }

    /// Turns the reactor once and returns what became ready.
    fn turn(
        &self,
        room: Option<usize>,
        hurries: impl FnOnce(&Pressure) -> bool,
    ) -> Vec<Box<Connection>> {
        let mut ready = Vec::new();
        let mut reactor = self.reactor.lock().unwrap_or_else(PoisonError::into_inner);
        // Only now: while we waited for the lock, whoever had it may have found work.
        let pressure = self.desk.pressure();
        let waiting = pressure.waiting;
        let patience = match waiting {
            _ if hurries(&pressure) => Some(Duration::ZERO),
            0 => None,
            _ => Some(SWEEP),
        };
        reactor.set_room(room);
        if let Err(failure) = reactor.turn(patience, &mut ready) {
            // Nothing is left to serve with: the process ends rather than spin.
            error!("polling failed: {failure}");
            self.desk.stop();
        }
        if waiting > 0 && reactor.is_sweep_due() {
            self.sweep(&mut reactor);
        }
        if ready.len() > self.settings.queue.saturating_sub(waiting) {
            self.turn_away_surplus(&mut reactor, &mut ready);
        }
        if reactor.is_finished() {
            self.desk.stop();
        }
        #[cfg(all(test, shuttle))]
        crate::sync::kernel::changed();
        ready
    }

    /// Turns those away that find the queue full. A request that finds a free thread need not wait in it.
    #[cold]
    fn turn_away_surplus(&self, reactor: &mut Reactor, ready: &mut Vec<Box<Connection>>) {
        let Pressure { waiting, free, .. } = self.desk.pressure();
        let vacant = self.settings.queue.saturating_add(free).saturating_sub(waiting);
        if ready.len() > vacant {
            ready.drain(vacant..).for_each(|connection| reactor.turn_away(connection));
        }
    }

    /// Takes those back from the queue that have waited too long, or whose clients have gone.
    #[cold]
    fn sweep(&self, reactor: &mut Reactor) {
        let unwanted = self.desk.withdraw(|connection| reactor.fate(connection) != Fate::Waits);
        if unwanted.iter().any(|connection| reactor.fate(connection) == Fate::Gone) {
            self.desk.serve_newest_first();
        }
        unwanted.into_iter().for_each(|connection| reactor.turn_away(connection));
    }
}
