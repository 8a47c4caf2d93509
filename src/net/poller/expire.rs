//! Handles connections whose deadline has passed.

use super::action::Action;
use super::connections::Phase;
use super::respond::{ErrorResponse, respond};
use super::state::State;
use super::write::report_slow_client;
use super::{handshake, http2, read, relay, write};
use crate::net::arena::ConnectionId;
#[cfg(doc)]
use crate::net::write_half::WriteHalf;
use crate::observe::Count;

/// Takes the next connection whose deadline has passed.
pub(super) fn next_due(state: &mut State) -> Option<ConnectionId> {
    while let Some(entry) = state.timers.pop(state.now) {
        let id = entry.1;
        if let Some(slot) = state.connections.get_mut(id)
            && state.timers.is_due(entry, &mut slot.deadline, state.now)
        {
            return Some(id);
        }
    }
    None
}

/// The deadline of a connection has passed.
pub(super) fn on_deadline(state: &mut State, id: ConnectionId) -> Action {
    match state.connections.get(id).map(|slot| &slot.phase) {
        Some(Phase::Reading(_)) => on_read_deadline(state, id),
        Some(Phase::Sending(_)) => on_write_deadline(state, id),
        Some(Phase::Relaying(_)) => relay::on_deadline(state, id),
        Some(Phase::Lingering { .. }) => Action::Close,
        Some(Phase::Http2(_)) => http2::on_deadline(state, id),
        Some(Phase::Lent { .. }) | None => Action::Wait,
    }
}

/// The client seems to have read too slowly. Flushes first, as the socket may accept bytes now: see
/// [`WriteHalf::progress`].
fn on_write_deadline(state: &mut State, id: ConnectionId) -> Action {
    let action = write::flush(state, id);
    if let Action::Wait = action
        && let Some(slot) = state.connections.get(id)
        && let Phase::Sending(connection) = &slot.phase
        && let Some((due, kind)) = slot.write_half.deadline((&state.settings.timeouts).into())
        && due <= state.now
    {
        report_slow_client(state, connection, kind);
        return Action::Reset;
    }
    action
}

/// The request has not arrived in time. Reads once more before giving up: a poll returns a limited
/// number of events, and a process that was suspended finds all its connections overdue.
fn on_read_deadline(state: &mut State, id: ConnectionId) -> Action {
    if let Some(slot) = state.connections.get_mut(id) {
        slot.is_readable = true;
    }
    match read::read(state, id) {
        Action::Wait => {}
        action => return action,
    }
    let Some(slot) = state.connections.get(id) else { return Action::Wait };
    let Phase::Reading(connection) = &slot.phase else { return Action::Wait };
    if connection.is_in_handshake() {
        return handshake::on_timeout(connection, &state.link);
    }
    if connection.http.is_idle() {
        return on_idle_timeout(state, connection.is_kept_alive());
    }
    let due = connection.read_deadline(&state.settings.timeouts);
    if due.is_none_or(|due| due > state.now) {
        return Action::Wait;
    }
    let (part, count) = match connection.http.wants_content() {
        true => ("content", Count::BodyTimeout),
        false => ("head", Count::HeaderTimeout),
    };
    state.link.counters.increment_and_take_report(count);
    let response = ErrorResponse::timeout(format!("the request {part} did not arrive in time"));
    match state.lend(id) {
        Some(connection) => respond(state, connection, &response),
        None => Action::Wait,
    }
}

/// A connection has been idle for too long. A kept-alive client may be sending its next request at
/// this moment. It lingers, because HAProxy repeats a request after a regular close, but not after
/// a reset.
fn on_idle_timeout(state: &State, is_kept_alive: bool) -> Action {
    if is_kept_alive {
        state.link.counters.increment_and_take_report(Count::KeepAlive);
        Action::Linger
    } else {
        state.link.counters.increment_and_take_report(Count::HeaderTimeout);
        Action::Close
    }
}
