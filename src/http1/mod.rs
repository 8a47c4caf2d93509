//! HTTP/1.1 without I/O: bytes in, events out. [RFC 9110, RFC 9112]
//!
//! [`Connection`] is the entry point, and is sans-I/O as h11 is. It parses bytes into events (a
//! head, content, the end) or an [`Error`] that knows its status, and turns a response into the
//! bytes to send. It has no socket, no clock and no Python, so that each rule of the RFC is a plain
//! unit test and a fuzz target. The files, in the order in which a request meets them:
//!
//! - `scan` finds the end of the head, within the limits,
//! - `head` parses and validates it, with `fields`, `target`, `grammar`; `fingerprint` hashes it,
//! - `framing` decides how long the content is, `content` decodes it, with `chunked`,
//! - `response` validates the head of the response, `frame` makes chunks of its content,
//! - `connection` holds the states and their transitions, and reports them by `event`,
//! - `stream` is the same for one stream of HTTP/2, whose frames `net` handles.

mod chunked;
mod connection;
mod content;
mod error;
mod event;
mod fields;
mod fingerprint;
mod frame;
mod framing;
mod grammar;
mod head;
mod interim;
mod limits;
mod response;
mod scan;
mod stream;
mod target;
#[cfg(test)]
mod tests;
mod version;

pub use connection::Connection;
pub use content::ContentDecoder;
pub use error::Error;
pub use event::{BodyTooShort, Event, Next};
pub use frame::Frame;
pub use framing::{Framing, ResponseFraming};
pub(crate) use grammar::{decimal, is_host, is_token_byte, trim_ows};
pub use head::Head;
pub use interim::EarlyHints;
pub use limits::{Limits, Underscores};
pub(crate) use response::has_server_meaning;
pub use response::{DroppedFields, ResponseError, ResponseHead};
pub use version::Version;
