//! What a connection reports to its owner: what it has read, what follows a response, and why a
//! response is incomplete.

use std::ops::Range;

#[cfg(doc)]
use super::Connection;

/// What [`Connection::receive`] found in its input.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing more: call again with more input.
    NeedMore,
    /// A head, complete: see [`Connection::head`].
    Head,
    /// A piece of content, at this range of the input. Never empty.
    Content(Range<usize>),
    /// The end of the request.
    End,
}

/// What to do with the connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Keep it open for another request.
    Request,
    /// Close it once the response is sent.
    Close,
    /// Reset it. The response was aborted, and its end is the close of the connection: after a
    /// regular close it would look complete.
    Reset,
}

/// The content of a response is shorter than its Content-Length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the response is {missing_bytes} B shorter than its Content-Length")]
pub struct BodyTooShort {
    /// Bytes that were declared but not sent.
    pub missing_bytes: u64,
}
