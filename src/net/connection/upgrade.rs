//! Gives a connection to the application, as a socket: see [`taken`](crate::net::taken).

use std::io;
use std::os::fd::OwnedFd;

use socket2::{Domain, SockRef, Socket, Type};

use super::Connection;
use crate::http1;
use crate::net::taken::{Taken, UpgradedRequest};

impl Connection {
    /// True if the application may take the connection: the request was read to its end, and
    /// nothing of a response was made. A stream of HTTP/2 has no socket to take.
    pub fn is_takable(&self) -> bool {
        let has_socket = self.write_half.transport().stream().is_none();
        let is_read = self.read_half.as_ref().is_none_or(|half| half.is_complete());
        has_socket && is_read && !self.http.has_begun() && !self.write_half.has_failed()
    }

    /// Makes the application's socket, which is blocking. The connection then goes to the poller
    /// with [`return_taken`](crate::net::PollerHandle::return_taken). Fails as the system does,
    /// without a change.
    pub fn take_socket(&mut self) -> io::Result<(OwnedFd, Taken, UpgradedRequest)> {
        self.end_reading();
        let transport = self.write_half.transport();
        let is_empty =
            self.input.is_empty() && self.queue.is_empty() && !self.write_half.has_waiting();
        let (socket, taken) = if let Some(socket) = transport.plain()
            && is_empty
        {
            let socket = rustix::io::fcntl_dupfd_cloexec(socket, 0)?;
            // The flag belongs to both descriptors. The poller makes no call that could block.
            rustix::io::ioctl_fionbio(&socket, false)?;
            // Accepted sockets inherit that of the listener: see `nonblocking`.
            SockRef::from(&socket).set_read_timeout(None)?;
            (socket, Taken::Descriptor)
        } else {
            let (inner, outer) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
            inner.set_nonblocking(true)?;
            (outer.into(), Taken::Relay(inner))
        };
        let http = http1::Connection::new(self.poller.limits.clone());
        let request = UpgradedRequest {
            tls_variables: self.tls_variables().cloned(),
            http: std::mem::replace(&mut self.http, http),
            peer: self.peer,
            listener: self.local.index,
            proxied: self.proxied.take(),
            trace: self.trace.take(),
            started_at: self.started_at,
            poller: self.poller.clone(),
        };
        Ok((socket, taken, request))
    }
}
