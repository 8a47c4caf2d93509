//! What the master sends to the inspector of a worker: a request, with the connection of the client
//! that is to be answered (`SCM_RIGHTS`, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The length of a request: one byte for its kind, padding, and milliseconds.
const LENGTH: usize = 8;
const STACKS: u8 = b's';
const PROFILE: u8 = b'p';

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inspection {
    /// The stacks of all threads.
    Stacks,
    /// A profile of this length.
    Profile(Duration),
}

impl Inspection {
    fn encode(self) -> [u8; LENGTH] {
        let (kind, length) = match self {
            Inspection::Stacks => (STACKS, Duration::ZERO),
            Inspection::Profile(length) => (PROFILE, length),
        };
        let [a, b, c, d] = u32::try_from(length.as_millis()).unwrap_or(u32::MAX).to_ne_bytes();
        [kind, 0, 0, 0, a, b, c, d]
    }

    fn decode(bytes: [u8; LENGTH]) -> Option<Inspection> {
        let [kind, 0, 0, 0, a, b, c, d] = bytes else { return None };
        let length = Duration::from_millis(u32::from_ne_bytes([a, b, c, d]).into());
        match kind {
            STACKS => Some(Inspection::Stacks),
            PROFILE => Some(Inspection::Profile(length)),
            _ => None,
        }
    }

    /// For the master: sends it with the connection of a client. Does not wait.
    ///
    /// # Errors
    /// As sendmsg(2): `WouldBlock` if the worker has read nothing for long, `BrokenPipe` if it has
    /// ended.
    pub fn send(self, to: &UnixStream, client: BorrowedFd<'_>) -> io::Result<()> {
        let files = [client];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        sendmsg(to, &[IoSlice::new(&self.encode())], &mut control, SEND)?;
        Ok(())
    }

    /// Waits for the next request; `None` at the end of the channel. One without a connection, for
    /// lack of descriptors, is left out.
    ///
    /// # Errors
    /// As recvmsg(2).
    pub(super) fn receive(from: &UnixStream) -> io::Result<Option<(Inspection, UnixStream)>> {
        loop {
            let mut bytes = [0; LENGTH];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let got = recvmsg(from, &mut [IoSliceMut::new(&mut bytes)], &mut control, RECEIVE)?;
            let mut client = None;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    client = fds.last();
                }
            }
            match (got.bytes, Inspection::decode(bytes), client) {
                (0, _, _) => return Ok(None),
                (LENGTH, Some(request), Some(client)) => {
                    return Ok(Some((request, connection(client)?)));
                }
                _ => {}
            }
        }
    }
}

/// The connection of a client, which does not block.
fn connection(client: OwnedFd) -> io::Result<UnixStream> {
    rustix::io::fcntl_setfd(&client, rustix::io::FdFlags::CLOEXEC)?;
    let stream = UnixStream::from(client);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

#[cfg(target_os = "linux")]
const SEND: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);
#[cfg(target_os = "linux")]
const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const SEND: SendFlags = SendFlags::DONTWAIT;
#[cfg(not(target_os = "linux"))]
const RECEIVE: RecvFlags = RecvFlags::empty();

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    #[test]
    fn requests_arrive_with_their_connections() {
        let (master, worker) = UnixStream::pair().unwrap();
        let (mut client, server) = UnixStream::pair().unwrap();
        let sent = [Inspection::Stacks, Inspection::Profile(Duration::from_millis(2500))];
        for request in sent {
            request.send(&master, server.as_fd()).unwrap();
        }
        // Nothing that the master sends.
        (&master).write_all(&[0; LENGTH]).unwrap();
        drop((master, server));
        for request in sent {
            let (received, mut connection) = Inspection::receive(&worker).unwrap().unwrap();
            assert_eq!(received, request);
            connection.write_all(b"x").unwrap();
        }
        assert!(Inspection::receive(&worker).unwrap().is_none());
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "xx");
    }

    #[test]
    fn other_bytes_are_no_request() {
        for bytes in [[0; LENGTH], [STACKS, 1, 0, 0, 0, 0, 0, 0], [b'x', 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(Inspection::decode(bytes), None);
        }
    }
}
