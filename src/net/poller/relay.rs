//! The steps of a connection that the application has taken: the poller forgets it, or relays.

use std::os::fd::AsRawFd;

use log::{debug, info, warn};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::Socket;

use super::action::Action;
use super::close::release;
use super::connections::{Phase, Slot};
use super::state::State;
use crate::net::arena::ConnectionId;
use crate::net::connection::Connection;
use crate::net::relay::{Outcome, Relay, Relayed};
use crate::net::taken::Taken;
use crate::observe::Count;

/// A worker thread has returned a connection that the application has taken.
#[cold]
pub(super) fn on_taken(
    state: &mut State,
    registry: &Registry,
    connection: Box<Connection>,
    taken: Taken,
) -> Action {
    let id = connection.id;
    match taken {
        Taken::Descriptor => {
            // Closing the descriptor would not do: the kernel watches the socket while the
            // application has it. One that was just accepted is not registered yet.
            let fd = connection.write_half.transport().as_raw_fd();
            let _ = registry.deregister(&mut SourceFd(&fd));
            drop(connection);
            release(state, id);
            Action::Wait
        }
        Taken::Relay(socket) => begin(state, registry, connection, socket),
    }
}

fn begin(
    state: &mut State,
    registry: &Registry,
    connection: Box<Connection>,
    socket: Socket,
) -> Action {
    let id = connection.id;
    let interest = Interest::READABLE | Interest::WRITABLE;
    let token = Token(id.relay_token());
    if let Err(error) = registry.register(&mut SourceFd(&socket.as_raw_fd()), token, interest) {
        warn!(
            target: "connection.not_registered",
            "Cannot register the relay of a connection, closing it: {error}"
        );
        return Action::Close;
    }
    let Some(slot) = state.connections.get_mut(id) else { return Action::Wait };
    slot.is_readable = true;
    slot.phase = Phase::Relaying(Box::new(Relay::new(connection, socket)));
    relay(state, id)
}

/// Records an event of the application's socket.
pub(super) fn on_event(state: &mut State, id: ConnectionId, event: &Event) {
    let Some(slot) = state.connections.get_mut(id) else { return };
    let Phase::Relaying(relayed) = &mut slot.phase else { return };
    let is_readable = event.is_readable() || event.is_read_closed() || event.is_error();
    relayed.on_event(is_readable, event.is_read_closed() && event.is_write_closed());
}

/// Relays what has arrived, within the limit of one turn.
pub(super) fn relay(state: &mut State, id: ConnectionId) -> Action {
    let Some(slot) = state.connections.get_mut(id) else { return Action::Wait };
    let Slot { phase, write_half, is_readable, deadline, .. } = slot;
    let Phase::Relaying(relay) = phase else { return Action::Wait };
    let buffer = &mut state.read_buffer;
    let input = match relay.relay_input(write_half.transport(), is_readable, buffer) {
        Ok(relayed) => relayed,
        Err(error) => {
            debug!("{}: {error}", relay.peer().address());
            return Action::Close;
        }
    };
    let output = match relay.relay_output(write_half, buffer) {
        Ok(relayed) => relayed,
        Err(error) => {
            debug!("{}: {error}", relay.peer().address());
            return Action::Reset;
        }
    };
    relay.charge();
    let due = match write_half.has_waiting() {
        true => write_half.deadline((&state.settings.timeouts).into()).map(|(due, _)| due),
        false => None,
    };
    state.timers.set(id, deadline, due);
    let action = match relay.pass_ends_on(write_half) {
        Outcome::Continues => Action::Wait,
        Outcome::Close => Action::Close,
        Outcome::Linger => Action::Linger,
    };
    if input == Relayed::More || output == Relayed::More {
        slot.reschedule(id, &mut state.run_queue);
    }
    action
}

/// The client seems to have read too slowly: as for a response.
pub(super) fn on_deadline(state: &mut State, id: ConnectionId) -> Action {
    let action = relay(state, id);
    if let Action::Wait = action
        && let Some(slot) = state.connections.get(id)
        && let Phase::Relaying(relay) = &slot.phase
        && slot.write_half.has_waiting()
        && let Some((due, _)) = slot.write_half.deadline((&state.settings.timeouts).into())
        && due <= state.now
    {
        state.link.counters.increment_and_take_report(Count::WriteTimeout);
        info!(
            target: "response.timeout",
            "The client {} reads too slowly from an application that has taken its connection: \
             resetting the connection",
            relay.peer().described()
        );
        return Action::Reset;
    }
    action
}
