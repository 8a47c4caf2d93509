//! The three ways a connection ends: at once, after what the client still sends, or with an error.

use std::io;

use super::action::Action;
use super::connections::Phase;
use super::state::State;
use crate::net::arena::ConnectionId;
use crate::net::shutdown::Shutdown;
use crate::net::transport::Transport;
use crate::net::tuning::{DRAIN_LINGER_TIMEOUT, LINGER_BYTES, LINGER_TIMEOUT};

/// Ends the sending side and waits for the client's end, so that what it sends meanwhile causes no
/// reset.
pub(super) fn linger(state: &mut State, id: ConnectionId) -> Action {
    let Some(slot) = state.connections.get_mut(id) else { return Action::Wait };
    let transport = slot.write_half.transport();
    let is_quiet = match &slot.phase {
        Phase::Reading(connection) | Phase::Sending(connection) => {
            !connection.http.is_refused() && !connection.has_input()
        }
        _ => false,
    };
    // Checked before the end is on its way: what arrives later has crossed it.
    let is_short = is_quiet
        && state.shutdown == Shutdown::Draining
        && !discard_unread(transport, &mut state.read_buffer);
    if transport.shut_sending().is_err() {
        return Action::Close;
    }
    slot.phase = Phase::Lingering { bytes_left: LINGER_BYTES, is_quiet };
    let timeout = if is_short { DRAIN_LINGER_TIMEOUT } else { LINGER_TIMEOUT };
    state.timers.set(id, &mut slot.deadline, Some(state.now + timeout));
    discard_more(state, id)
}

/// Discards what a client sends on a lingering connection, until its end or its limit.
pub(super) fn discard_more(state: &mut State, id: ConnectionId) -> Action {
    let Some(slot) = state.connections.get_mut(id) else { return Action::Wait };
    let Phase::Lingering { bytes_left, .. } = &mut slot.phase else { return Action::Wait };
    loop {
        match slot.write_half.transport().read(&mut state.read_buffer) {
            Ok(count) if count > 0 && count < *bytes_left => *bytes_left -= count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Action::Wait,
            _ => return Action::Close,
        }
    }
}

/// The server begins to drain while this connection lingers: shortens that, if nothing more is
/// known to come.
pub(super) fn hasten(state: &mut State, id: ConnectionId) {
    if state.shutdown == Shutdown::Draining
        && let Some(slot) = state.connections.get_mut(id)
        && matches!(slot.phase, Phase::Lingering { bytes_left: LINGER_BYTES, is_quiet: true })
    {
        let due = state.now + DRAIN_LINGER_TIMEOUT;
        state.timers.bring_forward(id, &mut slot.deadline, due);
    }
}

/// Discards bytes that have arrived and no request has used; true if there were any.
pub(super) fn discard_unread(transport: &Transport, buffer: &mut [u8]) -> bool {
    matches!(transport.read(buffer), Ok(1..))
}

/// Closes so that the client sees an error: its response broke off, and an ordinary end would look
/// like the end of a response without a length. What the kernel has not delivered is lost as well,
/// even of an earlier response: no event reports that its queue is empty, and only HTTP/1.0 clients
/// that pipeline could miss it.
pub(super) fn reset(state: &mut State, id: ConnectionId) {
    if let Some(slot) = state.connections.get(id) {
        slot.write_half.transport().reset();
    }
    release(state, id);
}

/// Closes at once.
pub(super) fn close(state: &mut State, id: ConnectionId) {
    if let Some(slot) = state.connections.get(id) {
        slot.write_half.transport().shut_down();
    }
    release(state, id);
}

/// Frees the slot. The last reference to the socket is dropped here, which also takes it out of the
/// poll set.
fn release(state: &mut State, id: ConnectionId) {
    state.connections.remove(id);
    state.admission.resume();
    let connections = &state.connections;
    state.timers.compact(connections.len(), |(due, id)| {
        connections.get(*id).is_some_and(|slot| slot.deadline.is_filed_under(*due))
    });
}
