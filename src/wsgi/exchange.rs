//! What the WSGI layer needs of a connection. The worker implements it for a socket; a test may
//! implement it for a buffer.

use core::net::SocketAddr;
use std::any::Any;
use std::fs::File;
use std::io;
use std::sync::Weak;

use bytes::Bytes;

use crate::http1::{BodyTooShort, Connection, ResponseHead};

/// A request's content, complete.
#[derive(Debug)]
pub enum Content {
    /// None was sent.
    Empty,
    /// All of it.
    Memory(Vec<u8>),
    /// A file that holds nothing else, and its length in bytes.
    File(File, u64),
}

/// One request to be answered. None of these calls blocks except [`Exchange::wait`].
pub trait Exchange: Any + Send {
    /// The protocol state: the request's head, the response's framing.
    fn http(&mut self) -> &mut Connection;

    /// The client's address; `None` on a unix socket.
    fn peer(&self) -> Option<SocketAddr>;

    /// Which of the server's listeners accepted the connection, counted from 0.
    fn listener(&self) -> usize;

    /// The request's content; the second call answers [`Content::Empty`].
    fn take_content(&mut self) -> Content;

    /// Queues the head of the response. `length` is its content's length in bytes, if known.
    fn begin(&mut self, head: &ResponseHead, length: Option<u64>);

    /// Queues bytes that are copied.
    fn queue_copy(&mut self, bytes: &[u8]);

    /// Queues bytes that are not copied.
    fn queue_shared(&mut self, bytes: Bytes);

    /// Queues `length` bytes of a file from `offset`.
    fn queue_file(&mut self, file: File, offset: u64, length: u64);

    /// Queues what ends the response. Fails if it is too short, which aborts it.
    fn finish(&mut self) -> Result<(), BodyTooShort>;

    /// Hands the queue to the socket, and what the socket does not take to whoever watches it. Fails
    /// once the client is gone.
    fn flush(&mut self) -> io::Result<()>;

    /// Leaves the queue to be handed to the socket when this thread is done with the application, or within
    /// a few milliseconds if that takes longer. Fails once the client is gone.
    fn flush_soon(&mut self) -> io::Result<()>;

    /// True if so much is unsent that the application should wait.
    fn is_full(&self) -> bool;

    /// Waits until [`Exchange::is_full`] is false. Fails if the client is gone or stopped reading. Call
    /// it detached from the interpreter.
    fn wait_until_writable(&mut self) -> io::Result<()>;

    /// The client, for questions while and after the exchange; dead once the connection is closed.
    fn client(&self) -> Weak<dyn Client>;

    /// For the way back to the concrete type.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// The client that waits for the response.
pub trait Client: Send + Sync {
    /// True once the client has closed its side of the connection or the connection is lost.
    fn is_disconnected(&self) -> bool;
}
