//! The byte stream below a connection: a plain socket today, TLS next.
//!
//! The layers above (parser, output queue, poller) see bytes, never TLS records.
//! [`WriteHalf`](super::write_half) owns the transport; the poller reads through it. All calls are
//! non-blocking. They take `&self`, because a worker thread may write while the poller reads.
//!
//! TLS will be a second kind of `Transport`, which holds its session behind a lock. With TLS a read
//! may have to write (an alert, a key update), and a write may have to wait for a read (the
//! handshake). Neither changes the contract with the callers. Records that a read has produced stay
//! in the session until the next flush, and `WriteHalf::has_waiting` will count them. A write that
//! needs input first fails with `WouldBlock`. Both directions are registered with the poller from
//! the start, so the next event of either direction continues it. `send_file` will read and encrypt
//! a block at a time, as it does on systems without `sendfile`.

use std::fs::File;
use std::io::{self, IoSlice, Read as _};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use socket2::Socket;

#[cfg(target_os = "linux")]
use crate::sys::sigpipe;

/// Whether more may follow the bytes of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Anything, or nothing yet.
    Open,
    /// The end of the connection, at once.
    End,
}

/// A connected, non-blocking byte stream.
#[derive(Debug)]
pub(super) struct Transport {
    socket: Socket,
}

impl Transport {
    pub(super) fn plain(socket: Socket) -> Transport {
        Transport { socket }
    }

    /// Reads what has arrived; 0 is the end of the client's side.
    #[inline]
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.socket).read(buffer)
    }

    /// Sends from all `slices` by one system call; returns how many bytes the socket took.
    #[inline]
    pub(super) fn send(&self, slices: &[IoSlice<'_>], then: Then) -> io::Result<usize> {
        let flags = match then {
            Then::End => libc::MSG_NOSIGNAL | MORE_FOLLOWS,
            Then::Open => libc::MSG_NOSIGNAL,
        };
        match slices {
            [one] => self.socket.send_with_flags(one, flags),
            many => self.socket.send_vectored_with_flags(many, flags),
        }
    }

    /// Has the kernel send `count` bytes of a file from `offset`, which moves on.
    #[cfg(target_os = "linux")]
    pub(super) fn send_file(
        &self,
        file: &File,
        offset: &mut u64,
        count: usize,
    ) -> io::Result<usize> {
        // Unlike `sendmsg` it has no flag against SIGPIPE.
        sigpipe::suppressed(|| Ok(rustix::fs::sendfile(&self.socket, file, Some(offset), count)?))
    }

    /// Shuts down the sending side: the client sees the end of the stream.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        self.socket.shutdown(std::net::Shutdown::Write)
    }

    /// Shuts down both directions. Closing the descriptor is not enough: a child that the
    /// application has forked holds a copy.
    pub(super) fn shutdown(&self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }

    /// Resets the connection, so that the client sees an error. Undelivered bytes are lost.
    pub(super) fn reset(&self) {
        let _ = self.socket.set_linger(Some(Duration::ZERO));
        // As for `shutdown`, a child may hold a copy of the descriptor. On Linux this call resets
        // the connection at once: see connect(2) on AF_UNSPEC. A unix socket has no reset and is
        // shut down.
        if rustix::net::connect_unspec(&self.socket).is_err() {
            self.shutdown();
        }
    }

    /// True if the client has shut down its side, or the connection is lost. Asks the kernel.
    pub(super) fn is_peer_disconnected(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        let ends = PollFlags::RDHUP;
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
        let ends = PollFlags::HUP;
        let mut fds = [PollFd::new(&self.socket, ends)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&at_once)), Ok(1..)) && !fds[0].revents().is_empty()
    }
}

/// For registering it with the poller.
impl AsRawFd for Transport {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The flag for bytes that others follow at once, so that the kernel need not make a packet of
/// them.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MORE_FOLLOWS: libc::c_int = libc::MSG_MORE;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const MORE_FOLLOWS: libc::c_int = 0;
