//! How both kinds of transport send: without libc, where each call is a cancellation point.

use std::io::{self, IoSlice};

use rustix::net::{self, SendFlags};
use socket2::Socket;

use crate::sys::sigpipe::NO_SIGNAL;

/// Whether more may follow the bytes of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Anything, or nothing yet.
    Open,
    /// More of the response, at once.
    More,
    /// The end of the connection, at once.
    End,
}

/// Sends from all `slices` by one system call, without a signal if the client has disconnected;
/// returns how many bytes the socket took.
#[inline]
pub(super) fn send(socket: &Socket, slices: &[IoSlice<'_>], then: Then) -> io::Result<usize> {
    let flags = match then {
        Then::More | Then::End => NO_SIGNAL | MORE_FOLLOWS,
        Then::Open => NO_SIGNAL,
    };
    Ok(match slices {
        [one] => net::send(socket, one, flags)?,
        many => net::sendmsg(socket, many, &mut Default::default(), flags)?,
    })
}

/// The flag for bytes that others follow at once, so that the kernel need not make a packet of
/// them.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MORE_FOLLOWS: SendFlags = SendFlags::MORE;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const MORE_FOLLOWS: SendFlags = SendFlags::empty();
