//! Lending: a complete request goes to a worker thread, and its connection with it.

use super::action::Action;
use super::connections::Phase;
use super::evict::relieve_memory;
use super::state::State;
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
    // It may have been closed to free memory.
    let Some(slot) = state.connections.get_mut(id) else { return Err(Action::Wait) };
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
    let is_shutting_down = state.shutdown != Shutdown::Serving;
    if is_shutting_down || state.settings.timeouts.keep_alive.is_zero() {
        connection.http.close_after_response();
    }
    state.timers.set(id, &mut slot.deadline, None);
    Ok(connection)
}
