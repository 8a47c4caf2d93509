//! The protocol of one connection, driven by hand: bytes in, requests and content out, and bytes to
//! send. The library's types stay below this file.

use crate::sys::clock::Moment;
use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use h2::server::{self, Connection, Handshake, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;

use super::body::Part;
use super::content::Content;
use super::meter::{Flood, Meter, Offence};
use super::pipe::Pipe;
use super::request::write_head;
use super::resets::Resets;
use super::shared::Shared;
use super::stream::Stream;
use super::upgrade::{Splice, Upgraded};
use crate::config::Http2Settings;
use crate::http1;
use crate::net::tuning::{
    HTTP2_CONNECTION_WINDOW, HTTP2_MAX_PENDING_RESETS, HTTP2_MAX_SERVER_RESETS, HTTP2_MAX_WINDOW,
    HTTP2_MIN_DECODED_HEAD, HTTP2_SEND_BUFFER,
};

/// The protocol of one connection.
pub(in crate::net) struct Session {
    state: State,
    pipe: Pipe,
    meter: Meter,
    shared: Arc<Shared>,
    /// Streams that are reset once all was written that the protocol has.
    resets: Arc<Resets>,
    /// Why the connection ends. Nothing that follows is read.
    offence: Option<Offence>,
    /// The session has asked the library to end the connection.
    has_gone_away: bool,
    /// `--http2-max-header-list-size`
    max_list_size: u32,
    /// The request that has asked for HTTP/2, until the client's preface has arrived.
    splice: Option<Splice>,
    /// How many streams the client has opened.
    opened: usize,
    /// The connection is to end once the client's preface has arrived.
    shuts_down: bool,
}

enum State {
    /// The client's preface has not arrived.
    Opening(Box<Handshake<Pipe, Part>>),
    Open(Box<Connection<Pipe, Part>>),
    Closed,
}

/// What [`Session::poll`] has found.
#[derive(Debug)]
pub(in crate::net) enum Found {
    /// A stream with a request.
    Request(Box<NewStream>),
    /// Nothing more for now.
    Nothing,
    /// The connection has ended.
    Closed(Ending),
}

/// Why a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum Ending {
    /// Regularly, or because the client has disconnected.
    Regular,
    /// The client has violated the protocol.
    Malformed,
    /// The client has exceeded a bound of the library.
    Excess,
    /// The client has sent too much of something.
    Flood(Flood),
}

impl Ending {
    fn of(offence: Offence) -> Ending {
        match offence {
            Offence::Flood(flood) => Ending::Flood(flood),
            Offence::Violation(_) => Ending::Malformed,
        }
    }
}

/// A stream that a client has opened.
pub(in crate::net) struct NewStream {
    /// The head of the request as HTTP/1.1 writes it; an error if that is not possible.
    pub(in crate::net) head: Result<Vec<u8>, http1::Error>,
    /// Receives the content, if some may follow.
    pub(in crate::net) content: Option<Content>,
    /// Sends the response.
    pub(in crate::net) stream: Arc<Stream>,
}

impl Session {
    /// `upgraded` is the request that has asked for HTTP/2; `buffers_content` is
    /// `--request-buffering`.
    pub(in crate::net) fn new(
        settings: &Http2Settings,
        buffers_content: bool,
        shared: Arc<Shared>,
        upgraded: Option<Upgraded>,
        now: Moment,
    ) -> Session {
        let max_list_size = settings.max_header_list_size;
        let pipe = Pipe::announcing(max_list_size);
        let handshake = server::Builder::new()
            .max_concurrent_streams(settings.max_concurrent_streams)
            .initial_window_size(settings.initial_window_size)
            .initial_connection_window_size(connection_window(settings, buffers_content))
            .max_frame_size(settings.max_frame_size)
            .max_header_list_size(decoded_head(max_list_size))
            .max_send_buffer_size(HTTP2_SEND_BUFFER)
            .max_pending_accept_reset_streams(HTTP2_MAX_PENDING_RESETS)
            .max_local_error_reset_streams(Some(HTTP2_MAX_SERVER_RESETS))
            .handshake(pipe.clone());
        let meter = Meter::new(now);
        let splice = upgraded.map(Splice::new);
        Session {
            state: State::Opening(Box::new(handshake)),
            pipe,
            meter,
            shared,
            resets: Arc::default(),
            offence: None,
            has_gone_away: false,
            max_list_size,
            splice,
            opened: 0,
            shuts_down: false,
        }
    }

