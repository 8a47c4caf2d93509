//! Carries out the eviction policy: closes connections that wait for their clients, in favour of
//! new ones, and aborts responses to free memory.

use log::warn;

use super::close::{close, reset};
use super::connections::Phase;
use super::eviction::Eviction;
use super::http2;
use super::state::State;
use crate::net::arena::ConnectionId;
use crate::net::waiting::Awaited;
#[cfg(doc)]
use crate::net::write_half::WriteHalf;
use crate::observe::{Count, counted};
use crate::sys::clock::Moment;

/// Closes the connection that can best be spared, because of `reason`: an idle one, else one whose
/// request is incomplete. False if there is none.
#[cold]
pub(super) fn evict_waiting(state: &mut State, reason: &str) -> bool {
    let Some((awaited, id)) = state.eviction.next(&state.connections, state.now) else {
        return false;
    };
    let (what, count) = match awaited {
        Awaited::NextRequest | Awaited::FirstRequest | Awaited::Close => {
            ("idle connection", Count::IdleClosed)
        }
        Awaited::Head | Awaited::Content => ("incomplete request", Count::IncompleteClosed),
    };
    if let Some(count) = state.link.counters.increment_and_take_report(count) {
        warn!(
            target: "connection.evicted",
            "Closed {} for new connections: {reason}",
            counted(count, what)
        );
    }
    http2::announce_close(state, id);
    close(state, id);
    true
}

/// Aborts the responses that were not read for longest, until buffers are below the hard limit.
/// False if that was not enough.
#[cold]
pub(super) fn relieve_memory(state: &mut State) -> bool {
    if !state.eviction.is_relief_due(state.now) {
        return false;
    }
    // A response in a file holds no memory.
    let unsent = state.connections.iter().filter(|(_, slot)| slot.write_half.unsent_bytes() > 0);
    let unsent = unsent.map(|(id, slot)| (slot.write_half.progress(), id));
    for (progress, id) in Eviction::stalled(unsent, state.now) {
        if !state.link.memory_budget.is_over_hard_limit() {
            return true;
        }
        if has_progressed(state, id, progress) {
            state.reschedule(id);
        } else {
            evict_response(state, id);
        }
    }
    if state.link.memory_budget.is_over_hard_limit()
        && state.eviction.may_evict_reader(state.now)
        && let Some(id) = largest_response(state)
    {
        evict_response(state, id);
    }
    !state.link.memory_budget.is_over_hard_limit()
}

/// True if a client has read since `progress`, which causes no event at first: see
/// [`WriteHalf::progress`].
fn has_progressed(state: &State, id: ConnectionId, progress: Moment) -> bool {
    let Some(slot) = state.connections.get(id) else { return false };
    slot.write_half.flush().is_ok() && slot.write_half.progress() > progress
}

/// The connection with the most unsent bytes.
fn largest_response(state: &State) -> Option<ConnectionId> {
    let sizes = state.connections.iter().map(|(id, slot)| (slot.write_half.unsent_bytes(), id));
    sizes.filter(|(size, _)| *size > 0).max().map(|(_, id)| id)
}

fn evict_response(state: &mut State, id: ConnectionId) {
    if let Some(count) = state.link.counters.increment_and_take_report(Count::StalledClosed) {
        warn!(
            target: "memory.evicted",
            "Buffers exceed --limit-memory: reset {} because of unread responses",
            counted(count, "connection")
        );
    }
    match state.connections.get(id) {
        // The thread that runs the request sees the failure, and returns the connection.
        Some(slot) if matches!(slot.phase, Phase::Lent { .. }) => slot.write_half.fail(),
        _ => reset(state, id),
    }
}
