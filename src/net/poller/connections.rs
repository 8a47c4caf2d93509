//! The poller's connections: the phase of each, and the readiness to remember for it.

use std::sync::Arc;
use std::time::Instant;

use super::eviction::Candidates;
use crate::net::arena::{Arena, ConnectionId};
use crate::net::connection::Connection;
use crate::net::timers::Deadline;
use crate::net::waiting::{Awaited, Waiting};
use crate::net::write_half::WriteHalf;

/// The phase of a connection. It holds the connection itself while the poller owns it.
#[derive(Debug)]
pub(super) enum Phase {
    /// Waits for a request, or for the rest of one.
    Reading(Box<Connection>),
    /// A worker thread owns it, and runs its request.
    Lent {
        /// When the request was complete.
        since: Instant,
        /// The client has disconnected since then.
        client_disconnected: bool,
    },
    /// The response is complete; part of it waits for the socket.
    Sending(Box<Connection>),
    /// The response is sent and the sending side shut down. Further input is discarded.
    Lingering {
        /// When it was shut down.
        since: Instant,
        /// Bytes that are still discarded before the connection is closed anyway.
        bytes_left: usize,
        /// The client has sent complete requests and nothing more: see
        /// [`DRAIN_LINGER_TIMEOUT`](crate::net::tuning::DRAIN_LINGER_TIMEOUT).
        is_quiet: bool,
    },
}

/// One connection's place in the poller. Readiness is edge-triggered, so it is kept here until it
/// is used.
#[derive(Debug)]
pub(super) struct Slot {
    /// What the connection is doing.
    pub(super) phase: Phase,
    /// The poller's access to the socket, also while the connection is lent.
    pub(super) write_half: Arc<WriteHalf>,
    /// The socket may have bytes, an end or an error to read.
    pub(super) is_readable: bool,
    /// The client has shut its sending side: reading ends in EOF and no further event will come.
    pub(super) is_half_closed: bool,
    /// It is in the run queue.
    pub(super) is_scheduled: bool,
    /// The latest end of the phase.
    pub(super) deadline: Deadline,
}

impl Slot {
    /// A connection that was just accepted. It counts as readable: often its request has arrived
    /// too.
    pub(super) fn new(connection: Connection, write_half: Arc<WriteHalf>) -> Slot {
        Slot {
            phase: Phase::Reading(Box::new(connection)),
            write_half,
            is_readable: true,
            is_half_closed: false,
            is_scheduled: false,
            deadline: Deadline::default(),
        }
    }

    /// What its client has to do, if the connection waits for that.
    fn waiting(&self) -> Option<Waiting> {
        match &self.phase {
            Phase::Reading(connection) if !self.is_readable => Some(connection.waiting()),
            &Phase::Lingering { since, .. } => Some(Waiting { awaited: Awaited::Close, since }),
            _ => None,
        }
    }
}

/// All connections by their ids.
pub(super) type Connections = Arena<Slot>;

impl Candidates for Connections {
    fn ids(&self) -> Vec<ConnectionId> {
        Arena::ids(self)
    }

    fn waiting(&self, id: ConnectionId) -> Option<Waiting> {
        self.get(id)?.waiting()
    }
}
