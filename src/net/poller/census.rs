//! Counts the connections that a shutdown would end before they are done.

use super::connections::Phase;
use super::state::State;
use crate::net::census::Census;

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
            Some(Phase::Reading(_) | Phase::Lingering { .. }) | None => {}
        }
    }
    census
}
