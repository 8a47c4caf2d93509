//! Lending: a complete request goes to a worker thread, and its connection with it.

use super::evict::relieve_memory;
use super::state::State;
use crate::net::arena::ConnectionId;
use crate::net::connection::{Lent, Refusal};
use crate::net::shutdown::Shutdown;

/// Lends a connection whose request is complete to a worker thread, unless memory is short; `None`
/// if the connection itself was closed to free some.
pub(super) fn dispatch(state: &mut State, id: ConnectionId) -> Result<Option<Lent>, Refusal> {
    if state.link.memory_budget.is_over_hard_limit() && !relieve_memory(state) {
        return Err(Refusal::Memory);
    }
    let Some(mut connection) = state.lend(id) else { return Ok(None) };
    let is_shutting_down = state.shutdown != Shutdown::Serving;
    if is_shutting_down || state.settings.timeouts.keep_alive.is_zero() {
        connection.http.close_after_response();
    }
    if let Some(slot) = state.connections.get_mut(id) {
        state.timers.set(id, &mut slot.deadline, None);
    }
    Ok(Some(connection))
}
