//! Counts the connections: those that a shutdown would end before they are done, and all by state.

use super::connections::Phase;
use super::state::State;
use crate::net::census::Census;
use crate::observe::shared_state::CONNECTION_STATES;
use crate::sys::clock;

/// Counts them, once: a shutdown asks at its end.
#[cold]
pub(super) fn take(state: &State) -> Census {
    let mut census = Census::default();
    for id in state.connections.ids() {
        match state.connections.get(id).map(|slot| &slot.phase) {
            Some(Phase::Reading(connection)) if !connection.waiting().is_idle() => {
                census.receiving += 1;
            }
            Some(Phase::Sending(_)) => census.sending += 1,
            Some(Phase::Lent { .. }) => census.lent += 1,
            // The requests of a session have slots of their own.
            Some(
                Phase::Reading(_) | Phase::Http2(_) | Phase::Relaying(_) | Phase::Lingering { .. },
            )
            | None => {}
        }
    }
    census
}

/// Shows the master how many connections are in each state, if it is time to.
#[inline]
pub(super) fn show(state: &mut State) {
    if state.observed.as_ref().is_some_and(|observed| observed.is_census_due(state.now)) {
        count_by_state(state);
    }
}

#[cold]
fn count_by_state(state: &mut State) {
    let began = clock::now();
    let mut counts = [0; CONNECTION_STATES.len()];
    for id in state.connections.ids() {
        let Some(slot) = state.connections.get(id) else { continue };
        let place = match &slot.phase {
            // Its connection is that of the session.
            _ if slot.is_stream() => continue,
            Phase::Reading(connection) if connection.waiting().is_idle() => 0,
            Phase::Http2(Some(http2)) if http2.streams.is_empty() => 0,
            Phase::Reading(_) => 1,
            Phase::Lent { .. } | Phase::Relaying(_) | Phase::Http2(_) => 2,
            Phase::Sending(_) => 3,
            Phase::Lingering { .. } => 4,
        };
        counts[place] += 1;
    }
    if let Some(observed) = &mut state.observed {
        observed.show_connections(counts, began);
    }
}
