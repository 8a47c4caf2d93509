//! What a thread does with the duty the desk gives it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::error;
use pyo3::prelude::*;

use super::desk::{Desk, Duty, Wake};
use super::exchange::Job;
use super::watch::Watch;
use crate::config::Settings;
use crate::net::{Connection, Reactor, Remote};
use crate::observe::AccessLog;
use crate::wsgi::{Seat, Wsgi};

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
            Duty::Poll | Duty::Quit => return Ok(()),
        }
    }
}

/// Polls until there is something to run.
fn work_detached(shared: &Shared, me: usize) -> Duty {
    loop {
        match shared.desk.duty(me, &*shared.remote) {
            Duty::Poll => {
                let ready = turn(shared);
                shared.desk.polled(Some(me), ready, &*shared.remote);
            }
            duty => return duty,
        }
    }
}

/// The life of the sentinel.
pub(super) fn watch(shared: &Shared) {
    shared.desk.watch(&*shared.remote, || turn(shared));
}

fn turn(shared: &Shared) -> Vec<Box<Connection>> {
    let mut ready = Vec::new();
    let mut reactor = shared.reactor.lock().unwrap_or_else(PoisonError::into_inner);
    let patience = shared.desk.is_pressed().then_some(Duration::ZERO);
    if let Err(failure) = reactor.turn(patience, &mut ready) {
        // Nothing is left to serve with: the process ends rather than spin.
        error!("polling failed: {failure}");
        shared.desk.stop();
    }
    if reactor.is_finished() {
        shared.desk.stop();
    }
    ready
}

fn run_batch(py: Python<'_>, shared: &Shared, seat: &mut Seat, me: usize) {
    let Some(mut job) = shared.desk.first(me, &*shared.remote) else { return };
    let start = Instant::now();
    loop {
        serve(py, shared, seat, me, job);
        if start.elapsed() >= BUDGET {
            break;
        }
        match shared.desk.another(me) {
            Some(next) => job = next,
            None => break,
        }
    }
    shared.desk.done();
}

fn serve(py: Python<'_>, shared: &Shared, seat: &mut Seat, me: usize, connection: Box<Connection>) {
    shared.watch.begin(me, connection.http.head());
    let job = Job { connection, write_timeout: shared.settings.timeouts.write };
    let outcome = shared.wsgi.serve(py, seat, Box::new(job));
    shared.watch.end(py, me);
    let Ok(job) = outcome.exchange.into_any().downcast::<Job>() else {
        error!("the exchange came back as something else");
        return;
    };
    if let Some(log) = &shared.access_log {
        job.connection.log_access(log, &outcome.head, &outcome.logged);
    }
    shared.remote.give_back(job.connection);
}
