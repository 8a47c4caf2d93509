//! What the poller does next with a connection. Each step does one thing and returns the next
//! action; [`mod@super::run`] carries them out. So no step calls the next one, and a client that
//! pipelines costs no depth of stack.

use crate::net::connection::Rejection;

/// The next action for one connection.
#[derive(Debug)]
pub(super) enum Action {
    /// None before the next event, deadline or returned connection.
    Wait,
    /// Read from the socket.
    Read,
    /// The request is complete: lend the connection to a worker thread.
    Dispatch,
    /// Reject the request with an error response. Boxed, so that every action fits into registers.
    Reject(Box<Rejection>),
    /// End the sending side, and discard what the client still sends.
    Linger,
    /// Close.
    Close,
    /// Close so that the client sees an error.
    Reset,
}
