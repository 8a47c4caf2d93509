//! The WSGI layer's view of a connection: one request and its response. The worker implements
//! these traits for a socket; a test may implement them for a buffer.

use core::net::SocketAddr;
use std::any::Any;
use std::fs::File;
use std::io;
use std::sync::Weak;

use bytes::Bytes;

use crate::http1::{BodyTooShort, Connection, ResponseHead};

/// The content of a request, received completely and decoded.
#[derive(Debug)]
pub enum Content {
    /// The request has none.
    Empty,
    /// The content, in memory.
    Memory(Vec<u8>),
    /// The content, spooled to a temporary file that holds nothing else, and its length in bytes.
    File(File, u64),
}

/// One request and the response to it. No method blocks except [`Exchange::make_room`].
pub trait Exchange: Any + Send {
    /// The protocol state: the head of the request, the framing of the response.
    fn http(&mut self) -> &mut Connection;

    /// The address of the client. `None` on a unix socket.
    fn peer(&self) -> Option<SocketAddr>;

    /// The index of the listener that accepted the connection, in the order of `--bind`.
    fn listener(&self) -> usize;

    /// Moves the content of the request out. A second call returns [`Content::Empty`].
    fn take_content(&mut self) -> Content;

    /// Queues the head of the response. `length` is the length of the content in bytes, if it is
    /// known.
    fn begin(&mut self, head: &ResponseHead, length: Option<u64>);

    /// Queues a copy of `bytes`.
    fn queue_copy(&mut self, bytes: &[u8]);

    /// Queues `bytes` without copying them.
    fn queue_shared(&mut self, bytes: Bytes);

    /// Queues `length` bytes of a file, starting at `offset`.
    fn queue_file(&mut self, file: File, offset: u64, length: u64);

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

    /// Converts to `Any`, from which the implementor gets its own type back.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// The client of an exchange.
pub trait Client: Send + Sync {
    /// True once the client has closed its side of the connection, or the connection is lost.
    fn is_disconnected(&self) -> bool;
}
