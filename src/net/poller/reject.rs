//! Rejects queued requests as the overload policy decides: what reaches no thread is answered or
//! dropped here.

use log::{info, warn};

use super::action::Action;
use super::connections::Phase;
use super::overload::Verdict;
use super::respond::{ErrorResponse, respond};
use super::state::State;
use crate::net::connection::Connection;
use crate::observe::{Count, counted};

/// What becomes of a connection that is lent and waits in the queue.
pub(super) fn verdict(state: &State, connection: &Connection) -> Verdict {
    match state.connections.get(connection.id).map(|slot| &slot.phase) {
        Some(&Phase::Lent { since, client_left }) => {
            let client_left = client_left || connection.write_half.has_failed();
            state.overload.verdict(since, client_left, state.now)
        }
        _ => Verdict::Keep,
    }
}

/// Takes a connection back whose request will not run, and answers or drops it. One that could have
/// stayed in the queue has found it full.
#[cold]
pub(super) fn reject(state: &mut State, connection: Box<Connection>) -> Action {
    let counters = &state.link.counters;
    let detail = match verdict(state, &connection) {
        Verdict::Disconnected => {
            if let Some(count) = counters.increment_and_take_report(Count::ClientGone) {
                info!(
                    target: "overload.client_left",
                    "Dropped {}, as the clients have disconnected",
                    counted(count, "queued request")
                );
            }
            return Action::Close;
        }
        Verdict::Expired => {
            if let Some(count) = counters.increment_and_take_report(Count::QueueTimeout) {
                warn!(
                    target: "overload.queue_timeout",
                    "Overloaded: rejected {} with 503 (waited longer than --queue-timeout)",
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
