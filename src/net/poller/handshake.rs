//! The TLS handshake of a connection: how it ends. The transport carries it out while it reads.

use std::io;

use log::{debug, info};

use super::action::Action;
use crate::net::connection::{Connection, Rejection};
use crate::net::poller_link::PollerLink;
use crate::net::tls::{HANDSHAKE_FAILED, PLAIN_HTTP};
use crate::observe::{Count, counted};
use crate::sys::clock::Moment;

/// The handshake is complete: the client has the time for a request head from now on.
#[cold]
pub(super) fn on_complete(connection: &mut Connection, now: Moment) {
    connection.is_handshaking = false;
    connection.waiting_since = now;
}

/// The client has disconnected before the handshake was complete, as health checks do.
#[cold]
pub(super) fn on_end(connection: &Connection, link: &PollerLink) -> Action {
    if connection.write_half.transport().has_received() {
        report(connection, link, "the client has disconnected");
    }
    Action::Close
}

/// A read has failed before the handshake was complete.
#[cold]
pub(super) fn on_error(
    connection: &mut Connection,
    link: &PollerLink,
    error: &io::Error,
) -> Action {
    match error.kind() {
        PLAIN_HTTP => {
            connection.is_handshaking = false;
            Action::Reject(Box::new(Rejection::PlainHttp))
        }
        HANDSHAKE_FAILED => {
            connection.is_handshaking = false;
            report(connection, link, &error.to_string());
            // The client reads why before the reset that unread input would cause.
            Action::Linger
        }
        _ => {
            report(connection, link, &error.to_string());
            Action::Close
        }
    }
}

/// The handshake was not complete within `--handshake-timeout`.
#[cold]
pub(super) fn on_timeout(connection: &Connection, link: &PollerLink) -> Action {
    if let Some(count) = link.counters.increment_and_take_report(Count::HandshakeTimeout) {
        info!(
            target: "tls.handshake_timeout",
            "Closed {} that did not complete the TLS handshake within --handshake-timeout, the \
             last one of {}",
            counted(count, "connection"),
            connection.peer.described()
        );
    }
    Action::Close
}

fn report(connection: &Connection, link: &PollerLink, reason: &str) {
    let client = connection.peer.described();
    match link.counters.increment_and_take_report(Count::HandshakeFailed) {
        Some(count) => info!(
            target: "tls.handshake_failed",
            "Closed {} whose TLS handshake failed, the last one from {client}: {reason}",
            counted(count, "connection")
        ),
        None => debug!("The TLS handshake of {client} failed: {reason}"),
    }
}
