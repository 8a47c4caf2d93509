//! A socket to a collector, which never blocks.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::{Domain, Socket, Type};

use super::address::Target;
use crate::sys::sigpipe::NO_SIGNAL;

/// How long a connection over TCP may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An open socket.
#[derive(Debug)]
pub(super) struct Link {
    socket: Socket,
    pub(super) is_stream: bool,
    /// Whether messages are datagrams to another host, or to this one by its address.
    pub(super) is_udp: bool,
    /// A connection that is not established yet, and its deadline.
    connecting_until: Option<Instant>,
}

impl Link {
    /// Begins to connect to the first of these that can be, from number `first` on.
    ///
    /// # Errors
    /// That of the last one.
    pub(super) fn open_any(targets: &[Target], first: usize) -> io::Result<Link> {
        let mut result = Err(io::ErrorKind::NotFound.into());
        for at in 0..targets.len() {
            result = Link::open(&targets[first.wrapping_add(at) % targets.len()]);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Begins to connect.
    ///
    /// # Errors
    /// Those of socket(2) and connect(2).
    fn open(target: &Target) -> io::Result<Link> {
        let domain = Domain::from(i32::from(target.address.family()));
        let socket = Socket::new(domain, target.kind, None)?;
        socket.set_nonblocking(true)?;
        let connecting_until = match socket.connect(&target.address) {
            Ok(()) => None,
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
                Some(Instant::now() + CONNECT_TIMEOUT)
            }
            Err(error) => return Err(error),
        };
        let is_stream = target.kind == Type::STREAM;
        let is_udp = !is_stream && domain != Domain::UNIX;
        Ok(Link { socket, is_stream, is_udp, connecting_until })
    }

    /// Sends bytes. Returns how many the socket has taken: of a datagram all or none.
    ///
    /// # Errors
    /// Those of connect(2) and send(2); that the socket is full is none.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.is_connected()? {
            return Ok(0);
        }
        loop {
            match rustix::net::send(&self.socket, bytes, NO_SIGNAL) {
                Ok(count) => return Ok(count),
                Err(error) => match io::Error::from(error) {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    // macOS reports a full datagram socket so.
                    error if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(0),
                    error if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                    error => return Err(error),
                },
            }
        }
    }

    /// Waits until it takes bytes, for `timeout` at most.
    pub(super) fn wait_writable(&self, timeout: Duration) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::OUT)];
        let timeout = Timespec::try_from(timeout).ok();
        rustix::event::poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
    }

    /// Completes the connection, if it is established.
    fn is_connected(&mut self) -> io::Result<bool> {
        let Some(until) = self.connecting_until else { return Ok(true) };
        if !self.wait_writable(Duration::ZERO) {
            return match Instant::now() < until {
                true => Ok(false),
                false => Err(io::ErrorKind::TimedOut.into()),
            };
        }
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        self.connecting_until = None;
        Ok(true)
    }
}
