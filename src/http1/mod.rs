//! HTTP/1.1 without I/O: bytes in, events out. [RFC 9110, RFC 9112]
//!
//! [`Connection`] is the entry point, and is sans-I/O as h11 is. It parses bytes into events (a
//! head, content, the end) or an [`Error`] that knows its status, and turns a response into the
//! bytes to send. It has no socket, no clock and no Python, so that each rule of the RFC is a plain
//! unit test and a fuzz target. The files, in the order in which a request meets them:
//!
//! - `scan` finds the end of the head, within the limits,
//! - `head` parses and validates it, with `target` and `grammar`,
//! - `framing` decides how long the content is, `chunked` decodes it,
//! - `response` validates the head of the response, `frame` makes chunks of its content,
//! - `connection` holds the states and their transitions, and reports them by `event`.

mod chunked;
mod connection;
mod error;
mod event;
mod frame;
mod framing;
mod grammar;
mod head;
mod limits;
mod response;
mod scan;
mod target;
#[cfg(test)]
mod tests;

pub use connection::Connection;
pub use error::Error;
pub use event::{BodyTooShort, Event, Next};
pub use frame::Frame;
pub use framing::{Framing, ResponseFraming};
pub use head::{Head, Version};
pub use limits::{Limits, Underscores};
pub use response::{DroppedFields, ResponseError, ResponseHead};
