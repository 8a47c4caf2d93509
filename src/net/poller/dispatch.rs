//! Lending: a complete request goes to a worker thread, and its connection with it, unless the
//! poller answers it itself with a static file.

use super::action::Action;
use super::connections::Phase;
use super::evict::relieve_memory;
use super::health;
use super::http2;
use super::redirect::redirect;
use super::state::State;
use super::static_files;
use crate::http1::{self, Underscores};
use crate::net::arena::ConnectionId;
use crate::net::connection::{Connection, Lent, Rejection};
use crate::net::shutdown::Shutdown;

/// Lends a connection whose request is complete to a worker thread, unless memory is short: then
/// returns what to do instead.
pub(super) fn dispatch(state: &mut State, id: ConnectionId) -> Result<Lent, Action> {
    if state.link.memory_budget.is_over_hard_limit() && !relieve_memory(state) {
        return Err(Action::Reject(Box::new(Rejection::Memory)));
    }
    if state.settings.http2.cleartext.has_upgrade()
        && let Some(request) = http2::asks_for_http2(state, id)
    {
        return Err(http2::upgrade(state, id, request));
    }
    // It may have been closed to free memory.
    let Some(slot) = state.connections.get_mut(id) else { return Err(Action::Wait) };
    if let Phase::Reading(connection) = &slot.phase
        && let Some(port) = connection.local.redirect_port
    {
        return Err(redirect(state, id, port));
    }
    if health::is_check(&state.settings, &slot.phase) {
        return Err(health::answer(state, id));
    }
    let is_refused = |connection: &Connection| {
        let mut underscored = connection.http.head().underscored();
        state.settings.limits.underscores == Underscores::Refuse
            && underscored.any(|(name, _)| !state.settings.is_forwarder_header(name))
    };
    if matches!(&slot.phase, Phase::Reading(connection) if is_refused(connection)) {
        let error = http1::Error::Underscore;
        return Err(Action::Reject(Box::new(Rejection::Protocol(error))));
    }
    let Some(mut connection) = slot.lend(state.now) else { return Err(Action::Wait) };
    state.response_buffers.give(&mut connection);
    state.timers.set(id, &mut slot.deadline, None);
    let is_shutting_down = state.shutdown != Shutdown::Serving;
    if is_shutting_down || state.settings.timeouts.keep_alive.is_zero() {
        connection.http.close_after_response();
    }
    let connection = static_files::answer(state, connection)?;
    Ok(lend_to_thread(state, connection))
}

/// Prepares a connection, which was taken out of its slot, for a worker thread.
pub(super) fn lend_to_thread(state: &mut State, mut connection: Box<Connection>) -> Lent {
    if let Some(half) = connection.begin_reading(&state.settings)
        && let Some(slot) = state.connections.get_mut(connection.id)
        && let Phase::Lent { read_half, .. } = &mut slot.phase
    {
        *read_half = Some(half);
    }
    connection
}
