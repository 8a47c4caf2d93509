//! The parts of a connection that go to another worker with its request: what to send, and how the
//! receiver continues with it.

use std::io::Write as _;

use super::Connection;
use crate::http1::Framing;
use crate::net::hand_over::{MAX_MESSAGE, Message, Times};
use crate::net::proxied::Preamble;
use crate::sys::clock::Moment;

impl Connection {
    /// True if the connection may go to another worker: its request is complete and in memory, and
    /// nothing of a response exists.
    pub(in crate::net) fn is_movable(&self) -> bool {
        let Some(content) = self.content_in_memory() else { return false };
        let head = self.http.head().bytes().len();
        // The message has some bytes before and between these.
        head.saturating_add(content.len()).saturating_add(self.input.len()) < MAX_MESSAGE - 1024
            && self.read_half.is_none()
            && self.queue.is_empty()
            && !self.http.has_begun()
            && !self.write_half.has_waiting()
            && !self.write_half.has_failed()
    }

    /// The content of the request, if all of it is in memory.
    fn content_in_memory(&self) -> Option<&[u8]> {
        self.spool.as_ref().map_or(Some(&[]), |spool| spool.in_memory())
    }

    /// Everything but the bytes of the message for another worker. `complete_at` is when the
    /// request was complete.
    pub(in crate::net) fn to_message(
        &self,
        complete_at: Moment,
        is_half_closed: bool,
    ) -> Message<'_> {
        let times = Times {
            started_at: self.started_at,
            head_complete_at: self.head_complete_at,
            complete_at,
        };
        Message {
            peer: self.peer,
            local: (&self.local.name, &self.local.port),
            has_served: self.has_served,
            is_tls: self.proxied.is_tls(),
            is_half_closed,
            times,
            bytes: b"",
        }
    }

    /// Appends the request as its client could have sent it, and the input behind it.
    pub(in crate::net) fn append_request(&self, out: &mut Vec<u8>) {
        let head = self.http.head();
        out.extend_from_slice(head.bytes());
        let content = self.content_in_memory().unwrap_or_default();
        if head.framing() != Framing::Chunked {
            out.extend_from_slice(content);
        } else {
            if !content.is_empty() {
                // Writing to a vector does not fail.
                let _ = write!(out, "{:x}\r\n", content.len());
                out.extend_from_slice(content);
                out.extend_from_slice(b"\r\n");
            }
            // Trailers are discarded: the application does not see them.
            out.extend_from_slice(b"0\r\n\r\n");
        }
        out.extend_from_slice(&self.input);
    }

    /// Prepares a connection of another worker, which has received the header of the PROXY
    /// protocol. To be called before the request is parsed.
    pub(in crate::net) fn set_proxied(&mut self, is_tls: bool) {
        self.preamble = Preamble::Done;
        if is_tls {
            self.proxied.set_tls();
        }
    }

    /// Continues a connection of another worker, whose request was just parsed again.
    pub(in crate::net) fn restore(&mut self, times: Times, has_served: bool) {
        self.started_at = times.started_at;
        self.head_complete_at = times.head_complete_at;
        self.has_served = has_served;
    }
}
