//! Records readiness events of connections.

use mio::event::Event;

use super::connections::Phase;
use super::relay;
use super::run::proceed;
use super::state::State;
use crate::net::arena::ConnectionId;

/// Records an event of a connection, and continues with the connection unless it is lent.
pub(super) fn on_event(state: &mut State, token: usize, event: &Event) {
    let id = ConnectionId::from_token(token);
    if ConnectionId::is_relay(token) {
        relay::on_event(state, id, event);
        return proceed(state, id);
    }
    let Some(slot) = state.connections.get_mut(id) else { return };
    if event.is_read_closed() {
        slot.on_half_close(state.last_poll);
    }
    let is_readable = event.is_readable() || event.is_read_closed() || event.is_error();
    slot.is_readable |= is_readable;
    if is_readable && let Phase::Lent { read_half: Some(read_half), .. } = &slot.phase {
        read_half.on_readable();
    }
    if !matches!(slot.phase, Phase::Lent { .. }) {
        proceed(state, id);
    } else if event.is_error() || (event.is_write_closed() && event.is_read_closed()) {
        slot.write_half.fail();
    } else if event.is_writable() {
        proceed(state, id);
    }
}
