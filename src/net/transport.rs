//! The byte stream below a connection: a plain socket, a TLS session over one, or a stream of
//! HTTP/2.
//!
//! The layers above (parser, output queue, poller) see bytes, never TLS records.
//! [`WriteHalf`](super::write_half) owns the transport; the poller reads through it. All calls are
//! non-blocking, so they are made without libc, where each is a cancellation point. They take
//! `&self`, because a worker thread may write while the poller reads.
//!
//! A TLS session may hold bytes of both directions. Those that the socket did not accept are sent
//! by [`Transport::flush`], and count as waiting until then ([`Transport::has_unsent`]): a read
//! leaves some, too, as a part of the handshake. A read may return less than the buffer holds, and
//! more without another event ([`Transport::has_more`]). A plain socket costs one branch.
//!
//! A stream of HTTP/2 sends, and reads content that is left to the application. Other content comes
//! from the session that it belongs to.

#[cfg(target_os = "linux")]
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{self, RecvFlags};
use socket2::Socket;

use super::http2::Stream;
pub(super) use super::sending::Then;
use super::sending::send;
use super::tls::{TlsStream, Variable};
#[cfg(target_os = "linux")]
use crate::sys::sigpipe;

/// A connected, non-blocking byte stream.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(Socket),
    Tls(Box<TlsStream>),
    Stream(Arc<Stream>),
}

impl Transport {
    /// The socket; a stream of HTTP/2 has none of its own.
    fn socket(&self) -> io::Result<&Socket> {
        match self {
            Transport::Plain(socket) => Ok(socket),
            Transport::Tls(stream) => Ok(stream.socket()),
            Transport::Stream(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The socket, if the kernel has all of the stream's state, so that another process can
    /// continue with a copy of the descriptor.
    pub(super) fn plain(&self) -> Option<&Socket> {
        match self {
            Transport::Plain(socket) => Some(socket),
            Transport::Tls(_) | Transport::Stream(_) => None,
        }
    }

    /// The stream of HTTP/2, if it is one.
    #[inline]
    pub(super) fn stream(&self) -> Option<&Arc<Stream>> {
        match self {
            Transport::Stream(stream) => Some(stream),
            Transport::Plain(_) | Transport::Tls(_) => None,
        }
    }

    /// True if the client has chosen HTTP/2 in the TLS handshake.
    pub(super) fn has_chosen_http2(&self) -> bool {
        match self {
            Transport::Tls(stream) => stream.has_chosen_http2(),
            Transport::Plain(_) | Transport::Stream(_) => false,
        }
    }

    /// Reads what has arrived; 0 is the end of the client's side.
    #[inline]
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => Ok(net::recv(socket, buffer, RecvFlags::empty())?.0),
            Transport::Tls(stream) => stream.read(buffer),
            Transport::Stream(stream) => stream.read(buffer),
        }
    }

    /// Reads what has arrived into the spare capacity of `buffer`, of which there must be some, and
    /// appends it; 0 is the end of the client's side.
    #[inline]
    pub(super) fn append_to(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        debug_assert!(buffer.capacity() > buffer.len(), "a read into no space looks like the end");
        match self {
            Transport::Plain(socket) => {
                Ok(rustix::io::read(socket, rustix::buffer::spare_capacity(buffer))?)
            }
            Transport::Tls(stream) => stream.append_to(buffer),
            Transport::Stream(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Copies what has arrived on the socket, and leaves it there. Below TLS, as
    /// [`Transport::read_raw`]: a header of the PROXY protocol comes before the handshake.
    #[cold]
    pub(super) fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        Ok(net::recv(self.socket()?, buffer, flags)?.0)
    }

    /// Reads what has arrived on the socket.
    #[cold]
    pub(super) fn read_raw(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(net::recv(self.socket()?, buffer, RecvFlags::empty())?.0)
    }

    /// Sends from all `slices` by one system call; returns how many bytes were taken.
    #[inline]
    pub(super) fn send(&self, slices: &[IoSlice<'_>], then: Then) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => send(socket, slices, then),
            Transport::Tls(stream) => stream.send(slices, then),
            Transport::Stream(stream) => stream.send(slices, then),
        }
    }

    /// Sends `count` bytes of a file from `offset`, which moves on; the kernel does so by itself if
    /// they are not encrypted.
    #[cfg(target_os = "linux")]
    pub(super) fn send_file(
        &self,
        file: &File,
        offset: &mut u64,
        count: usize,
    ) -> io::Result<usize> {
        let socket = match self {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => return stream.send_file(file, offset, count),
            Transport::Stream(stream) => return stream.send_file(file, offset, count),
        };
        // Unlike `sendmsg` it has no flag against SIGPIPE.
        sigpipe::suppressed(|| Ok(rustix::fs::sendfile(socket, file, Some(offset), count)?))
    }

    /// Sends bytes that were taken and that the socket did not accept; true if none are left.
    #[inline]
    pub(super) fn flush(&self) -> io::Result<bool> {
        match self {
            Transport::Plain(_) | Transport::Stream(_) => Ok(true),
            Transport::Tls(stream) => stream.flush(),
        }
    }

    /// Bytes that the socket has accepted since the last call, if `taken` is how many were taken.
    #[inline]
    pub(super) fn accepted(&self, taken: u64) -> u64 {
        match self {
            Transport::Plain(_) | Transport::Stream(_) => taken,
            Transport::Tls(stream) => stream.take_sent(),
        }
    }

    /// True while bytes that were taken wait for the socket.
    #[inline]
    pub(super) fn has_unsent(&self) -> bool {
        match self {
            Transport::Plain(_) | Transport::Stream(_) => false,
            Transport::Tls(stream) => stream.has_unsent(),
        }
    }

    /// How many they are.
    #[inline]
    pub(super) fn unsent_bytes(&self) -> usize {
        match self {
            Transport::Plain(_) | Transport::Stream(_) => 0,
            Transport::Tls(stream) => stream.unsent_bytes(),
        }
    }

    /// True if a read may return something although no event will come.
    #[inline]
    pub(super) fn has_more(&self) -> bool {
        match self {
            Transport::Plain(_) | Transport::Stream(_) => false,
            Transport::Tls(stream) => stream.has_more(),
        }
    }

    /// True once the client has sent anything of a handshake.
    pub(super) fn has_received(&self) -> bool {
        match self {
            Transport::Plain(_) | Transport::Stream(_) => false,
            Transport::Tls(stream) => stream.has_received(),
        }
    }

    /// True until the client has completed the handshake.
    #[inline]
    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Transport::Plain(_) | Transport::Stream(_) => false,
            Transport::Tls(stream) => stream.is_handshaking(),
        }
    }

    /// What the application sees of the TLS session; `None` if there is none.
    #[inline]
    pub(super) fn variables(&self) -> Option<&Arc<[Variable]>> {
        match self {
            Transport::Plain(_) => None,
            Transport::Tls(stream) => stream.variables(),
            Transport::Stream(stream) => stream.variables(),
        }
    }

    /// Shuts down the sending side, and goes on reading.
    pub(super) fn end_sending(&self) -> io::Result<()> {
        if let Transport::Tls(stream) = self {
            stream.end_sending();
        }
        self.socket()?.shutdown(std::net::Shutdown::Write)
    }

    /// Shuts down the sending side: the client sees the end of the stream. What it sends is
    /// discarded: over TLS, reads return it encrypted.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        self.announce_end();
        self.socket()?.shutdown(std::net::Shutdown::Write)
    }

