//! HTTP/2, by the `h2` crate, whose types stay in this module. [RFC 9113]
//!
//! There is no runtime: the poller drives a connection by hand. It fills a buffer with what the
//! socket has, polls the protocol, and sends what the protocol has put into another one. A waker
//! has it do so in its next turn, after another thread has given the protocol something to send.
//!
//! - [`session`] is the protocol of a connection, with [`pipe`] as its byte stream; [`meter`] ends
//!   the connection of a client that floods it, and [`heads`] finds paths that the library hides,
//!   in each [`block`] of a head,
//! - [`stream`] is one stream, a kind of [`Transport`](super::transport::Transport); its content is
//!   [`content`], and what it sends is a [`body`]; [`shared`] is what the streams of a connection
//!   share; [`resets`] ends those that were cut short,
//! - [`request`] and [`response`] translate heads, [`upgrade`] those of requests that ask for
//!   HTTP/2,
//! - [`waker`] calls the poller.
//!
//! A request becomes a [`Connection`](super::connection::Connection) of its own, over the stream as
//! its transport. So parser, limits, scheduler, application, output and deadlines are those of
//! HTTP/1.1. `poller::http2` joins the two.

mod block;
mod body;
mod content;
mod heads;
mod meter;
mod pipe;
mod request;
mod resets;
mod response;
mod session;
mod shared;
mod stream;
#[cfg(test)]
#[cfg(not(shuttle))]
mod tests;
mod upgrade;
mod waker;

pub(super) use content::{Content, Received};
pub(super) use meter::Flood;
pub(super) use response::{head, interim};
pub(super) use session::{Ending, Found, NewStream, Session};
pub(super) use shared::Shared;
pub(super) use stream::Stream;
pub(super) use upgrade::{SWITCHING_PROTOCOLS, Upgraded, upgraded};
pub(super) use waker::SessionWaker;
