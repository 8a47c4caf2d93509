//! What proxies in front of the server say about its clients: forwarded header fields, and headers
//! of the PROXY protocol.
//!
//! These are policies and parsers without I/O. They do not know which peers are trusted: the caller
//! asks only for those that are, and passes a predicate for the addresses of a chain. `net` applies
//! them when the head of a request, or a connection, has arrived.

mod chain;
mod element;
mod fields;
mod forwarded;
mod node;
mod origin;
mod proxy_header;
#[cfg(test)]
mod tests;

pub use fields::{ForwardedFields, Untrusted, is_forwarded_field};
pub use forwarded::{Client, Error, Forwarded, Host, Scheme, resolve};
pub use proxy_header::{
    MAX_BYTES, Malformed, PREFIX_BYTES, ProxyHeader, ProxyProtocol, Source, is_proxy_header,
    parse_proxy_header,
};
