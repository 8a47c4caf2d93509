//! Reads until a request is complete or rejected, or its client has disconnected.

use std::io;

use log::debug;

use super::action::Action;
use super::connections::Phase;
use super::handshake;
use super::proxy_header::{self, Context};
use super::state::State;
use crate::config::Settings;
use crate::net::arena::ConnectionId;
use crate::net::connection::{Connection, Parsed};
use crate::net::proxied::Preamble;
use crate::net::shutdown::Shutdown;
use crate::net::tuning::{
    DRAIN_FIRST_REQUEST_TIMEOUT, MAX_READ_PER_TURN, YIELD_FIRST_REQUEST_TIMEOUT,
};
use crate::sys::clock::Moment;

/// Reads and parses what has arrived, within the limit of one turn.
pub(super) fn read(state: &mut State, id: ConnectionId) -> Action {
    let Some(slot) = state.connections.get_mut(id) else { return Action::Wait };
    let Phase::Reading(connection) = &mut slot.phase else { return Action::Wait };
    if connection.preamble != Preamble::Done {
        let context = Context {
            settings: &state.settings,
            link: &state.link,
            buffer: state.read_buffer.empty(),
            is_half_closed: slot.is_half_closed,
        };
        let is_required = connection.preamble == Preamble::Required;
        match proxy_header::receive(connection, slot.write_half.transport(), context) {
            // The client has the time for its handshake from now on.
            Ok(true) if is_required && connection.is_handshaking => {
                connection.waiting_since = state.now;
            }
            Ok(may_read) => slot.is_readable &= may_read,
            Err(action) => return action,
        }
    }
    let mut total = 0;
    while slot.is_readable {
        let body = connection.body_to_fill(state.settings.body_buffer);
        let is_body = body.is_some();
        let target = body.unwrap_or_else(|| state.read_buffer.empty());
        let count = match slot.write_half.transport().append_to(target) {
            Ok(0) => {
                if connection.is_handshaking {
                    return handshake::on_end(connection, &state.link);
                }
                if !connection.http.is_idle() || connection.has_input() {
                    debug!(
                        "The client {} disconnected before its request was complete",
                        connection.describe_client()
                    );
                }
                return Action::Close;
            }
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                slot.is_readable = false;
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if connection.is_handshaking => {
                return handshake::on_error(connection, &state.link, &error);
            }
            Err(error) => {
                debug!("{}: {error}", connection.peer.address());
                return Action::Close;
            }
        };
        // A short read has emptied the socket: the next byte causes a new event.
        slot.is_readable = target.len() == target.capacity()
            || slot.is_half_closed
            || slot.write_half.transport().has_more();
        if connection.is_handshaking {
            handshake::on_complete(connection, state.now);
            if slot.write_half.transport().has_chosen_http2() {
                connection.input.extend_from_slice(state.read_buffer.filled());
                return Action::BeginHttp2;
            }
        }
        let parsed = if is_body {
            connection.feed_body(count, state.settings.body_buffer, state.now)
        } else {
            connection.feed(state.read_buffer.filled(), state.settings.body_buffer, state.now)
        };
        if let Some(action) = on_parsed(connection, parsed) {
            return action;
        }
        total += count;
        if total >= MAX_READ_PER_TURN && slot.is_readable {
            slot.reschedule(id, &mut state.run_queue);
            break;
        }
    }
    let Phase::Reading(connection) = &mut slot.phase else { return Action::Wait };
    if connection.is_handshaking && !slot.write_half.transport().is_handshaking() {
        handshake::on_complete(connection, state.now);
        if slot.write_half.transport().has_chosen_http2() {
            return Action::BeginHttp2;
        }
    }
    let mut due = connection.read_deadline(&state.settings.timeouts);
    if state.shutdown >= Shutdown::Yielding && connection.http.is_idle() {
        match end_idle(connection, state.shutdown, &state.settings, state.now) {
            Ok(last) => due = due.into_iter().chain(last).min(),
            Err(action) => return action,
        }
    }
    state.timers.set(id, &mut slot.deadline, due);
    Action::Wait
}

/// Until when an idle connection may still make a request, or the action that ends it now, while
/// the server drains or yields.
#[cold]
fn end_idle(
    connection: &Connection,
    shutdown: Shutdown,
    settings: &Settings,
    now: Moment,
) -> Result<Option<Moment>, Action> {
    // A developer waits for the successor, and a browser repeats a request that is reset.
    let is_urgent = shutdown == Shutdown::Yielding && settings.processes.watch.is_some();
    match (connection.is_kept_alive(), is_urgent) {
        (true, true) => Err(Action::Close),
        (true, false) => Err(Action::Linger),
        (false, true) => {
            let since = (!connection.has_input()).then(|| connection.waiting().since);
            let last = since.map(|since| since + YIELD_FIRST_REQUEST_TIMEOUT);
            if last.is_some_and(|last| last <= now) { Err(Action::Close) } else { Ok(last) }
        }
        (false, false) => Ok(Some(now + DRAIN_FIRST_REQUEST_TIMEOUT)),
    }
}

/// The action that follows from parsed bytes; `None` to keep reading.
pub(super) fn on_parsed(connection: &mut Connection, parsed: Parsed) -> Option<Action> {
    match parsed {
        Parsed::NeedMore => {
            // A 100 Continue, if anything.
            let is_sent = connection.queue.is_empty()
                || connection.write_half.send(&mut connection.queue).is_ok();
            if is_sent { None } else { Some(Action::Close) }
        }
        Parsed::Complete => Some(Action::Dispatch),
        Parsed::Rejected(rejection) => Some(Action::Reject(rejection)),
    }
}
