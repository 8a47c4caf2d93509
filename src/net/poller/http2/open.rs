//! Opens the streams of a session: each gets a slot like a connection, with its request.

use std::sync::Arc;

use crate::net::connection::{Connection, Parsed, Rejection};
use crate::net::http2::{NewStream, interim};
use crate::net::poller::action::Action;
use crate::net::poller::connections::{Phase, Slot};
use crate::net::poller::multiplexed::{Multiplexed, OpenStream};
use crate::net::poller::state::State;
use crate::net::transport::Transport;
use crate::net::write_half::WriteHalf;
use crate::observe::Count;

/// Opens a stream whose head has arrived.
pub(super) fn open_stream(state: &mut State, http2: &mut Multiplexed, new: NewStream) {
    let NewStream { head, mut content, stream } = new;
    // Requests that were reset while they run count, too: their threads are still busy.
    let limit = 2 * state.settings.http2.max_concurrent_streams as usize;
    if http2.streams.len() >= limit {
        http2.streams.retain(|open| state.connections.get(open.id).is_some());
    }
    if http2.streams.len() >= limit {
        state.link.counters.increment_and_take_report(Count::Http2Refused);
        return stream.refuse();
    }
    let transport = Transport::Stream(stream.clone());
    let write_half = Arc::new(WriteHalf::new(transport, state.link.memory_budget.clone()));
    let (settings, now) = (&state.settings, state.now);
    let id = state.connections.insert_with(|id| {
        let connection =
            Connection::for_stream(id, write_half.clone(), &http2.connection, settings, now);
        Slot::of_stream(connection, write_half)
    });
    state.streams += 1;
    http2.has_served = true;
    let Some(slot) = state.connections.get_mut(id) else { return };
    let Phase::Reading(connection) = &mut slot.phase else { return };
    let parsed = match &head {
        Ok(head) => connection.receive_stream_head(head, content.is_some(), settings.body_buffer),
        Err(error) => Rejection::Protocol(*error).into(),
    };
    let mut leaves_content = false;
    let action = match parsed {
        Parsed::NeedMore => {
            if connection.expects_continue() {
                stream.send_interim(interim(b"HTTP/1.1 100 Continue\r\n\r\n"));
            }
            let due = connection.read_deadline(&settings.timeouts);
            state.timers.set(id, &mut slot.deadline, due);
            None
        }
        Parsed::Complete => {
            leaves_content = connection.leaves_content();
            if leaves_content && let Some(content) = content.take() {
                stream.leave_content(content);
            }
            Some(Action::Dispatch)
        }
        Parsed::Rejected(rejection) => {
            content = None;
            Some(Action::Reject(rejection))
        }
    };
    if let Some(action) = action {
        state.stream_actions.push((id, Some(action)));
    }
    http2.streams.push(OpenStream { id, stream, content, has_begun: false, leaves_content });
}
