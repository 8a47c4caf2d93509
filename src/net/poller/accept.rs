//! Accepts connections as the admission policy allows, and registers them.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use log::{debug, warn};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::Socket;

use super::close::close;
use super::connections::{Phase, Slot};
use super::evict::evict_waiting;
use super::state::State;
use crate::net::address::{Local, Peer};
use crate::net::arena::ConnectionId;
use crate::net::connection::{Connection, Origin};
use crate::net::listener::Listener;
use crate::net::transport::Transport;
use crate::net::write_half::WriteHalf;
use crate::observe::{Count, counted};

/// The result of one accept.
#[derive(Debug)]
pub(super) enum Accepted {
    /// A connection, which has not been read from or registered.
    Connection(ConnectionId),
    /// The client disconnected before it was accepted; more may be waiting.
    Aborted,
    /// No connection is waiting.
    Empty,
    /// Accepting pauses; more may be waiting.
    Paused,
}

/// Accepts one connection, if the limit allows it.
pub(super) fn accept_one(state: &mut State, listener: &Listener, local: &Arc<Local>) -> Accepted {
    if !state.admission.has_place(state.sockets()) {
        // A connection is evicted only if a new one is waiting.
        if !listener.has_waiting() {
            return Accepted::Empty;
        }
        if !evict_waiting(state, "--worker-connections is reached") {
            pause_without_place(state);
            return Accepted::Paused;
        }
    }
    match listener.accept() {
        Ok((socket, peer)) => add_accepted(state, socket, peer, (listener, local)),
        Err(error) => on_error(state, listener, &error),
    }
}

fn on_error(state: &mut State, listener: &Listener, error: &io::Error) -> Accepted {
    match error.kind() {
        io::ErrorKind::WouldBlock => return Accepted::Empty,
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => return Accepted::Aborted,
        _ => {}
    }
    if is_out_of_descriptors(error) {
        if !listener.has_waiting() {
            return Accepted::Empty;
        }
        if evict_waiting(state, "no descriptors are left") {
            return Accepted::Aborted;
        }
    }
    // Out of descriptors or memory, or the listener is broken.
    if let Some(count) = state.link.counters.increment_and_take_report(Count::AcceptFailed) {
        warn!(
            target: "accept.paused",
            "Accepting paused for a moment: {error} (open connections: {}; {})",
            state.sockets(),
            counted(count, "time")
        );
    }
    state.admission.pause(state.now);
    Accepted::Paused
}

/// True if the process or the system has no free descriptor. accept(2) returns this error even if
/// no connection is waiting.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cold]
fn pause_without_place(state: &mut State) {
    if let Some(count) = state.link.counters.increment_and_take_report(Count::ConnectionLimit) {
        warn!(
            target: "accept.paused",
            "Accepting paused for a moment: all of the {} connections of --worker-connections are \
             busy ({})",
            state.sockets(),
            counted(count, "time")
        );
    }
    state.admission.pause(state.now);
}

/// Adds a connection that a listener has accepted.
fn add_accepted(
    state: &mut State,
    socket: Socket,
    peer: Peer,
    (listener, local): (&Listener, &Arc<Local>),
) -> Accepted {
    if let Some(observed) = &state.observed {
        observed.slot.count_accepted();
    }
    match listener.service.transport(socket, &state.link.memory_budget) {
        Ok(transport) => Accepted::Connection(add(state, transport, peer, local.clone())),
        Err(error) => {
            debug!("{}: cannot begin a TLS session: {error}", peer.address());
            Accepted::Aborted
        }
    }
}

/// Adds a connection over `transport`.
pub(super) fn add(
    state: &mut State,
    transport: Transport,
    peer: Peer,
    local: Arc<Local>,
) -> ConnectionId {
    let link = &state.link;
    let origin = Origin { peer, local, accepted_at: state.now };
    let write_half = Arc::new(WriteHalf::new(transport, link.memory_budget.clone()));
    state.connections.insert_with(|id| {
        let settings = &state.settings;
        let connection = Connection::new(id, write_half.clone(), link.clone(), origin, settings);
        Slot::new(connection, write_half)
    })
}

/// Registers a connection for readiness events, if it is still open. The kernel also reports
/// readiness from before the registration.
pub(super) fn register(state: &mut State, id: ConnectionId, registry: &Registry) {
    let Some(slot) = state.connections.get(id) else { return };
    let fd = slot.write_half.transport().as_raw_fd();
    let interest = Interest::READABLE | Interest::WRITABLE;
    let Err(error) = registry.register(&mut SourceFd(&fd), Token(id.token()), interest) else {
        return;
    };
    warn!(target: "connection.not_registered", "Cannot register a connection: {error}");
    match &slot.phase {
        // The owning thread sees the failure; the connection closes when it is returned.
        Phase::Lent { read_half, .. } => {
            slot.write_half.fail();
            if let Some(read_half) = read_half {
                read_half.disconnect();
            }
        }
        _ => close(state, id),
    }
}
