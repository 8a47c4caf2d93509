//! What a thread does with the duty the desk gives it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::error;
use pyo3::prelude::*;

use super::desk::{Desk, Duty, Pressure, Wake};
use super::watch::Watch;
use crate::config::Settings;
use crate::net::{Connection, Fate, Reactor, Remote, SWEEP};
use crate::observe::AccessLog;
use crate::wsgi::{Seat, Wsgi, owes_memory};

/// How long one thread may keep the interpreter for request after request before it looks at the sockets
/// again. One long request, or several short ones.
const BUDGET: Duration = Duration::from_millis(2);

/// What all threads of the process share.
pub(super) struct Shared {
    pub(super) desk: Desk<Box<Connection>>,
    pub(super) reactor: Mutex<Reactor>,
    pub(super) remote: Arc<Remote>,
    pub(super) wsgi: Wsgi,
    pub(super) settings: Arc<Settings>,
    pub(super) watch: Watch,
    pub(super) access_log: Option<Arc<AccessLog>>,
}

impl Shared {
    /// Other workers accept from the same sockets.
    fn has_siblings(&self) -> bool {
        self.settings.processes.workers > 1
    }
}

impl Wake for Remote {
    fn wake(&self) {
        Remote::wake(self);
    }
}

/// The life of runner `me`, as the target of a Python thread.
pub(super) fn run(py: Python<'_>, shared: &Shared, me: usize) -> PyResult<()> {
    let mut seat = Seat::new(py)?;
    loop {
        // Everything but the application happens detached. Coming back from here is the wait for the
        // interpreter.
        match py.detach(|| work_detached(shared, me)) {
            Duty::Run => run_batch(py, shared, &mut seat, me),
            // Attached for a moment, which is all that was wanted.
            Duty::Poll => {}
            Duty::Quit => return Ok(()),
        }
    }
}

/// Polls until there is something to do with the interpreter.
fn work_detached(shared: &Shared, me: usize) -> Duty {
    loop {
        match shared.desk.duty(me, &*shared.remote) {
            Duty::Poll => {
                let room = shared.has_siblings().then(|| shared.desk.room().max(1));
                let ready = turn(shared, room, |pressure| pressure.pressed);
                shared.desk.polled(Some(me), ready, &*shared.remote);
                if owes_memory() && shared.desk.is_quiet() {
                    return Duty::Poll;
                }
            }
            duty => return duty,
        }
    }
}

/// The life of the sentinel.
pub(super) fn watch(shared: &Shared) {
    // However much is queued, it is not for the sentinel to run: it may wait.
    // It polls when every runner is inside the application: what it accepts has to wait.
    let room = shared.has_siblings().then_some(0);
    shared.desk.watch(&*shared.remote, || turn(shared, room, |_| false));
}

fn turn(
    shared: &Shared,
    room: Option<usize>,
    hurries: impl FnOnce(&Pressure) -> bool,
) -> Vec<Box<Connection>> {
    let mut ready = Vec::new();
    let mut reactor = shared.reactor.lock().unwrap_or_else(PoisonError::into_inner);
    // Only now: while we waited for the lock, whoever had it may have found work.
    let pressure = shared.desk.pressure();
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
        shared.desk.stop();
    }
    if waiting > 0 && reactor.is_sweep_due() {
        sweep(shared, &mut reactor);
    }
    if ready.len() > shared.settings.queue.saturating_sub(waiting) {
        turn_away_surplus(shared, &mut reactor, &mut ready);
    }
    if reactor.is_finished() {
        shared.desk.stop();
    }
    ready
}

/// Turns those away that find the queue full. Who finds a free thread need not wait in it.
#[cold]
fn turn_away_surplus(shared: &Shared, reactor: &mut Reactor, ready: &mut Vec<Box<Connection>>) {
    let Pressure { waiting, free, .. } = shared.desk.pressure();
    let vacant = shared.settings.queue.saturating_add(free).saturating_sub(waiting);
    if ready.len() > vacant {
        ready.drain(vacant..).for_each(|connection| reactor.turn_away(connection));
    }
}

/// Takes those back from the queue that have waited too long, or whose clients have gone.
#[cold]
fn sweep(shared: &Shared, reactor: &mut Reactor) {
    let unwanted = shared.desk.withdraw(|connection| reactor.fate(connection) != Fate::Waits);
    if unwanted.iter().any(|connection| reactor.fate(connection) == Fate::Gone) {
        shared.desk.serve_newest_first();
    }
    unwanted.into_iter().for_each(|connection| reactor.turn_away(connection));
}

fn run_batch(py: Python<'_>, shared: &Shared, seat: &mut Seat, me: usize) {
    let Some(mut job) = shared.desk.first(me, &*shared.remote) else { return };
    let start = Instant::now();
    loop {
        serve(py, shared, seat, me, job);
        if start.elapsed() >= BUDGET {
            break;
        }
        match shared.desk.another(me, &*shared.remote) {
            Some(next) => job = next,
            None => break,
        }
    }
    shared.desk.done();
    shared.remote.nudge();
}

fn serve(py: Python<'_>, shared: &Shared, seat: &mut Seat, me: usize, connection: Box<Connection>) {
    shared.watch.begin(py, me, connection.http.head());
    let outcome = shared.wsgi.serve(py, seat, connection);
    shared.watch.end(py, me);
    let Ok(connection) = outcome.exchange.into_any().downcast::<Connection>() else {
        error!("the exchange came back as something else");
        return;
    };
    if let Some(log) = &shared.access_log {
        connection.log_access(log, seat.head(), &outcome.logged);
    }
    shared.remote.give_back(connection);
}
