//! The three ways to end a connection: close, linger, or reset.

use std::io;

use super::action::Action;
use super::connections::{Phase, Slot};
use super::multiplexed::OpenStream;
use super::state::State;
use crate::net::arena::ConnectionId;
use crate::net::read_buffer::ReadBuffer;
use crate::net::shutdown::Shutdown;
use crate::net::transport::Transport;
use crate::net::tuning::{DRAIN_LINGER_TIMEOUT, LINGER_BYTES, LINGER_TIMEOUT, MAX_READ_PER_TURN};

/// Shuts down the sending side and waits for the client's end, so that late input causes no reset.
pub(super) fn linger(state: &mut State, id: ConnectionId) -> Action {
    let Some(slot) = state.connections.get_mut(id) else { return Action::Wait };
    let transport = slot.write_half.transport();
    let is_quiet = match &slot.phase {
        Phase::Reading(connection) | Phase::Sending(connection) => {
            let http = &connection.http;
            !http.is_rejected() && !http.wants_content() && !connection.has_input()
        }
        _ => false,
    };
    // Checked before the shutdown: later bytes have crossed it.
    let is_short = is_quiet
        && state.shutdown >= Shutdown::Yielding
        && !discard_unread(transport, &mut state.read_buffer);
    if transport.shutdown_write().is_err() {
        return Action::Close;
    }
    slot.phase = Phase::Lingering { since: state.now, bytes_left: LINGER_BYTES, is_quiet };
    let timeout = if is_short { DRAIN_LINGER_TIMEOUT } else { LINGER_TIMEOUT };
    state.timers.set(id, &mut slot.deadline, Some(state.now + timeout));
    discard_more(state, id)
}

/// Discards input on a lingering connection, until its end or the limit. A client that sends faster
/// than that is continued with in the next turn.
pub(super) fn discard_more(state: &mut State, id: ConnectionId) -> Action {
    let Some(slot) = state.connections.get_mut(id) else { return Action::Wait };
    let Phase::Lingering { bytes_left, .. } = &mut slot.phase else { return Action::Wait };
    let end_of_turn = bytes_left.saturating_sub(MAX_READ_PER_TURN);
    while *bytes_left > end_of_turn {
        match slot.write_half.transport().append_to(state.read_buffer.empty()) {
            Ok(count) if count > 0 && count < *bytes_left => *bytes_left -= count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Action::Wait,
            _ => return Action::Close,
        }
    }
    slot.reschedule(id, &mut state.run_queue);
    Action::Wait
}

/// The server begins to drain or yield while this connection lingers: shortens the wait, unless the
/// client is known to be sending.
pub(super) fn shorten_linger(state: &mut State, id: ConnectionId) {
    if state.shutdown >= Shutdown::Yielding
        && let Some(slot) = state.connections.get_mut(id)
        && matches!(slot.phase, Phase::Lingering { bytes_left: LINGER_BYTES, is_quiet: true, .. })
    {
        let due = state.now + DRAIN_LINGER_TIMEOUT;
        state.timers.bring_forward(id, &mut slot.deadline, due);
    }
}

/// Discards unread input; true if there was any.
pub(super) fn discard_unread(transport: &Transport, buffer: &mut ReadBuffer) -> bool {
    matches!(transport.append_to(buffer.empty()), Ok(1..))
}

/// Resets the connection: its response was aborted, and an ordinary close would look like the end
/// of a response without a length. Undelivered bytes of earlier responses are lost too, because no
/// event reports that the kernel's queue is empty. Only HTTP/1.0 clients that pipeline are
/// affected.
pub(super) fn reset(state: &mut State, id: ConnectionId) {
    if let Some(slot) = state.connections.get(id) {
        slot.write_half.transport().reset();
    }
    release(state, id);
}

/// Closes at once.
pub(super) fn close(state: &mut State, id: ConnectionId) {
    if let Some(slot) = state.connections.get(id) {
        slot.write_half.transport().shutdown();
    }
    release(state, id);
}

/// The client has reset a stream of HTTP/2, or its connection is lost. The thread that runs the
/// request sees the failure, and returns it.
pub(super) fn lose_stream(state: &mut State, open: &OpenStream) {
    open.stream.cancel();
    match state.connections.get_mut(open.id) {
        Some(Slot {
            phase: Phase::Lent { client_disconnected, read_half, .. },
            write_half,
            ..
        }) => {
            *client_disconnected = true;
            write_half.fail();
            if let Some(read_half) = read_half {
                read_half.disconnect();
            }
        }
        Some(_) => release(state, open.id),
        None => {}
    }
}

/// Frees the slot. This drops the last reference to the socket, which also unregisters it, unless
/// another process has it too.
pub(super) fn release(state: &mut State, id: ConnectionId) {
    let slot = state.connections.remove(id);
    state.admission.resume();
    state.large.end(id);
    if let Some(slot) = slot {
        if slot.is_stream() {
            state.streams -= 1;
        } else if let Phase::Http2(Some(http2)) = slot.phase {
            http2.streams.iter().for_each(|open| lose_stream(state, open));
        }
    }
    let connections = &state.connections;
    state.timers.compact(connections.len(), |(due, id)| {
        connections.get(*id).is_some_and(|slot| slot.deadline.is_filed_under(*due))
    });
}
