//! The worker threads of a server, as Python knows them: those that have a seat in the scheduler,
//! and those that have left it because their requests have taken their connections.

use std::sync::{Mutex, MutexGuard};

use log::info;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::observe::counted;
use crate::sync::ignore_poison;

/// All worker threads.
#[derive(Default)]
pub(super) struct Threads(Mutex<State>);

#[derive(Default)]
struct State {
    /// The `threading.Thread` in each seat.
    seats: Vec<Py<PyAny>>,
    /// Threads that have left their seats, and may still run.
    upgraded: Vec<Upgraded>,
    /// The main thread, if the server has a seat for it: the server does not join it.
    main: Option<Py<PyAny>>,
}

struct Upgraded {
    /// From 1; 0 is that of no upgrade.
    number: u64,
    thread: Py<PyAny>,
    /// A weak reference to the application's socket, once that is open.
    socket: Option<Py<PyAny>>,
    /// The request has ended.
    is_over: bool,
}

impl Upgraded {
    /// After its request: the thread has to be joined, or another one uses the socket.
    fn is_needed(&self, py: Python<'_>) -> bool {
        let is_alive = || self.thread.call_method0(py, "is_alive")?.is_truthy(py);
        let socket = self.socket.as_ref().and_then(|socket| open_socket(socket.bind(py)));
        socket.is_some() || is_alive().unwrap_or(true)
    }
}

impl Threads {
    /// Detaches from the interpreter to wait: see [`MutexExt`].
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        ignore_poison(self.0.lock_py_attached(py))
    }

    /// Adds a thread, which takes the next seat.
    pub(super) fn add(&self, py: Python<'_>, thread: Py<PyAny>) {
        self.lock(py).seats.push(thread);
    }

    /// Adds the main thread, which takes the next seat.
    pub(super) fn add_main(&self, py: Python<'_>, thread: Py<PyAny>) {
        let mut state = self.lock(py);
        state.main = Some(thread.clone_ref(py));
        state.seats.push(thread);
    }

    /// The threads by their seats.
    pub(super) fn seats(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        self.lock(py).seats.iter().map(|thread| thread.clone_ref(py)).collect()
    }

    /// All threads that the server has started and that may still run.
    pub(super) fn started(&self, py: Python<'_>) -> Vec<Py<PyAny>> {
        let state = self.lock(py);
        let is_main = |thread: &Py<PyAny>| state.main.as_ref().is_some_and(|main| main.is(thread));
        let upgraded = state.upgraded.iter().map(|upgraded| &upgraded.thread);
        let started = state.seats.iter().chain(upgraded).filter(|thread| !is_main(thread));
        started.map(|thread| thread.clone_ref(py)).collect()
    }

    /// Gives a seat to `successor`. The thread that had it runs the upgrade with this number.
    pub(super) fn replace(&self, py: Python<'_>, seat: usize, successor: Py<PyAny>, number: u64) {
        let mut state = self.lock(py);
        let (over, running) =
            std::mem::take(&mut state.upgraded).into_iter().partition(|upgraded| upgraded.is_over);
        state.upgraded = running;
        let thread = std::mem::replace(&mut state.seats[seat], successor);
        state.upgraded.push(Upgraded { number, thread, socket: None, is_over: false });
        drop(state);
        let mut left: Vec<Upgraded> = over;
        left.retain(|upgraded| upgraded.is_needed(py));
        self.lock(py).upgraded.append(&mut left);
    }

    /// The main thread takes a seat again.
    pub(super) fn restore_main(&self, py: Python<'_>, seat: usize) {
        let mut state = self.lock(py);
        let Some(main) = state.main.as_ref().map(|main| main.clone_ref(py)) else { return };
        // The thread that had it is about to end, and is joined.
        let thread = std::mem::replace(&mut state.seats[seat], main);
        state.upgraded.push(Upgraded { number: 0, thread, socket: None, is_over: true });
    }

    /// Takes in a weak reference to the socket of an upgrade.
    pub(super) fn set_socket(&self, py: Python<'_>, number: u64, reference: Py<PyAny>) {
        let mut state = self.lock(py);
        let found = state.upgraded.iter_mut().find(|upgraded| upgraded.number == number);
        let replaced = found.map(|upgraded| upgraded.socket.replace(reference));
        drop(state);
        drop(replaced);
    }

    /// The request of an upgrade has ended.
    pub(super) fn end_upgrade(&self, py: Python<'_>, number: u64) {
        let mut state = self.lock(py);
        let found = state.upgraded.iter_mut().find(|upgraded| upgraded.number == number);
        if let Some(upgraded) = found {
            upgraded.is_over = true;
        }
    }

    /// Shuts the socket of an upgrade down, whose request has failed.
    pub(super) fn shut_down_upgrade(&self, py: Python<'_>, number: u64) {
        let state = self.lock(py);
        let found = state.upgraded.iter().find(|upgraded| upgraded.number == number);
        let socket = found.and_then(|upgraded| Some(upgraded.socket.as_ref()?.clone_ref(py)));
        drop(state);
        if let Some(socket) = socket.and_then(|reference| open_socket(reference.bind(py))) {
            shut_down(&socket);
        }
    }

    /// Shuts the sockets down that requests have taken, so that these end, or the threads of
    /// libraries that use them. Returns whether there were any.
    pub(super) fn shut_down_upgrades(&self, py: Python<'_>) -> bool {
        let state = self.lock(py);
        let references = state.upgraded.iter().filter_map(|upgraded| upgraded.socket.as_ref());
        let references: Vec<_> = references.map(|socket| socket.clone_ref(py)).collect();
        drop(state);
        let sockets = references.iter().filter_map(|socket| open_socket(socket.bind(py)));
        let sockets: Vec<_> = sockets.collect();
        if sockets.is_empty() {
            return false;
        }
        info!(
            target: "socket.shut_down",
            "Stopping: shutting down {} that applications have taken and not closed",
            counted(sockets.len() as u64, "connection")
        );
        sockets.iter().for_each(shut_down);
        true
    }
}

/// The socket of a weak reference, unless the application has closed or dropped it.
fn open_socket<'py>(reference: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let socket = reference.call0().ok().filter(|socket| !socket.is_none())?;
    let descriptor: i32 = socket.call_method0("fileno").ok()?.extract().ok()?;
    (descriptor >= 0).then_some(socket)
}

/// Shuts both directions down. Fails if the client has disconnected.
fn shut_down(socket: &Bound<'_, PyAny>) {
    let _ = socket.call_method1("shutdown", (libc::SHUT_RDWR,));
}