    /// What the streams share.
    pub(in crate::net) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Takes received bytes, and may take their buffer until [`Session::return_input`].
    pub(in crate::net) fn receive(&mut self, bytes: &mut Vec<u8>, now: Moment) {
        if self.offence.is_some() {
            return;
        }
        if let Err((offence, before)) = self.meter.count(bytes, now) {
            self.offence = Some(offence);
            if matches!(offence, Offence::Flood(_)) {
                self.has_gone_away = true;
                return self.go_away(offence.reason());
            }
            // The library reads what comes before: the preface may be part of it.
            bytes.truncate(before);
        }
        match &mut self.splice {
            None => self.pipe.push(bytes),
            Some(splice) => {
                let complete = splice.receive(bytes);
                // The SETTINGS have no end if they are the offence: the preface goes on alone.
                let cut = || self.offence.map(|_| splice.take_held());
                if let Some(mut bytes) = complete.or_else(cut) {
                    self.pipe.push(&mut bytes);
                    self.splice = None;
                }
            }
        }
    }

    /// The client has shut down its side.
    pub(in crate::net) fn receive_end(&mut self) {
        self.pipe.end();
    }

    /// True if the protocol reads what it has received: it does not while it cannot send.
    pub(in crate::net) fn wants_input(&self) -> bool {
        self.pipe.unread() == 0
    }

    /// Advances the protocol. Call until it returns [`Found::Nothing`] or [`Found::Closed`].
    pub(in crate::net) fn poll(&mut self) -> Found {
        let mut context = Context::from_waker(&self.shared.waker);
        loop {
            match &mut self.state {
                State::Opening(handshake) => match Pin::new(&mut **handshake).poll(&mut context) {
                    Poll::Pending => return Found::Nothing,
                    Poll::Ready(Ok(mut connection)) => {
                        if self.shuts_down {
                            connection.graceful_shutdown();
                        }
                        self.state = State::Open(Box::new(connection));
                    }
                    Poll::Ready(Err(error)) => return self.end(Some(&error)),
                },
                State::Open(connection) => {
                    return match connection.poll_accept(&mut context) {
                        Poll::Pending => {
                            if let Some(offence) = self.offence
                                && !std::mem::replace(&mut self.has_gone_away, true)
                            {
                                connection.abrupt_shutdown(offence.reason());
                                continue;
                            }
                            if !self.pipe.is_stalled() {
                                self.resets.send();
                                if self.meter.heads.has_invalid() && self.pipe.unread() == 0 {
                                    self.meter.heads.forget_left_out();
                                }
                            }
                            Found::Nothing
                        }
                        Poll::Ready(None) => self.end(None),
                        Poll::Ready(Some(Err(error))) => self.end(Some(&error)),
                        Poll::Ready(Some(Ok((request, respond)))) => {
                            Found::Request(Box::new(self.accept(request, respond)))
                        }
                    };
                }
                // Before the preface was read, nothing can be said to the client.
                State::Closed => {
                    return Found::Closed(self.offence.map_or(Ending::Regular, Ending::of));
                }
            }
        }
    }

    fn accept(&mut self, request: Request<RecvStream>, respond: SendResponse<Part>) -> NewStream {
        let (parts, content) = request.into_parts();
        let heads = &mut self.meter.heads;
        let is_invalid = heads.has_invalid() && heads.take_invalid(respond.stream_id().as_u32());
        let mut head = Vec::with_capacity(256);
        let head = match write_head(&parts, self.max_list_size, &mut head) {
            Ok(()) if is_invalid => Err(http1::Error::Target),
            written => written.map(|()| head),
        };
        let content = (!content.is_end_stream()).then(|| Content::new(content));
        self.opened += 1;
        let stream =
            Arc::new(Stream::new(self.shared.clone(), self.resets.clone(), self.opened, respond));
        NewStream { head, content, stream }
    }

    fn end(&mut self, error: Option<&h2::Error>) -> Found {
        self.state = State::Closed;
        Found::Closed(match (self.offence, error) {
            (Some(offence), _) => Ending::of(offence),
            (None, None) => Ending::Regular,
            (None, Some(error)) if error.is_io() || error.is_remote() => Ending::Regular,
            (None, Some(error)) => match error.reason() {
                Some(Reason::ENHANCE_YOUR_CALM) => Ending::Excess,
                Some(Reason::NO_ERROR) => Ending::Regular,
                _ => Ending::Malformed,
            },
        })
    }

    fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Announces that the connection takes no further stream, and ends it once those that it has
    /// are complete. Before the client's preface, its first request may be on the way. [RFC 9113
    /// section 6.8]
    pub(in crate::net) fn shut_down(&mut self) {
        match &mut self.state {
            State::Open(connection) => connection.graceful_shutdown(),
            State::Opening(_) => self.shuts_down = true,
            State::Closed => {}
        }
    }

    /// Ends the connection, which has no stream, with GOAWAY and NO_ERROR.
    pub(in crate::net) fn close(&mut self) {
        self.go_away(Reason::NO_ERROR);
    }

    fn go_away(&mut self, reason: Reason) {
        match &mut self.state {
            State::Open(connection) => connection.abrupt_shutdown(reason),
            State::Opening(_) => self.state = State::Closed,
            State::Closed => {}
        }
    }

    /// Gives the buffer of received bytes back, in exchange for `bytes`.
    pub(in crate::net) fn return_input(&self, bytes: &mut Vec<u8>) {
        self.pipe.return_input(bytes);
    }

    /// Lends a buffer for bytes to send, or takes it back.
    pub(in crate::net) fn swap_output(&self, buffer: &mut Vec<u8>) {
        self.pipe.swap_output(buffer);
    }

    /// True if the protocol has more to send than it could write since the last call.
    pub(in crate::net) fn take_stalled(&self) -> bool {
        self.pipe.take_stalled()
    }

    /// Calls `send` with the bytes to send, if there are any.
    pub(in crate::net) fn send_output<T>(&self, send: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.pipe.send_output(send)
    }

    /// Sets whether the socket has not taken all bytes: nothing is added meanwhile.
    pub(in crate::net) fn set_congested(&self, is_congested: bool) {
        self.pipe.set_blocked(is_congested);
        self.shared.set_congested(is_congested);
    }

    /// Bytes that the connection holds of responses that were not sent, and of frames.
    pub(in crate::net) fn held_bytes(&self) -> usize {
        self.pipe.held_bytes() + self.meter.held_bytes() + self.shared.taken_bytes()
    }

    /// True if the client may have reset a stream since the last call.
    pub(in crate::net) fn take_has_reset(&mut self) -> bool {
        let has_reset = self.meter.has_reset;
        // What is received is not processed while there is no space for output.
        self.meter.has_reset &= self.pipe.is_stalled() || self.pipe.unread() > 0;
        has_reset
    }

    /// True if the client may have acknowledged the settings since the last call: then the windows
    /// of streams that were open before may have become smaller.
    pub(in crate::net) fn take_has_ack(&mut self) -> bool {
        let has_ack = self.meter.has_ack;
        self.meter.has_ack &= self.pipe.is_stalled() || self.pipe.unread() > 0;
        has_ack
    }

    /// Requests that are known to be invalid, and were not accepted.
    #[cfg(test)]
    pub(in crate::net) fn invalid_heads(&self) -> usize {
        self.meter.heads.invalid_count()
    }

    /// True if the client has reset this stream.
    pub(in crate::net) fn is_reset(&self, stream: &Stream) -> bool {
        stream.poll_reset()
    }
}

/// Bytes of a head that the library decodes. It answers what is larger with 431, and ends the
/// connection of a client that sends four times as much, or more CONTINUATION frames than these
/// bytes need. So the bound of the library is above that of the requests, which `write_head` keeps.
fn decoded_head(max_list_size: u32) -> u32 {
    max_list_size.saturating_mul(2).max(HTTP2_MIN_DECODED_HEAD)
}

/// Bytes of content that a client may send over all streams before some are taken. Content that is
/// left to the application waits for it: then no stream may use up what another one needs, as the
/// thread that reads that one would wait for ever.
fn connection_window(settings: &Http2Settings, buffers_content: bool) -> u32 {
    let streams = if buffers_content { 1 } else { settings.max_concurrent_streams };
    let needed = settings.initial_window_size.saturating_mul(streams);
    needed.clamp(HTTP2_CONNECTION_WINDOW, HTTP2_MAX_WINDOW)
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("is_closed", &self.is_closed()).finish_non_exhaustive()
    }
}

impl fmt::Debug for NewStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewStream").field("head", &self.head).finish_non_exhaustive()
    }
}