    /// Ends a stream of HTTP/2, whose response is complete or was cut short.
    #[inline]
    pub(super) fn end_stream(&self) {
        if let Transport::Stream(stream) = self {
            stream.end();
        }
    }

    /// Shuts down both directions. Closing the descriptor is not enough: a child that the
    /// application has forked holds a copy.
    pub(super) fn shutdown(&self) {
        self.announce_end();
        if let Ok(socket) = self.socket() {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Lets the stream end without the announcement that all was sent: a response was cut short.
    pub(super) fn omit_announcement(&self) {
        match self {
            Transport::Plain(_) => {}
            Transport::Tls(stream) => stream.omit_close(),
            Transport::Stream(stream) => stream.cut_short(),
        }
    }

    fn announce_end(&self) {
        match self {
            Transport::Plain(_) => {}
            Transport::Tls(stream) => stream.close(),
            Transport::Stream(stream) => stream.close(),
        }
    }

    /// Resets the connection, so that the client sees an error. Undelivered bytes are lost.
    pub(super) fn reset(&self) {
        let socket = match self {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.socket(),
            Transport::Stream(stream) => return stream.reset(),
        };
        let _ = socket.set_linger(Some(Duration::ZERO));
        // As for `shutdown`, a child may hold a copy of the descriptor. On Linux this call resets
        // the connection at once: see connect(2) on AF_UNSPEC. A unix socket has no reset and is
        // shut down.
        if rustix::net::connect_unspec(socket).is_err() {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }

    /// True if the client has shut down its side, or the connection is lost. Asks the kernel.
    pub(super) fn is_peer_disconnected(&self) -> bool {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        let ends = PollFlags::RDHUP;
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
        let ends = PollFlags::HUP;
        self.has_any(ends)
    }

    /// True if the connection is lost in both directions. Asks the kernel.
    pub(super) fn is_lost(&self) -> bool {
        // HUP and ERR are always reported.
        self.has_any(PollFlags::empty())
    }

    fn has_any(&self, flags: PollFlags) -> bool {
        let socket = match self {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.socket(),
            Transport::Stream(stream) => return stream.is_cancelled(),
        };
        let mut fds = [PollFd::new(socket, flags)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&at_once)), Ok(1..)) && !fds[0].revents().is_empty()
    }
}

/// For registering it with the poller. A stream of HTTP/2 is not registered.
impl AsRawFd for Transport {
    fn as_raw_fd(&self) -> RawFd {
        self.socket().map_or(-1, |socket| socket.as_raw_fd())
    }
}
