//! HTTP/1.1 without I/O: bytes in, events out. [RFC 9110, RFC 9112]
//!
//! [`Connection`] is the door. It is given bytes and answers with events (a head, content, the
//! end), or with an [`Error`] that knows its status; it is given a response and answers with the bytes
//! to send. It owns no socket, no clock and no Python, so every rule of the RFC is a plain unit test
//! and a fuzz target. The files follow a request through:
//!
//! - `scan` finds where the head ends, within the limits,
//! - `head` splits and checks it, with `target` and `grammar`,
//! - `framing` decides how long the content is, `chunked` decodes it,
//! - `response` checks what the application answers, `frame` makes chunks of its content,
//! - `connection` holds the states and their transitions.

mod chunked;
mod connection;
mod error;
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

pub use connection::{BodyTooShort, Connection, Event, Next};
pub use error::Error;
pub use frame::Frame;
pub use framing::{Framing, ResponseFraming};
pub use head::{Head, Version};
pub use limits::{Limits, Underscores};
pub use response::{ResponseError, ResponseHead};
