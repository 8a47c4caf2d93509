//! The state machine of one server connection: every transition is in this file.
//!
//! There are two halves, as in hyper and h11. [`Reading`] turns bytes into the events of a request,
//! [`Writing`] turns a response into bytes, and [`Connection::start_next`] decides by both whether
//! another request may follow. There is no I/O and no clock: bytes come in by `receive`, and go
//! out through buffers of the caller.
//!
//! ```text
//! reading   Head --> Content --> Complete --(start_next)--> Head
//!             \________\________> Failed
//! writing   Idle --> Content --> Done     --(start_next)--> Idle
//!                       \______> Aborted
//! ```

use std::sync::Arc;

use super::content::ContentDecoder;
use super::event::{BodyTooShort, Event, Next};
use super::frame::{Frame, LAST_CHUNK};
use super::framing::{self, Framing, ResponseFacts, ResponseFraming};
use super::scan::Scan;
use super::{Error, Head, Limits, ResponseHead, Version};

/// The state of the request.
#[derive(Debug)]
pub(super) enum Reading {
    /// Reading a head.
    Head(Scan),
    /// The head was read, and declares no content.
    NoContent,
    /// Reading content.
    Content(ContentDecoder),
    /// Another owner reads the content: see [`Connection::lend_content`].
    ContentLent,
    /// The request was read to its end. Bytes that follow belong to the next one.
    Complete,
    /// The request was rejected: nothing more is read from this connection.
    Failed,
}

/// The state of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// The head was not written yet.
    Idle,
    /// The head was written. Holds the framing of the content that is left.
    Content(ResponseFraming),
    /// The response is complete.
    Done,
    /// The response was aborted, which the client must be able to detect. Holds the framing, if the
    /// head was written.
    Aborted(Option<ResponseFraming>),
}

/// The protocol state of one server connection.
#[derive(Debug)]
pub struct Connection {
    /// Shared by the connections of a worker.
    pub(super) limits: Arc<Limits>,
    /// The head of this request, or of the last one until the next is complete.
    pub(super) head: Head,
    pub(super) reading: Reading,
    writing: Writing,
    /// Content bytes received for this request, decoded.
    received_bytes: u64,
    /// Content bytes written for this response, framing not counted.
    sent_bytes: u64,
    /// The connection closes after this exchange.
    pub(super) is_last: bool,
    /// The request of a stream is a HEAD, perhaps one that is rejected: then `head` is empty.
    pub(super) is_head_stream: bool,
}

impl Connection {
    /// The state of a new connection.
    pub fn new(limits: impl Into<Arc<Limits>>) -> Connection {
        Connection {
            limits: limits.into(),
            head: Head::default(),
            reading: Reading::Head(Scan::default()),
            writing: Writing::Idle,
            received_bytes: 0,
            sent_bytes: 0,
            is_last: false,
            is_head_stream: false,
        }
    }

    /// The head of the request. Valid from [`Event::Head`] on.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Bytes of content of this request that were received so far, decoded.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Bytes of content of this response that were written so far, framing not counted.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// Bytes of memory that the request holds here: a head that is not small, and trailers.
    pub fn held_bytes(&self) -> usize {
        let Reading::Content(decoder) = &self.reading else { return self.head.held_bytes() };
        self.head.held_bytes() + decoder.held_bytes()
    }

    /// True between requests: no byte of the next one was received.
    pub fn is_idle(&self) -> bool {
        matches!(&self.reading, Reading::Head(scan) if scan.is_empty())
    }

    /// True if the request was read to its end, and the client has announced that it is its last.
    /// [RFC 9112 section 9.3]
    pub fn client_wants_close(&self) -> bool {
        matches!(self.reading, Reading::Complete) && !self.head.keep_alive()
    }

    /// True while the content of a request is being read.
    pub fn wants_content(&self) -> bool {
        matches!(self.reading, Reading::Content(_))
    }

    /// Hands the decoder of the content to an owner that reads the content while the application
    /// runs. `None` unless the connection [wants content](Connection::wants_content).
    pub fn lend_content(&mut self) -> Option<ContentDecoder> {
        if !self.wants_content() {
            return None;
        }
        match std::mem::replace(&mut self.reading, Reading::ContentLent) {
            Reading::Content(decoder) => Some(decoder),
            _ => None,
        }
    }

