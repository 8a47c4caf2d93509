//! Sends queued messages through a socket, which it opens first.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::time::Instant;

use super::address::Target;
use super::link::Link;

/// The socket, and how far the first message was sent.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) link: Option<Link>,
    /// Bytes of the first message that a stream has taken.
    pub(super) sent_bytes: usize,
    /// No attempt is made before.
    pub(super) retry_at: Option<Instant>,
}

impl Transfer {
    pub(super) const NEW: Transfer = Transfer { link: None, sent_bytes: 0, retry_at: None };

    /// Sends messages until the socket takes no more. Returns how many were lost, as the system
    /// refuses them for their size.
    pub(super) fn send_all(
        &mut self,
        queue: &mut VecDeque<Vec<u8>>,
        targets: Option<&[Target]>,
        next: usize,
    ) -> (u64, io::Result<()>) {
        let mut lost = 0;
        let link = match (&mut self.link, targets) {
            (Some(link), _) => link,
            (None, None) => return (lost, Ok(())),
            (link, Some(targets)) => match Link::open_any(targets, next) {
                Ok(opened) => link.insert(opened),
                Err(error) => return (lost, Err(error)),
            },
        };
        let mut was_refused = false;
        while let Some(message) = queue.front() {
            match link.send(&message[self.sent_bytes..]) {
                Ok(0) => return (lost, Ok(())),
                Ok(count) if link.is_stream && self.sent_bytes + count < message.len() => {
                    self.sent_bytes += count;
                    continue;
                }
                Ok(_) => was_refused = false,
                // An earlier datagram had no reader: this is all that UDP lets a sender know, and
                // not always. This one was not sent yet.
                Err(error)
                    if link.is_udp
                        && error.kind() == io::ErrorKind::ConnectionRefused
                        && !mem::replace(&mut was_refused, true) =>
                {
                    continue;
                }
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => lost += 1,
                // The next connection sends the first message as a whole.
                Err(error) => return (lost, Err(error)),
            }
            self.sent_bytes = 0;
            queue.pop_front();
        }
        (lost, Ok(()))
    }
}
