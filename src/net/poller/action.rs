//! The poller's next action for a connection. Each step does one thing and returns the next action;
//! [`mod@super::run`] carries them out. So no step calls the next one, and a client that pipelines
//! costs no depth of stack.

use crate::net::connection::Rejection;

/// The next action for one connection.
#[derive(Debug)]
pub(super) enum Action {
    /// Do nothing until the next event, the deadline, or the return of the connection.
    Wait,
    /// Read from the socket.
    Read,
    /// The client has begun HTTP/2.
    BeginHttp2,
    /// Drive a session of HTTP/2.
    DriveHttp2,
    /// The request is complete: lend the connection to a worker thread.
    Dispatch,
    /// Reject the request with an error response. Boxed, so that an action fits into registers.
    Reject(Box<Rejection>),
    /// Shut down the sending side, and discard further input.
    Linger,
    /// Close.
    Close,
    /// Reset the connection, so that the client sees an error.
    Reset,
}
