//! The queue between workers: a pair of sockets that all of them inherit. What one process sends
//! at one end, one process receives at the other end, whole and with the descriptor.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use socket2::{Domain, Socket, Type};

/// The two ends. Both are non-blocking.
#[derive(Debug)]
pub(in crate::net) struct Queue {
    /// Messages are sent here.
    offering: Socket,
    /// Messages are received here.
    taking: Socket,
}

/// The result of [`Queue::receive`].
#[derive(Debug)]
pub(in crate::net) enum Received {
    /// A descriptor, and the number of bytes that came with it.
    Message(OwnedFd, usize),
    /// A message without exactly one descriptor, or longer than the buffer.
    Malformed,
    /// The queue is empty.
    Empty,
}

impl Queue {
    pub(super) fn new() -> io::Result<Queue> {
        let (offering, taking) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None)?;
        offering.set_nonblocking(true)?;
        taking.set_nonblocking(true)?;
        Ok(Queue { offering, taking })
    }

    pub(super) fn ends(&self) -> [BorrowedFd<'_>; 2] {
        [self.offering.as_fd(), self.taking.as_fd()]
    }

    /// The end that is readable while there are messages.
    pub(in crate::net) fn taking_end(&self) -> BorrowedFd<'_> {
        self.taking.as_fd()
    }

    /// Sends a message with a descriptor; the caller keeps its own. Fails if the queue is full, or
    /// too many descriptors of this user are in messages. [unix(7), ETOOMANYREFS]
    pub(in crate::net) fn send(&self, message: &[u8], socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let sockets = [socket];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&sockets)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let sent = sendmsg(&self.offering, &[IoSlice::new(message)], &mut ancillary, NO_SIGNAL)?;
        // Such a socket sends all of a message or nothing.
        debug_assert_eq!(sent, message.len());
        Ok(())
    }

    /// Receives a message. If no descriptor is free, the one in the message is lost: see
    /// [`SpareDescriptor`].
    pub(in crate::net) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let buffers = &mut [IoSliceMut::new(buffer)];
        let received = match recvmsg(&self.taking, buffers, &mut ancillary, CLOSE_ON_EXEC) {
            Ok(received) => received,
            Err(rustix::io::Errno::AGAIN) => return Ok(Received::Empty),
            Err(error) => return Err(error.into()),
        };
        let mut sockets = Vec::new();
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                sockets.extend(descriptors);
            }
        }
        let is_cut = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
        match (sockets.pop(), sockets.is_empty() && !is_cut) {
            (Some(socket), true) => Ok(Received::Message(socket, received.bytes)),
            // The queue is never at its end, because this process has both ends. So an empty
            // message is one.
            _ => Ok(Received::Malformed),
        }
    }
}

/// A descriptor that is closed just before a message is received, so that there is one for the
/// connection in it, unless another thread takes it in this moment.
#[derive(Debug)]
pub(in crate::net) struct SpareDescriptor(Option<File>);

impl SpareDescriptor {
    pub(in crate::net) fn new() -> SpareDescriptor {
        SpareDescriptor(None)
    }

    /// Opens the descriptor, if it is closed. False if none is free.
    pub(in crate::net) fn open(&mut self) -> bool {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
        self.0.is_some()
    }

    /// Closes it.
    pub(in crate::net) fn close(&mut self) {
        self.0 = None;
    }
}

#[cfg(target_os = "linux")]
const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;
#[cfg(not(target_os = "linux"))]
const NO_SIGNAL: SendFlags = SendFlags::empty();

#[cfg(target_os = "linux")]
const CLOSE_ON_EXEC: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const CLOSE_ON_EXEC: RecvFlags = RecvFlags::empty();

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    #[test]
    fn message_arrives_once_with_its_descriptor() {
        let queue = Queue::new().unwrap();
        let (mut client, server) = UnixStream::pair().unwrap();
        queue.send(b"hello", server.as_fd()).unwrap();
        drop(server);
        let mut buffer = [0; 16];
        let Received::Message(socket, 5) = queue.receive(&mut buffer).unwrap() else {
            panic!("no message")
        };
        assert_eq!(&buffer[..5], b"hello");
        assert!(matches!(queue.receive(&mut buffer).unwrap(), Received::Empty));
        UnixStream::from(socket).write_all(b"x").unwrap();
        client.read_exact(&mut buffer[..1]).unwrap();
        assert_eq!(client.read(&mut buffer).unwrap(), 0, "no other copy is open");
    }

    #[test]
    fn message_that_is_cut_or_has_another_number_of_descriptors_is_malformed() {
        let queue = Queue::new().unwrap();
        let (client, server) = UnixStream::pair().unwrap();
        let mut buffer = [0; 4];
        queue.send(b"hello", server.as_fd()).unwrap();
        queue.offering.send(b"a").unwrap();
        queue.offering.send(b"").unwrap();
        let sockets = [server.as_fd(), client.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&sockets)));
        sendmsg(&queue.offering, &[IoSlice::new(b"b")], &mut ancillary, NO_SIGNAL).unwrap();
        for message in 0..4 {
            let received = queue.receive(&mut buffer).unwrap();
            assert!(matches!(received, Received::Malformed), "{message}: {received:?}");
        }
        assert!(matches!(queue.receive(&mut buffer).unwrap(), Received::Empty));
    }

    #[test]
    fn full_queue_refuses_a_message() {
        let queue = Queue::new().unwrap();
        let (_client, server) = UnixStream::pair().unwrap();
        let message = [0; 32 * 1024];
        let refused = (0..1000).find_map(|_| queue.send(&message, server.as_fd()).err());
        assert_eq!(refused.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
