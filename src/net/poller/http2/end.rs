//! How sessions end, and when.

use std::io;

use log::{debug, info};

use crate::net::arena::ConnectionId;
use crate::net::http2::{Ending, Flood};
use crate::net::poller::action::Action;
use crate::net::poller::close::lose_stream;
use crate::net::poller::connections::Phase;
use crate::net::poller::multiplexed::Multiplexed;
use crate::net::poller::state::State;
use crate::net::tuning::HTTP2_GOAWAY_TIMEOUT;
use crate::observe::{Count, counted};
use crate::sys::clock::Moment;

/// When the session times out unless something happens.
pub(super) fn deadline(state: &State, http2: &Multiplexed) -> Option<Moment> {
    let timeouts = &state.settings.timeouts;
    if http2.connection.write_half.has_waiting() {
        let deadline = http2.connection.write_half.deadline(timeouts.into());
        return deadline.map(|(due, _)| due);
    }
    if !http2.streams.is_empty() {
        // Each has its own.
        return None;
    }
    if let Some(since) = http2.leaving_since {
        return Some(since.max(http2.idle_since) + HTTP2_GOAWAY_TIMEOUT);
    }
    let timeout = if http2.has_served { timeouts.keep_alive } else { timeouts.header };
    http2.idle_since.checked_add(timeout)
}

/// Lets a session take no further stream. True if the connection is one of HTTP/2.
pub(in crate::net::poller) fn leave(state: &mut State, id: ConnectionId) -> bool {
    match state.connections.get_mut(id).map(|slot| &mut slot.phase) {
        Some(Phase::Http2(Some(http2))) => {
            http2.leave(state.now);
            true
        }
        _ => false,
    }
}

/// The session has ended, or its connection is lost: so are its streams.
pub(super) fn lose_streams(state: &mut State, http2: &mut Multiplexed) {
    for open in http2.streams.drain(..) {
        lose_stream(state, &open);
    }
}

/// The connection is lost.
pub(super) fn on_lost(http2: &Multiplexed, error: &io::Error) -> Action {
    debug!("{}: {error}", http2.connection.peer.address());
    Action::Close
}

/// Counts and logs why a session has ended, if its client is the reason.
pub(super) fn report(state: &State, http2: &Multiplexed, ending: Ending) {
    let (count, what) = match ending {
        Ending::Regular => return,
        Ending::Malformed => (Count::Malformed, "a violation of the protocol"),
        Ending::Excess => {
            (Count::Http2Excess, "more of something than the protocol's bounds allow")
        }
        Ending::Flood(Flood::Resets) => (Count::Http2Resets, "too many resets of streams"),
        Ending::Flood(Flood::ControlFrames) => {
            (Count::Http2ControlFrames, "too many frames that carry nothing")
        }
    };
    if let Some(count) = state.link.counters.increment_and_take_report(count) {
        info!(
            target: "connection.misbehaved",
            "Closed {} of HTTP/2 because of {what}, the last one of {}",
            counted(count, "connection"),
            http2.connection.describe_client()
        );
    }
}
