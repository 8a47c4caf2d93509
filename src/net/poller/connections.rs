//! The poller's connections: the phase of each, and the readiness to remember for it.

use std::sync::Arc;

use super::eviction::Candidates;
use super::multiplexed::Multiplexed;
use crate::net::arena::{Arena, ConnectionId};
use crate::net::connection::Connection;
use crate::net::read_half::ReadHalf;
use crate::net::relay::Relay;
use crate::net::timers::Deadline;
use crate::net::waiting::{Awaited, Waiting};
use crate::net::write_half::WriteHalf;
use crate::sys::clock::Moment;

/// The phase of a connection. It holds the connection itself while the poller owns it.
#[derive(Debug)]
pub(super) enum Phase {
    /// Waits for a request, or for the rest of one.
    Reading(Box<Connection>),
    /// A worker thread owns it, and runs its request.
    Lent {
        /// When the request was complete.
        since: Moment,
        /// The client has disconnected since then.
        client_disconnected: bool,
        /// Reads the content of the request, if it was not complete.
        read_half: Option<Arc<ReadHalf>>,
    },
    /// A session of HTTP/2. Its requests have slots of their own. `None` while a step drives it.
    Http2(Option<Box<Multiplexed>>),
    /// The response is complete; part of it waits for the socket.
    Sending(Box<Connection>),
    /// The application has taken it; the poller relays between the client and the application.
    Relaying(Box<Relay>),
    /// The response is sent and the sending side shut down. Further input is discarded.
    Lingering {
        /// When it was shut down.
        since: Moment,
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
    /// A thread of the [loader](crate::net::loader) waits for a disk, for the response.
    pub(super) is_loading: bool,
    /// Its large response waits until others are written: see [`mod@super::large`].
    pub(super) is_waiting: bool,
    /// Its socket takes no more than a client on the same machine needs.
    pub(super) has_local_send_buffer: bool,
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
            is_loading: false,
            is_waiting: false,
            has_local_send_buffer: false,
            is_scheduled: false,
            deadline: Deadline::default(),
        }
    }

    /// A stream that the client of a session has opened. The session reads for it.
    pub(super) fn of_stream(connection: Connection, write_half: Arc<WriteHalf>) -> Slot {
        Slot { is_readable: false, ..Slot::new(connection, write_half) }
    }

    /// True if it is a stream of HTTP/2.
    pub(super) fn is_stream(&self) -> bool {
        self.write_half.transport().stream().is_some()
    }

    /// What its client has to do, if the connection waits for that.
    fn waiting(&self) -> Option<Waiting> {
        match &self.phase {
            // To end a stream would free neither a connection nor a descriptor.
            Phase::Reading(_) if self.is_stream() => None,
            Phase::Http2(Some(http2)) if http2.streams.is_empty() => {
                let awaited = match http2.has_served {
                    true => Awaited::NextRequest,
                    false => Awaited::FirstRequest,
                };
                Some(Waiting { awaited, since: http2.idle_since })
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::Moment;

    /// Beside these, an idle connection has the bytes and fields of its last head, and the
    /// allocator's headers: together it costs less than 1 KiB.
    #[test]
    fn parts_of_an_idle_connection_are_small() {
        let parts = [
            ("slot", size_of::<Slot>() + size_of::<u64>()),
            ("connection", size_of::<Connection>()),
            ("write half", size_of::<WriteHalf>() + 2 * size_of::<usize>()),
            ("deadline", size_of::<(Moment, ConnectionId)>()),
        ];
        let sum: usize = parts.iter().map(|(_, size)| size).sum();
        assert!(sum <= 872, "{sum} bytes: {parts:?}");
    }
}
