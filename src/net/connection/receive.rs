//! Receives requests: parses what was read, and collects the content.
//!
//! Content in memory is copied as little as possible. Large content takes over the buffer that it
//! was read into, and the rest of content of known length is read behind what has arrived.

use super::{Connection, Parsed, Rejection};
use crate::http1::{self, Event};
use crate::net::tuning::{MIN_INPUT_BUFFER, SMALL_BODY};
use crate::sys::clock::Moment;

impl Connection {
    /// Parses the bytes of a read buffer, and keeps those behind the request for later. Content
    /// longer than `body_buffer` bytes goes to a file. Content may take the buffer over, and leaves
    /// another one of any capacity.
    pub(in crate::net) fn feed(
        &mut self,
        buffer: &mut Vec<u8>,
        body_buffer: usize,
        now: Moment,
    ) -> Parsed {
        if self.input.is_empty() {
            let (used, mut parsed) = self.parse(buffer, true, body_buffer, now);
            self.input.extend_from_slice(&buffer[used..]);
            self.keep_within_budget(&mut parsed);
            parsed
        } else {
            self.input.extend_from_slice(buffer);
            self.resume(body_buffer, now)
        }
    }

    /// The buffer that the next read appends to, if it takes the rest of a body of known length.
    /// Then [`Connection::feed_body`] continues.
    pub(in crate::net) fn body_to_fill(&mut self, body_buffer: usize) -> Option<&mut Vec<u8>> {
        if !self.http.wants_content() || self.spool.is_none() || !self.input.is_empty() {
            return None;
        }
        let http1::Framing::Length(length) = self.http.head().framing() else { return None };
        let memory_limit = self.memory_limit(body_buffer);
        let spool = self.spool.as_mut()?;
        let before = spool.memory();
        if !spool.reserve_rest(length, memory_limit) {
            return None;
        }
        if spool.memory() != before {
            self.charge();
        }
        self.spool.as_mut().map(|spool| spool.memory_mut())
    }

    /// Continues after `count` bytes were appended to [`Connection::body_to_fill`].
    pub(in crate::net) fn feed_body(
        &mut self,
        count: usize,
        body_buffer: usize,
        now: Moment,
    ) -> Parsed {
        self.waiting_since = now;
        if let Some(spool) = &mut self.spool {
            let used = match self.http.receive(spool.last(count)) {
                Ok((used, _)) => used,
                Err(error) => return Rejection::Protocol(error).into(),
            };
            self.input = spool.split_off(count - used);
        }
        let (_, mut parsed) = self.parse(&mut Vec::new(), false, body_buffer, now);
        self.keep_within_budget(&mut parsed);
        parsed
    }

    /// Parses bytes that were received earlier, such as a pipelined request.
    pub(in crate::net) fn resume(&mut self, body_buffer: usize, now: Moment) -> Parsed {
        let mut input = std::mem::take(&mut self.input);
        let (used, mut parsed) = self.parse(&mut input, false, body_buffer, now);
        self.input = input;
        if used == self.input.len() {
            // An idle connection keeps no buffer.
            self.input = Vec::new();
        } else {
            self.input.drain(..used);
            // A few bytes behind a large head would hold the buffer of that head.
            if self.input.capacity() / 4 > self.input.len() + MIN_INPUT_BUFFER {
                self.input.shrink_to_fit();
            }
        }
        self.keep_within_budget(&mut parsed);
        parsed
    }

    /// The length up to which content stays in memory now.
    fn memory_limit(&self, body_buffer: usize) -> usize {
        let short = self.reservation.memory_budget().is_over_soft_limit();
        if short { body_buffer.min(SMALL_BODY) } else { body_buffer }
    }

    /// Parses `bytes`. Returns how many of them were used, and what follows from them. Content may
    /// take over the read buffer, and leaves the bytes that follow it.
    fn parse(
        &mut self,
        bytes: &mut Vec<u8>,
        is_read_buffer: bool,
        body_buffer: usize,
        now: Moment,
    ) -> (usize, Parsed) {
        let mut used = 0;
        let mut was_idle = self.http.is_idle();
        loop {
            let (took, event) = match self.http.receive(&bytes[used..]) {
                Ok(step) => step,
                Err(error) => {
                    if was_idle {
                        self.started_at = now;
                        self.proxied.on_rejected_head(self.http.head());
                    }
                    return (used, Rejection::Protocol(error).into());
                }
            };
            if was_idle && !self.http.is_idle() {
                was_idle = false;
                self.started_at = now;
                self.waiting_since = now;
            }
            let from = used;
            used += took;
            match event {
                Event::NeedMore => return (used, Parsed::NeedMore),
                Event::Head => {
                    self.head_complete_at = now;
                    self.waiting_since = now;
                    let head = self.http.head();
                    if let Err(error) = self.proxied.on_head(head) {
                        return (used, Rejection::Forwarded(error).into());
                    }
                    let content = head.framing() != http1::Framing::Empty;
                    if content && !self.buffers_content {
                        return (used, Parsed::Complete);
                    }
                    if let http1::Framing::Length(length) = head.framing()
                        && length > body_buffer as u64
                        && self.reservation.memory_budget().never_fits(length)
                    {
                        return (used, Rejection::NeverSpooled.into());
                    }
                    // A client that sends its content without waiting needs no 100.
                    if head.expect_continue() && content && used == bytes.len() {
                        self.queue
                            .gather(|out| out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
                    }
                }
                Event::Content(range) => {
                    self.waiting_since = now;
                    let expected = match self.http.head().framing() {
                        http1::Framing::Length(length) => length,
                        _ => 0,
                    };
                    let memory_limit = self.memory_limit(body_buffer);
                    let content = from + range.start..from + range.end;
                    let spool = self.spool.get_or_insert_default();
                    if is_read_buffer && spool.adopts(bytes, &content, expected, memory_limit) {
                        let behind = bytes.split_off(content.end);
                        spool.adopt(std::mem::replace(bytes, behind), content.start);
                        used = 0;
                    } else if let Err(error) = spool.push(&bytes[content], expected, memory_limit) {
                        return (used, Rejection::Spool(error).into());
                    }
                }
                Event::End => {
                    return match self.spool.as_mut().map_or(Ok(()), |spool| spool.finish()) {
                        Ok(()) => (used, Parsed::Complete),
                        Err(error) => (used, Rejection::Spool(error).into()),
                    };
                }
            }
        }
    }
}
