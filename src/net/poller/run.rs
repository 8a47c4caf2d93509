//! Carries out the actions that the steps return, until there is none.

use super::action::Action;
use super::close::{close, discard_more, linger, reset};
use super::connections::Phase;
use super::dispatch::dispatch;
use super::http2;
use super::read::read;
use super::relay::relay;
use super::respond::reject_request;
use super::state::State;
use super::write::flush;
use crate::net::arena::ConnectionId;
use crate::net::output_queue::Flush;
use crate::net::tuning::MAX_STATIC_PER_TURN;

/// Carries out an action and the actions that follow from it.
pub(super) fn run(state: &mut State, id: ConnectionId, mut action: Action) {
    let mut answered = 0;
    loop {
        action = match action {
            Action::Wait => return,
            Action::Read => read(state, id),
            Action::BeginHttp2 => http2::begin(state, id),
            Action::DriveHttp2 => {
                let action = http2::drive(state, id);
                run_streams(state);
                action
            }
            // A client that pipelines requests for static files must not keep the poller busy.
            Action::Dispatch if answered == MAX_STATIC_PER_TURN => return state.reschedule(id),
            Action::Dispatch => match dispatch(state, id) {
                Ok(connection) => return state.ready.push(connection),
                Err(action) => {
                    answered += 1;
                    action
                }
            },
            Action::Reject(rejection) if http2::is_preface(state, id, &rejection) => {
                Action::BeginHttp2
            }
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

/// Carries out what a session of HTTP/2 has found for its streams.
#[cold]
fn run_streams(state: &mut State) {
    for (id, action) in std::mem::take(&mut state.stream_actions) {
        match action {
            Some(action) => run(state, id, action),
            None => proceed(state, id),
        }
    }
}

/// Drives the sessions of HTTP/2 that have something to send.
#[inline]
pub(super) fn drive_sessions(state: &mut State) {
    if state.link.has_sessions() {
        drive_scheduled(state);
    }
}

fn drive_scheduled(state: &mut State) {
    for id in state.link.take_sessions() {
        if http2::is_woken(state, id) {
            run(state, id, Action::DriveHttp2);
        }
    }
}

/// Has each session of HTTP/2 take no further stream.
#[cold]
pub(super) fn end_sessions(state: &mut State) {
    for id in state.connections.ids() {
        if http2::leave(state, id) {
            run(state, id, Action::DriveHttp2);
        }
    }
}

/// Writes the large responses that need not wait any more.
pub(super) fn write_waiting(state: &mut State) {
    while let Some(id) = state.large.next(state.now) {
        if let Some(slot) = state.connections.get_mut(id) {
            slot.is_waiting = false;
            let action = flush(state, id);
            run(state, id, action);
        } else {
            state.large.end(id);
        }
    }
}

/// Continues as the connection's phase requires.
pub(super) fn proceed(state: &mut State, id: ConnectionId) {
    let Some(slot) = state.connections.get(id) else { return };
    let action = match &slot.phase {
        Phase::Reading(connection) if connection.http.awaits_response() => Action::Dispatch,
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
        Phase::Http2(_) => Action::DriveHttp2,
        Phase::Sending(_) => flush(state, id),
        Phase::Relaying(_) => relay(state, id),
        Phase::Lingering { .. } => discard_more(state, id),
    };
    run(state, id, action);
}
