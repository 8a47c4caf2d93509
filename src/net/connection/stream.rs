//! A connection that serves one stream of HTTP/2: its transport is the stream, and its content
//! comes from the session. Everything else is as over HTTP/1.1.

use std::sync::Arc;

use super::{Connection, Origin, Parsed, Rejection};
use crate::config::Settings;
use crate::http1::{self, ResponseHead};
use crate::net::arena::ConnectionId;
use crate::net::http2;
use crate::net::proxied::Preamble;
use crate::net::write_half::WriteHalf;
use crate::sys::clock::Moment;

impl Connection {
    /// A stream that the client of `session` has opened.
    pub(in crate::net) fn for_stream(
        id: ConnectionId,
        write_half: Arc<WriteHalf>,
        session: &Connection,
        settings: &Arc<Settings>,
        now: Moment,
    ) -> Connection {
        let origin = Origin { peer: session.peer, local: session.local.clone(), accepted_at: now };
        let poller = session.poller.clone();
        let mut connection = Connection::new(id, write_half, poller, origin, settings);
        connection.preamble = Preamble::Done;
        if session.proxied.is_tls() {
            connection.proxied.set_tls();
        }
        connection
    }

    /// Reports the bytes that the buffers of a session hold to the memory budget.
    pub(in crate::net) fn charge_session(&mut self, held_bytes: usize) {
        if held_bytes > 0 || !self.reservation.is_empty() {
            self.reservation.set(held_bytes, 0);
        }
    }

    /// Takes the head of the request. `has_content` is whether content may follow. With
    /// `--request-buffering off` the request is complete then, and the content is left to the
    /// application.
    pub(in crate::net) fn receive_stream_head(
        &mut self,
        head: &[u8],
        has_content: bool,
        body_buffer: usize,
    ) -> Parsed {
        let result = self.http.receive_stream_head(head, has_content);
        let head = self.http.head();
        if let Err(error) = result {
            self.proxied.on_rejected_head(head);
            return Rejection::Protocol(error).into();
        }
        if let Err(error) = self.proxied.on_head(head) {
            return Rejection::Forwarded(error).into();
        }
        if has_content && !self.buffers_content {
            return Parsed::Complete;
        }
        if let http1::Framing::Length(length) = head.framing()
            && length > body_buffer as u64
            && self.reservation.memory_budget().never_fits(length)
        {
            return Rejection::NeverSpooled.into();
        }
        let mut parsed = if has_content { Parsed::NeedMore } else { Parsed::Complete };
        self.keep_within_budget(&mut parsed);
        parsed
    }

    /// The stream has ended, and the content with it.
    pub(in crate::net) fn end_stream_content(&mut self, body_buffer: usize, now: Moment) -> Parsed {
        self.http.end_stream_content();
        self.resume(body_buffer, now)
    }

    /// True if content that is not complete is left to the application.
    pub(in crate::net) fn leaves_content(&self) -> bool {
        !self.buffers_content && self.http.wants_content()
    }

    /// True if the client waits for a `100 Continue`.
    pub(in crate::net) fn expects_continue(&self) -> bool {
        self.http.wants_content() && self.http.head().expect_continue()
    }

    /// Queues the head of the response. `length` is the length of the content in bytes, if it is
    /// known; `date` is an HTTP-date.
    #[inline]
    pub fn begin(&mut self, head: &ResponseHead, length: Option<u64>, date: &[u8]) {
        match self.trace.is_on() {
            false => self.queue_head(head, length, date),
            true => self.begin_traced(head, length, date),
        }
    }

    #[inline]
    pub(super) fn queue_head(&mut self, head: &ResponseHead, length: Option<u64>, date: &[u8]) {
        let Connection { http, queue, write_half, .. } = self;
        match write_half.transport().stream() {
            None => queue.gather(|out| http.begin(head, length, date, out)),
            Some(stream) => {
                let length = http.begin_stream(head, length);
                stream.set_head(http2::head(head, length, date));
            }
        }
    }

    /// Queues an interim response, such as a 103: its head as HTTP/1.1 has it.
    pub fn queue_interim(&mut self, text: &[u8]) {
        match self.write_half.transport().stream() {
            None => self.queue.gather(|out| out.extend_from_slice(text)),
            Some(stream) => stream.send_interim(http2::interim(text)),
        }
    }

    /// True if the client has reset the stream of the request, which need not run.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.write_half.transport().stream().is_some_and(|stream| stream.is_cancelled())
    }
}
