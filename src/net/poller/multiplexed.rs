//! A connection of HTTP/2 as the poller keeps it: the session, and the streams that are open.

use std::sync::Arc;

use crate::net::arena::ConnectionId;
use crate::net::connection::Connection;
use crate::net::http2::{Content, Ending, Session, SessionWaker, Stream};
use crate::sys::clock::Moment;

/// A connection of HTTP/2.
#[derive(Debug)]
pub(super) struct Multiplexed {
    /// The connection itself: who the client is, and what waits for the socket.
    pub(super) connection: Box<Connection>,
    pub(super) session: Session,
    pub(super) waker: Arc<SessionWaker>,
    /// The streams whose slots are in use.
    pub(super) streams: Vec<OpenStream>,
    /// Bytes of content that wait for the application.
    pub(super) unread_bytes: usize,
    /// Since when no stream is open.
    pub(super) idle_since: Moment,
    /// The client has opened a stream.
    pub(super) has_served: bool,
    /// Since when the client was asked to open no further stream.
    pub(super) leaving_since: Option<Moment>,
    /// Why the session has ended: the rest of its output waits for the socket.
    pub(super) ending: Option<Ending>,
}

impl Multiplexed {
    /// Announces once that it takes no further stream: it ends when those that it has are complete.
    pub(super) fn leave(&mut self, now: Moment) {
        if self.leaving_since.is_none() {
            self.leaving_since = Some(now);
            self.session.shut_down();
        }
    }
}

/// A stream. Its request has a slot of its own.
#[derive(Debug)]
pub(super) struct OpenStream {
    pub(super) id: ConnectionId,
    pub(super) stream: Arc<Stream>,
    /// Receives the content, until it is complete.
    pub(super) content: Option<Content>,
    /// The session has looked for content.
    pub(super) has_begun: bool,
    /// The application reads the content as it arrives.
    pub(super) leaves_content: bool,
}
