//! Sessions whose deadline has passed, and those that are closed for other connections.

use super::drive::{drive, send};
use super::end::deadline;
use crate::net::arena::ConnectionId;
use crate::net::http2::Found;
use crate::net::poller::action::Action;
use crate::net::poller::connections::Phase;
use crate::net::poller::state::State;
use crate::net::poller::write::report_slow_client;
use crate::observe::Count;

/// The deadline of a session has passed. Drives it once more first: an event may be late.
pub(in crate::net::poller) fn on_deadline(state: &mut State, id: ConnectionId) -> Action {
    if let Some(slot) = state.connections.get_mut(id) {
        slot.is_readable = true;
    }
    match drive(state, id) {
        Action::Wait => {}
        action => return action,
    }
    let Some(slot) = state.connections.get(id) else { return Action::Wait };
    let Phase::Http2(Some(http2)) = &slot.phase else { return Action::Wait };
    if deadline(state, http2).is_none_or(|due| due > state.now) {
        return Action::Wait;
    }
    if let Some((_, kind)) = http2.connection.write_half.deadline((&state.settings.timeouts).into())
        && http2.connection.write_half.has_waiting()
    {
        report_slow_client(state, &http2.connection, kind);
        return Action::Reset;
    }
    end_idle(state, id)
}

/// A session has been idle for too long, or its client does not leave: GOAWAY, then the close.
fn end_idle(state: &mut State, id: ConnectionId) -> Action {
    let Some(slot) = state.connections.get_mut(id) else { return Action::Wait };
    let Phase::Http2(Some(http2)) = &mut slot.phase else { return Action::Wait };
    if http2.leaving_since.is_none() {
        let count = if http2.has_served { Count::KeepAlive } else { Count::HeaderTimeout };
        state.link.counters.increment_and_take_report(count);
    }
    http2.leaving_since = Some(state.now);
    http2.session.close();
    Action::DriveHttp2
}

/// An idle session is closed for another connection: announces it, if the socket takes that at
/// once.
#[cold]
pub(in crate::net::poller) fn announce_close(state: &mut State, id: ConnectionId) {
    let Some(slot) = state.connections.get_mut(id) else { return };
    let Phase::Http2(Some(http2)) = &mut slot.phase else { return };
    http2.session.close();
    while let Found::Request(new) = http2.session.poll() {
        new.stream.refuse();
    }
    let _ = send(http2);
}
