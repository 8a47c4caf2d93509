//! Continues with the open streams of a session: receives their content, notices their resets, and
//! lets those send again that waited for flow control, for other streams, or for the socket.

use crate::net::connection::Parsed;
use crate::net::http2::Received;
use crate::net::poller::action::Action;
use crate::net::poller::close::lose_stream;
use crate::net::poller::connections::{Phase, Slot};
use crate::net::poller::multiplexed::{Multiplexed, OpenStream};
use crate::net::poller::state::State;

/// Continues with the streams for which there is something to do. Those whose slots are free have
/// ended.
pub(super) fn proceed_streams(state: &mut State, http2: &mut Multiplexed) {
    let Multiplexed { session, streams, idle_since, unread_bytes, .. } = http2;
    let has_reset = session.take_has_reset();
    let has_ack = session.take_has_ack();
    let first_waiting = session.shared().take_resumable();
    let first_action = state.stream_actions.len();
    // Actions of streams that have had their turn, while others waited.
    let mut had_turn = 0;
    let before = streams.len();
    *unread_bytes = 0;
    streams.retain_mut(|open| {
        let Some(slot) = state.connections.get(open.id) else { return false };
        if has_reset && session.is_reset(&open.stream) {
            lose_stream(state, open);
            return state.connections.get(open.id).is_some();
        }
        let is_new = !std::mem::replace(&mut open.has_begun, true);
        let has_signal = open.stream.take_signal();
        if open.leaves_content {
            if (has_signal || is_new) && !open.stream.receive_left() {
                lose_stream(state, open);
                return state.connections.get(open.id).is_some();
            }
            if has_signal && let Phase::Lent { read_half: Some(read_half), .. } = &slot.phase {
                read_half.on_readable();
            }
            *unread_bytes += open.stream.unread_bytes();
        }
        if has_ack {
            match &mut open.content {
                Some(content) => content.announce_window(),
                None => open.stream.announce_window(),
            }
        }
        let is_resumed = has_signal || first_waiting.is_some();
        if is_resumed && open.stream.is_blocked() {
            state.stream_actions.push((open.id, None));
        }
        if has_signal || is_new {
            receive(state, open);
        }
        if first_waiting.is_some_and(|number| open.stream.number() < number) {
            had_turn = state.stream_actions.len() - first_action;
        }
        true
    });
    state.stream_actions[first_action..].rotate_left(had_turn);
    if before > 0 && streams.is_empty() {
        *idle_since = state.now;
    }
}

/// Receives what has arrived of a stream's content.
fn receive(state: &mut State, open: &mut OpenStream) {
    while let Some(content) = &mut open.content {
        let received = open.stream.receive(content);
        let Some(slot) = state.connections.get_mut(open.id) else { return };
        // A request that was rejected has its response already: the rest is not read.
        let Slot { phase: Phase::Reading(connection), deadline, .. } = slot else {
            open.content = None;
            return;
        };
        let body_buffer = state.settings.body_buffer;
        let parsed = match received {
            Received::Nothing => return,
            Received::Lost => {
                open.content = None;
                return lose_stream(state, open);
            }
            Received::End => {
                open.content = None;
                connection.end_stream_content(body_buffer, state.now)
            }
            Received::Bytes(bytes) => {
                let buffer = state.read_buffer.empty();
                buffer.extend_from_slice(&bytes);
                let parsed = connection.feed(buffer, body_buffer, state.now);
                // Only now may the client send more.
                content.release(bytes.len());
                parsed
            }
        };
        let action = match parsed {
            Parsed::NeedMore => {
                let due = connection.read_deadline(&state.settings.timeouts);
                state.timers.set(open.id, deadline, due);
                continue;
            }
            Parsed::Complete => Action::Dispatch,
            Parsed::Rejected(rejection) => Action::Reject(rejection),
        };
        open.content = None;
        state.stream_actions.push((open.id, Some(action)));
    }
}