    /// Takes the decoder back. If the content is incomplete, no request may follow this one.
    pub fn return_content(&mut self, decoder: ContentDecoder) {
        self.received_bytes = decoder.received_bytes();
        if let Reading::ContentLent = self.reading {
            self.reading = match decoder {
                decoder if decoder.is_complete() => Reading::Complete,
                decoder if decoder.has_failed() => Reading::Failed,
                decoder => Reading::Content(decoder),
            };
        }
    }

    /// True if the request was rejected. The client may still be sending the rest of it.
    pub fn is_rejected(&self) -> bool {
        matches!(self.reading, Reading::Failed)
    }

    /// True if a request was read to its end and no response has begun.
    pub fn awaits_response(&self) -> bool {
        matches!(self.reading, Reading::Complete) && self.writing == Writing::Idle
    }

    /// Closes the connection after this exchange, as when the server shuts down.
    pub fn close_after_response(&mut self) {
        self.is_last = true;
    }

    /// Parses `input`, the bytes that are not used yet. Returns how many of them were used, and the
    /// next event. A head uses nothing until it is complete: pass the same bytes again, with more
    /// appended. Call until it returns [`Event::NeedMore`] or [`Event::End`]. After an error
    /// nothing more is read, and the connection closes after the response.
    pub fn receive(&mut self, input: &[u8]) -> Result<(usize, Event), Error> {
        let result = self.next_event(input);
        if result.is_err() {
            self.reading = Reading::Failed;
            self.is_last = true;
        }
        result
    }

    /// Rejects the request for a reason of the caller, such as a deadline: nothing more is read,
    /// and the connection closes after the response.
    pub fn reject(&mut self) {
        if let Reading::Head(_) = self.reading {
            self.head.clear();
        }
        self.reading = Reading::Failed;
        self.is_last = true;
    }

    fn next_event(&mut self, input: &[u8]) -> Result<(usize, Event), Error> {
        match &mut self.reading {
            Reading::Head(scan) => {
                if scan.has_seen_nothing()
                    && let Some(length) = self.head.length_if_repeated(input)
                {
                    self.start_content()?;
                    return Ok((length, Event::Head));
                }
                let found = match scan.advance(input, &self.limits) {
                    Ok(Some(found)) => found,
                    Ok(None) => return Ok((0, Event::NeedMore)),
                    Err(error) => {
                        // The head still holds the previous request.
                        self.head.clear();
                        return Err(error);
                    }
                };
                self.head.parse(input, found, &self.limits)?;
                self.start_content()?;
                Ok((found.end, Event::Head))
            }
            Reading::NoContent => {
                self.reading = Reading::Complete;
                Ok((0, Event::End))
            }
            Reading::Content(decoder) => {
                let result = decoder.receive(input, &self.limits);
                self.received_bytes = decoder.received_bytes();
                if let Ok((_, Event::End)) = result {
                    self.reading = Reading::Complete;
                }
                result
            }
            Reading::ContentLent | Reading::Complete | Reading::Failed => Ok((0, Event::NeedMore)),
        }
    }

    /// Starts to read the content that the head declares.
    fn start_content(&mut self) -> Result<(), Error> {
        self.reading = match self.head.framing() {
            Framing::Empty => Reading::NoContent,
            framing => Reading::Content(ContentDecoder::new(framing, &self.limits)?),
        };
        Ok(())
    }

