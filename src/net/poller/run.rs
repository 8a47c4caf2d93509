//! Carries out the actions that the steps return, until there is none.

use super::action::Action;
use super::close::{close, discard_more, linger, reset};
use super::connections::Phase;
use super::dispatch::dispatch;
use super::read::read;
use super::respond::reject_request;
use super::state::State;
use super::write::flush;
use crate::net::arena::ConnectionId;
use crate::net::output_queue::Flush;

/// Carries out an action and the actions that follow from it.
pub(super) fn run(state: &mut State, id: ConnectionId, mut action: Action) {
    loop {
        action = match action {
            Action::Wait => return,
            Action::Read => read(state, id),
            Action::Dispatch => match dispatch(state, id) {
                Ok(connection) => return state.ready.push(connection),
                Err(action) => action,
            },
            Action::Reject(rejection) => match state.lend(id) {
                Some(connection) => reject_request(state, connection, &rejection),
                None => return,
            },
            Action::Linger => linger(state, id),
            Action::Close => return close(state, id),
            Action::Reset => return reset(state, id),
        };
    }
}

/// Continues as the connection's phase requires.
pub(super) fn proceed(state: &mut State, id: ConnectionId) {
    let Some(slot) = state.connections.get(id) else { return };
    let action = match &slot.phase {
        Phase::Reading(_) => {
            // A 100 Continue that the socket did not take.
            if slot.write_half.has_waiting() && slot.write_half.flush().is_err() {
                Action::Reset
            } else {
                Action::Read
            }
        }
        Phase::Lent { .. } => {
            // Part of a streamed response. The write half is flushed even if it looks empty: that
            // may be out of date while another thread is sending, and this event would be lost.
            if matches!(slot.write_half.flush(), Ok(Flush::More)) {
                state.reschedule(id);
            }
            Action::Wait
        }
        Phase::Sending(_) => flush(state, id),
        Phase::Lingering { .. } => discard_more(state, id),
    };
    run(state, id, action);
}
