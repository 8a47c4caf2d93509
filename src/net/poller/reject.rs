//! Carries out the overload policy: rejects or drops requests that no thread runs.

use log::{info, warn};

use super::action::Action;
use super::connections::Phase;
use super::overload::Verdict;
use super::respond::{ErrorResponse, respond};
use super::state::State;
use crate::net::connection::Connection;
use crate::net::shutdown::Shutdown;
use crate::observe::{Count, counted};

/// The verdict on the request of a lent connection that waits in the queue.
pub(super) fn verdict(state: &State, connection: &Connection) -> Verdict {
    match state.connections.get(connection.id).map(|slot| &slot.phase) {
        Some(&Phase::Lent { since, client_disconnected, .. }) => {
            let client_disconnected = client_disconnected || connection.write_half.has_failed();
            if is_abandoned(state) && !client_disconnected {
                return Verdict::Expired;
            }
            state.overload.verdict(since, client_disconnected, state.now)
        }
        _ => Verdict::Keep,
    }
}

/// True if the process ends before one of its threads is free.
fn is_abandoned(state: &State) -> bool {
    state.admission.is_stalled() && state.shutdown != Shutdown::Serving
}

/// Takes back a connection whose request will not run, and rejects or drops it. If the policy would
/// keep the request, the queue was full.
#[cold]
pub(super) fn reject_queued(state: &mut State, mut connection: Box<Connection>) -> Action {
    connection.end_wait(state.now);
    let counters = &state.link.counters;
    let detail = match verdict(state, &connection) {
        Verdict::Disconnected => {
            if let Some(count) = counters.increment_and_take_report(Count::ClientDisconnected) {
                info!(
                    target: "overload.client_disconnected",
                    "Dropped {}, as the clients have disconnected",
                    counted(count, "queued request")
                );
            }
            return Action::Close;
        }
        Verdict::Expired => {
            if let Some(count) = counters.increment_and_take_report(Count::QueueTimeout) {
                let why = if is_abandoned(state) {
                    "the worker ends, and all its threads are stuck"
                } else {
                    "waited longer than --queue-timeout"
                };
                warn!(
                    target: "overload.queue_timeout",
                    "Overloaded: rejected {} with 503 ({why})",
                    counted(count, "request")
                );
            }
            "the server is overloaded"
        }
        Verdict::Keep => {
            if let Some(count) = counters.increment_and_take_report(Count::QueueFull) {
                warn!(
                    target: "overload.queue_full",
                    "Overloaded: rejected {} with 503 (found --limit-queue others waiting)",
                    counted(count, "request")
                );
            }
            "too many requests are waiting"
        }
    };
    respond(state, connection, &ErrorResponse::unavailable(detail))
}
