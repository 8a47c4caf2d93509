//! The WSGI layer's view of a connection: one request and its response. The worker implements
//! these traits for a socket; a test may implement them for a buffer.

use core::net::SocketAddr;
use std::any::Any;
use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::http1::{BodyTooShort, Connection, Frame, ResponseHead};
use crate::observe::{Count, RequestId};
use crate::proxies::Forwarded;

/// The content of a request, decoded.
#[derive(Debug)]
pub enum Content {
    /// The request has none.
    Empty,
    /// The content, in memory: the bytes from this offset on.
    Memory(Vec<u8>, usize),
    /// The content, spooled to a temporary file that holds nothing else, and its length in bytes.
    File(File, u64),
    /// The content is read as it arrives.
    Stream(Arc<dyn ContentStream>),
}

/// Content that is read as it arrives. Shared by all threads that read it.
pub trait ContentStream: Debug + Send + Sync {
    /// Reads up to `limit` bytes without blocking. `None` if the read may have to wait.
    fn read_buffered(&self, limit: usize, until: Until) -> Option<Vec<u8>>;

    /// Reads up to `limit` bytes, and blocks until it has them, or as `until` says. Returns less
    /// only at the end of the content. Call it detached from the interpreter.
    fn read(&self, limit: usize, until: Until) -> Result<Vec<u8>, ContentError>;
}

/// When a read of a [`ContentStream`] returns, apart from the end of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Once it has as many bytes as it was asked for.
    Full,
    /// The same, or after a line feed.
    Line,
    /// Once it has any bytes.
    Any,
}

/// Why the content of a request cannot be read to its end.
#[derive(Debug, Clone)]
pub struct ContentError {
    /// Determines the type of the exception.
    pub cause: ContentErrorCause,
    /// The status code and the reason phrase for the client.
    pub status: (u16, &'static str),
    /// What is wrong, for the application, the client and the log.
    pub detail: String,
}

/// What the exception for a [`ContentError`] depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentErrorCause {
    /// The content violates the protocol or a limit, or the request has ended.
    Invalid,
    /// The client is too slow.
    Timeout,
    /// The client has disconnected.
    Disconnected,
}

/// An item of the environ that describes a TLS session.
pub type TlsVariable = (&'static str, String);

/// One request and the response to it. No method blocks except [`Exchange::make_room`].
pub trait Exchange: Any + Send {
    /// The protocol state: the head of the request, the framing of the response.
    fn http(&mut self) -> &mut Connection;

    /// The address of the peer: a client, or a proxy. `None` on a unix socket.
    fn peer(&self) -> Option<SocketAddr>;

    /// What the proxies in front say of the request, if anything.
    fn forwarded(&self) -> Option<Arc<Forwarded>>;

    /// The index of the listener that accepted the connection, in the order of `--bind`.
    fn listener(&self) -> usize;

    /// The variables of the client's TLS session; `None` if there is none.
    fn tls_variables(&self) -> Option<&Arc<[TlsVariable]>>;

    /// True if the application may take the connection: the request was read to its end, and
    /// nothing of a response was made.
    fn is_takable(&self) -> bool;

    /// The id of the request, with `--request-id-header`.
    fn request_id(&self) -> Option<RequestId>;

    /// Moves the content of the request out. A second call returns [`Content::Empty`].
    fn take_content(&mut self) -> Content;

    /// The error that ended the content, if it could not be read to its end.
    fn content_error(&self) -> Option<ContentError>;

    /// Queues the head of the response. `length` is the length of the content in bytes, if it is
    /// known.
    fn begin(&mut self, head: &ResponseHead, length: Option<u64>);

    /// Queues an interim response, such as a 103: its head as HTTP/1.1 has it.
    fn queue_interim(&mut self, text: &[u8]);

    /// Queues a copy of `bytes`.
    fn queue_copy(&mut self, bytes: &[u8]);

    /// Queues a copy of the part of `block` that `frame` takes, with its framing.
    fn queue_block(&mut self, frame: &Frame, block: &[u8]);

    /// Queues `bytes` without copying them.
    fn queue_shared(&mut self, bytes: Bytes);

    /// Queues `length` bytes of a file, starting at `offset`.
    fn queue_file(&mut self, file: Arc<File>, offset: u64, length: u64);

    /// Queues the end of the response, such as the last chunk. If content is missing, the response
    /// is aborted instead and the error says how much.
    fn finish(&mut self) -> Result<(), BodyTooShort>;

    /// Writes the queue to the socket and leaves the rest to the poller. Fails once the client has
    /// disconnected.
    fn flush(&mut self) -> io::Result<()>;

    /// Schedules a flush for when this thread leaves the application, or for a few milliseconds
    /// later if the application takes longer. Fails once the client has disconnected.
    fn flush_soon(&mut self) -> io::Result<()>;

    /// True if unsent output in memory exceeds the high-water mark, so that it needs room.
    fn is_full(&self) -> bool;

    /// Blocks until [`Exchange::is_full`] is false: moves output to a temporary file, or waits for
    /// the client. Fails if the client has disconnected, or reads too slowly. Call it detached from
    /// the interpreter.
    fn make_room(&mut self) -> io::Result<()>;

    /// The client, which can be asked during the exchange and after it. The reference is dead once
    /// the connection is closed.
    fn client(&self) -> Weak<dyn Client>;

    /// Counts an event. Returns how many to report, at a limited rate: see
    /// [`Counters`](crate::observe::Counters).
    fn count(&self, what: Count) -> Option<u64>;

    /// Converts to `Any`, from which the implementor gets its own type back.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// The client of an exchange.
pub trait Client: Send + Sync {
    /// True once the client has closed its side of the connection, or the connection is lost.
    fn is_disconnected(&self) -> bool;
}
