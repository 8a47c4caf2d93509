//! Sends responses, and decides what follows once one is sent.

use std::io;

use log::{error, info};

use super::action::Action;
use super::close::discard_unread;
use super::connections::Phase;
use super::load::load_part;
use super::read;
use super::state::State;
use crate::http1::Next;
use crate::net::arena::ConnectionId;
use crate::net::connection::Connection;
use crate::net::output_queue::Flush;
use crate::net::shutdown::Shutdown;
use crate::net::tuning::LARGE_RESPONSE;
use crate::net::write_half::REQUEST_ABORTED;
use crate::net::write_pace::READ_TOO_SLOWLY;
use crate::observe::{Count, counted};

/// A worker thread has returned a connection: sends its response.
pub(super) fn on_returned(state: &mut State, mut connection: Box<Connection>) -> Action {
    connection.end_reading();
    if connection.queue.size() >= LARGE_RESPONSE && connection.is_client_local() {
        return on_large(state, connection);
    }
    let sent = connection.send();
    on_sent(state, connection, sent)
}

/// A large response to a client on the same machine is complete: writes it, or lets it wait until
/// others are written. It does not wait if memory is short.
fn on_large(state: &mut State, mut connection: Box<Connection>) -> Action {
    let id = connection.id;
    if let Some(slot) = state.connections.get_mut(id)
        && !std::mem::replace(&mut slot.has_local_send_buffer, true)
    {
        // Once, because each time an event would report that the socket is writable.
        connection.write_half.transport().limit_send_buffer();
    }
    let may_write =
        state.link.memory_budget.is_over_soft_limit() || state.large.begin_or_wait(id, state.now);
    if may_write {
        let sent = connection.send();
        return on_sent(state, connection, sent);
    }
    let kept = connection.keep().map(|()| Flush::Blocked);
    let action = on_sent(state, connection, kept);
    if let Some(slot) = state.connections.get_mut(id) {
        slot.is_waiting = true;
        // The deadlines of the client do not apply.
        state.timers.set(id, &mut slot.deadline, None);
    }
    action
}

/// Sends more of a response that the socket did not accept at once.
pub(super) fn flush(state: &mut State, id: ConnectionId) -> Action {
    if state.connections.get(id).is_some_and(|slot| slot.is_loading || slot.is_waiting) {
        return on_event_while_waiting(state, id);
    }
    match state.lend(id) {
        Some(connection) => {
            let sent = connection.write_half.flush_resident();
            on_sent(state, connection, sent)
        }
        None => Action::Wait,
    }
}

/// An event of a connection that waits for a disk or for other responses: closes it if its client
/// has disconnected, so that a slow disk does not hold its slot.
#[cold]
fn on_event_while_waiting(state: &mut State, id: ConnectionId) -> Action {
    let Some(slot) = state.connections.get(id) else { return Action::Wait };
    let Phase::Sending(connection) = &slot.phase else { return Action::Wait };
    let write_half = &slot.write_half;
    if write_half.transport().is_lost() {
        write_half.fail();
    }
    if !write_half.has_failed() {
        return Action::Wait;
    }
    on_write_error(state, connection, &io::ErrorKind::BrokenPipe.into());
    Action::Reset
}

/// A response, or part of it, was sent.
pub(super) fn on_sent(
    state: &mut State,
    connection: Box<Connection>,
    sent: io::Result<Flush>,
) -> Action {
    if matches!(sent, Ok(Flush::Done)) {
        return finish_exchange(state, connection);
    }
    let id = connection.id;
    let Some(slot) = state.connections.get_mut(id) else { return Action::Wait };
    let action = match sent {
        Ok(flush) => {
            let deadline = slot.write_half.deadline((&state.settings.timeouts).into());
            state.timers.set(id, &mut slot.deadline, deadline.map(|(due, _)| due));
            match flush {
                Flush::More => slot.reschedule(id, &mut state.run_queue),
                Flush::Cold => load_part(state, id),
                Flush::Done | Flush::Blocked => {}
            }
            Action::Wait
        }
        Err(error) => {
            on_write_error(state, &connection, &error);
            Action::Reset
        }
    };
    if let Some(slot) = state.connections.get_mut(id) {
        slot.phase = Phase::Sending(connection);
    }
    action
}

#[cold]
fn on_write_error(state: &State, connection: &Connection, error: &io::Error) {
    let _scope = connection.enter_scope();
    let (client, request) = (connection.describe_client(), connection.http.head());
    match error.kind() {
        // It has closed after the last byte, while the application finished its request.
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            if !connection.write_half.has_discarded() => {}
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => info!(
            target: "response.client_disconnected",
            "The client {client} disconnected before its response was complete: {request}"
        ),
        kind @ (io::ErrorKind::TimedOut | READ_TOO_SLOWLY) => {
            report_slow_client(state, connection, kind);
        }
        // `worker::watch` has logged it.
        REQUEST_ABORTED => {}
        _ => error!(
            target: "response.failed",
            "Cannot send a response to the client {client}, {error}: {request}"
        ),
    }
}

/// Counts and logs a client that reads too slowly, with the error of its response; the caller
/// resets the connection.
pub(super) fn report_slow_client(state: &State, connection: &Connection, kind: io::ErrorKind) {
    let _scope = connection.enter_scope();
    let (client, request) = (connection.describe_client(), connection.http.head());
    if kind == READ_TOO_SLOWLY {
        if let Some(count) = state.link.counters.increment_and_take_report(Count::WriteRate) {
            info!(
                target: "response.slow",
                "Reset {} that read more slowly than --write-min-rate, the last one of {client}: \
                 {request}",
                counted(count, "connection")
            );
        }
        return;
    }
    state.link.counters.increment_and_take_report(Count::WriteTimeout);
    info!(
        target: "response.timeout",
        "The client {client} has read nothing of its response for --write-timeout, resetting the \
         connection: {request}"
    );
}

/// The whole response was sent: starts the next request, or ends the connection.
fn finish_exchange(state: &mut State, mut connection: Box<Connection>) -> Action {
    state.response_buffers.take_back(&mut connection);
    state.large.end(connection.id);
    let Some(slot) = state.connections.get_mut(connection.id) else { return Action::Wait };
    match connection.start_next(state.now) {
        Next::Request => {
            // Before an idle connection is closed, a request that has arrived already is served,
            // though no event has reported it.
            slot.is_readable |= state.shutdown >= Shutdown::Yielding;
            let mut action = None;
            if connection.has_input() {
                let parsed = connection.resume(state.settings.body_buffer, state.now);
                action = read::on_parsed(&mut connection, parsed);
            }
            slot.phase = Phase::Reading(connection);
            action.unwrap_or(Action::Read)
        }
        Next::Reset if !slot.is_stream() => {
            slot.phase = Phase::Sending(connection);
            Action::Reset
        }
        // A stream can end with a reset behind the bytes that were sent.
        Next::Close | Next::Reset => {
            if connection.http.is_cut_short() {
                connection.write_half.transport().omit_announcement();
            }
            if slot.is_stream() {
                connection.write_half.transport().end_stream();
                slot.phase = Phase::Sending(connection);
                return Action::Close;
            }
            // A client that sent `Connection: close` sends nothing more. One that does, between
            // this check and the close, may see a reset: to linger would cost all others an event
            // and a turn. [RFC 9112 section 9.6]
            let is_last = connection.http.client_wants_close() && !connection.has_input();
            let is_done = is_last
                && !discard_unread(connection.write_half.transport(), &mut state.read_buffer);
            slot.phase = Phase::Sending(connection);
            if is_done { Action::Close } else { Action::Linger }
        }
    }
}