    /// Writes the head of the response to `out`, and decides how the content is framed. `length` is
    /// the length of the content in bytes if the server knows it; a Content-Length of the
    /// application takes precedence, unless it is that of a file which the proxy sends instead of
    /// an empty content. `date` is an HTTP-date. Call it once for each request.
    pub fn begin(
        &mut self,
        response: &ResponseHead,
        length: Option<u64>,
        date: &[u8],
        out: &mut Vec<u8>,
    ) {
        let announced = self.frame_response(response, length);
        let has_length = response.write(date, announced, out);
        match announced {
            ResponseFraming::Length(_) if has_length => {}
            ResponseFraming::Length(length) => {
                out.extend_from_slice(b"Content-Length: ");
                out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            ResponseFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            ResponseFraming::None | ResponseFraming::UntilClose => {}
        }
        if self.is_last {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if self.head.version() == Version::Http10 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Decides how the content is framed. Returns the framing that the fields announce.
    pub(super) fn frame_response(
        &mut self,
        response: &ResponseHead,
        length: Option<u64>,
    ) -> ResponseFraming {
        debug_assert_eq!(self.writing, Writing::Idle);
        let (framing, announced) = framing::response_framing(ResponseFacts {
            head_request: self.is_head_stream || self.head.method() == b"HEAD",
            version: self.head.version(),
            status: response.status(),
            declared_length: response
                .content_length()
                .filter(|_| length != Some(0) || !response.names_file()),
            known_length: length,
        });
        self.is_last |= response.wants_close()
            || !self.head.keep_alive()
            || framing == ResponseFraming::UntilClose;
        self.writing = Writing::Content(framing);
        announced
    }

    /// True once the head of the response was written, or the response was aborted.
    pub fn has_begun(&self) -> bool {
        self.writing != Writing::Idle
    }

    /// True once the response is complete or aborted.
    pub fn has_ended(&self) -> bool {
        matches!(self.writing, Writing::Done | Writing::Aborted(_))
    }

    /// True if the response has no content, whatever the application yields (HEAD, 204, 304).
    pub fn sends_no_content(&self) -> bool {
        self.writing == Writing::Content(ResponseFraming::None)
    }

    /// Frames a block of `length` bytes. An empty block gets no chunk: it would be the last one.
    pub fn frame(&mut self, length: usize) -> Frame {
        let frame = match &mut self.writing {
            Writing::Content(ResponseFraming::Length(left)) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(length);
                *left -= take as u64;
                Frame::plain(take)
            }
            Writing::Content(ResponseFraming::Chunked) if length > 0 => Frame::chunk(length),
            Writing::Content(ResponseFraming::Chunked | ResponseFraming::UntilClose) => {
                Frame::plain(length)
            }
            _ => Frame::plain(0),
        };
        self.sent_bytes += frame.take as u64;
        frame
    }

    /// Ends the response, with the last chunk if it is chunked. If content is missing, aborts it
    /// and returns the error.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), BodyTooShort> {
        match self.writing {
            Writing::Content(ResponseFraming::Length(missing_bytes)) if missing_bytes > 0 => {
                self.abort();
                return Err(BodyTooShort { missing_bytes });
            }
            Writing::Content(ResponseFraming::Chunked) => out.extend_from_slice(LAST_CHUNK),
            _ => {}
        }
        if !matches!(self.writing, Writing::Aborted(_)) {
            self.writing = Writing::Done;
        }
        Ok(())
    }

    /// Aborts the response: nothing more is written, and the connection closes before the content
    /// is complete by its framing, so that the client detects it. [RFC 9112 section 8]
    pub fn abort(&mut self) {
        self.is_last = true;
        self.writing = match self.writing {
            Writing::Content(framing) => Writing::Aborted(Some(framing)),
            Writing::Idle => Writing::Aborted(None),
            ended => ended,
        };
    }

    /// True if the response was aborted after its head was written, and before its end.
    pub fn is_cut_short(&self) -> bool {
        match self.writing {
            Writing::Aborted(Some(ResponseFraming::Length(left))) => left > 0,
            Writing::Aborted(Some(framing)) => framing != ResponseFraming::None,
            _ => false,
        }
    }

    /// True once the response is complete and no request may follow it.
    pub fn is_finished(&self) -> bool {
        self.writing == Writing::Done
            && (self.is_last || !matches!(self.reading, Reading::Complete))
    }

    /// Decides what to do with the connection once the response is complete or aborted, and resets
    /// the state for the next request if there may be one: if the request was read to its end, the
    /// response was written to its end, and neither side closes. [RFC 9112 section 9.3]
    pub fn start_next(&mut self) -> Next {
        match (&self.reading, self.writing) {
            (Reading::Complete, Writing::Done) if !self.is_last => {
                self.reading = Reading::Head(Scan::default());
                self.writing = Writing::Idle;
                self.received_bytes = 0;
                self.sent_bytes = 0;
                self.head.shrink();
                Next::Request
            }
            (_, Writing::Aborted(Some(ResponseFraming::UntilClose))) => Next::Reset,
            _ => Next::Close,
        }
    }
}

/// State that only tests read.
#[cfg(test)]
impl Connection {
    /// True while a head is being read.
    pub fn wants_head(&self) -> bool {
        matches!(self.reading, Reading::Head(_))
    }

    /// How many bytes of content may still be sent, if the framing limits them.
    pub fn content_left(&self) -> Option<u64> {
        match self.writing {
            Writing::Content(ResponseFraming::Length(left)) => Some(left),
            Writing::Content(ResponseFraming::None) => Some(0),
            _ => None,
        }
    }
}
