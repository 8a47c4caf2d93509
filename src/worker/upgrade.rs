//! Requests that take their connections: each keeps its thread for as long as it runs, and another
//! thread takes the seat in the scheduler, so that other requests do not wait.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use log::{error, warn};
use pyo3::prelude::*;

use super::dispatch::Seat;
use super::python_thread;
use super::upgraded::{TakenSocket as ApplicationSocket, UpgradedExchange};
use super::worker_thread::{self, Shared};
use crate::net::Connection;
use crate::observe::shared_state::ShownUpgrade;
use crate::observe::{Count, counted};
use crate::sync::ignore_poison;
use crate::wsgi::{Exchange, PreparedUpgrade, TakenSocket, UpgradeRefusal, Upgrader};

/// Counts the requests of this worker that take their connections.
#[derive(Debug, Default)]
pub(super) struct Upgrades {
    /// Requests that have taken their connections, and run.
    running: AtomicUsize,
    /// All that there ever were.
    all: AtomicU64,
}

impl Upgrades {
    /// Counts one more, unless there are `limit`.
    fn begin(&self, limit: usize) -> bool {
        let begin = |count| (count < limit).then_some(count + 1);
        self.running.fetch_update(Ordering::AcqRel, Ordering::Acquire, begin).is_ok()
    }

    fn end(&self) {
        self.running.fetch_sub(1, Ordering::AcqRel);
    }

    /// A number for an upgrade, from 1.
    fn next_number(&self) -> u64 {
        self.all.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// Upgrades the requests of one worker thread.
pub(super) struct ThreadUpgrader {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    current: Arc<Current>,
}

/// The upgrade of the thread's request, if there is one.
#[derive(Default)]
struct Current {
    /// Its number in [`Threads`](super::threads::Threads).
    number: AtomicU64,
    /// The application's socket.
    socket: Mutex<Option<Arc<ApplicationSocket>>>,
    /// Shows the master the request, with `--metrics`.
    shown: Mutex<Option<ShownUpgrade>>,
}

impl ThreadUpgrader {
    pub(super) fn new(shared: &Arc<Shared>, seat: &Arc<Seat>) -> ThreadUpgrader {
        let (shared, seat) = (shared.clone(), seat.clone());
        ThreadUpgrader { shared, seat, current: Arc::default() }
    }

    /// Ends the upgrade, when the request that has taken its connection has ended.
    pub(super) fn end(&self, py: Python<'_>) {
        ignore_poison(self.current.socket.lock()).take();
        ignore_poison(self.current.shown.lock()).take();
        self.shared.threads.end_upgrade(py, self.current.number.load(Ordering::Acquire));
        self.shared.upgrades.end();
    }
}

impl Upgrader for ThreadUpgrader {
    fn prepare(&self, py: Python<'_>) -> Result<Box<dyn PreparedUpgrade>, UpgradeRefusal> {
        let ThreadUpgrader { shared, seat, current } = self;
        if !shared.upgrades.begin(shared.settings.max_upgrades) {
            report_limit(shared);
            return Err(UpgradeRefusal::Limit);
        }
        let mut prepared = Prepared {
            shared: shared.clone(),
            seat: seat.clone(),
            current: current.clone(),
            successor: None,
            serves: Arc::default(),
            has_begun: false,
        };
        let (shared, index, serves) = (shared.clone(), seat.thread(), prepared.serves.clone());
        let run = move |py: Python<'_>| {
            if py.detach(|| *serves.wait()) {
                worker_thread::run(py, &shared, index, None)
            } else {
                Ok(())
            }
        };
        match python_thread::start(py, &format!("rustwsgi-{index}"), run) {
            Ok(thread) => {
                prepared.successor = Some(thread);
                Ok(Box::new(prepared))
            }
            Err(failure) => {
                report_failure(&failure);
                Err(UpgradeRefusal::System)
            }
        }
    }

    fn set_socket(&self, py: Python<'_>, reference: Py<PyAny>) {
        if let Some(socket) = &*ignore_poison(self.current.socket.lock()) {
            socket.set(reference.clone_ref(py));
        }
        let number = self.current.number.load(Ordering::Acquire);
        self.shared.threads.set_socket(py, number, reference);
    }

    fn shut_down(&self, py: Python<'_>) {
        let number = self.current.number.load(Ordering::Acquire);
        self.shared.threads.shut_down_upgrade(py, number);
    }
}

#[cold]
fn report_limit(shared: &Shared) {
    let counters = shared.dispatcher.handle.counters();
    if let Some(count) = counters.increment_and_take_report(Count::UpgradeLimit) {
        warn!(
            target: "socket.limit",
            "As many requests as --max-upgrades allows have taken their connections: rejected {} \
             with 503",
            counted(count, "request")
        );
    }
}

#[cold]
fn report_failure(failure: &PyErr) {
    error!(
        target: "socket.refused",
        "Cannot start a thread in place of one whose request takes its connection: rejecting the \
         request with 503: {failure}"
    );
}

/// An upgrade, and the thread that waits to take the seat.
struct Prepared {
    shared: Arc<Shared>,
    seat: Arc<Seat>,
    current: Arc<Current>,
    /// The `threading.Thread` that takes the seat.
    successor: Option<Py<PyAny>>,
    /// Whether the successor takes the seat; it waits until this is set.
    serves: Arc<OnceLock<bool>>,
    /// The connection was taken.
    has_begun: bool,
}

impl PreparedUpgrade for Prepared {
    fn take(&mut self, exchange: Box<dyn Exchange>) -> TakenSocket {
        let mut connection = match exchange.into_any().downcast::<Connection>() {
            Ok(connection) => connection,
            Err(other) => {
                // Bug: only a connection is takable.
                let exchange = other.downcast::<UpgradedExchange>().expect("no other type exists");
                return Err((exchange, io::ErrorKind::NotConnected.into()));
            }
        };
        let (socket, taken, request): (OwnedFd, _, _) = match connection.take_socket() {
            Ok(parts) => parts,
            Err(error) => return Err((connection, error)),
        };
        self.has_begun = true;
        let application_socket = Arc::new(ApplicationSocket::default());
        *ignore_poison(self.current.socket.lock()) = Some(application_socket.clone());
        self.current.number.store(self.shared.upgrades.next_number(), Ordering::Release);
        // The row is that of the next thread in the seat.
        let seat = self.seat.thread();
        let shown = self.shared.shown.as_ref().map(|shown| shown.upgrade(seat, &request));
        *ignore_poison(self.current.shown.lock()) = shown;
        // First the connection: the end of the batch wakes the poller for it.
        self.shared.dispatcher.handle.return_taken(connection, taken);
        self.shared.dispatcher.leave(&self.seat);
        Ok((socket, Box::new(UpgradedExchange::new(request, application_socket))))
    }

    fn begin(mut self: Box<Self>, py: Python<'_>) {
        let Some(successor) = self.successor.take() else { return };
        let seat = self.seat.thread();
        // The next requests in this seat are those of the other thread.
        self.shared.watch.end(py, seat);
        self.shared.count_request();
        if let Some(slow) = &self.shared.slow {
            slow.forget(py, seat);
        }
        let number = self.current.number.load(Ordering::Acquire);
        self.shared.threads.replace(py, seat, successor, number);
        let _ = self.serves.set(true);
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let _ = self.serves.set(self.has_begun);
        if !self.has_begun {
            self.shared.upgrades.end();
        }
    }
}
