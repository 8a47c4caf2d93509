//! The state machine of one server connection: every transition is in this file.
//!
//! Two halves run side by side. [`Reading`] turns bytes into the events of a request, [`Writing`]
//! turns a response into bytes; [`Connection::start_next`] looks at the pair once both are done and decides
//! whether another request may follow. There is no I/O and no clock here: bytes come in by
//! [`Connection::receive`], bytes go out through buffers the caller sends.
//!
//! ```text
//! reading   Head --> Content --> Complete --(start_next)--> Head
//!             \________\________> Failed
//! writing   Idle --> Content --> Done     --(start_next)--> Idle
//!                       \______> Aborted
//! ```

use std::ops::Range;

use super::chunked::{Decoded, Decoder};
use super::frame::{Frame, LAST_CHUNK};
use super::framing::{self, Framing, ResponseFacts, ResponseFraming};
use super::scan::Scan;
use super::{Error, Head, Limits, ResponseHead, Version};

/// The request half.
#[derive(Debug)]
enum Reading {
    /// Waiting for the end of a head.
    Head(Scan),
    /// So many bytes of content to come.
    Length(u64),
    /// Content in chunks.
    Chunked(Decoder),
    /// The whole request was read; what follows belongs to the next.
    Complete,
    /// The request broke the protocol: nothing more is read from this connection.
    Failed,
}

/// The response half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    /// No head was written yet.
    Idle,
    /// The head is written; so much content is still owed (`Length`), or some.
    Content(ResponseFraming),
    /// The response is complete.
    Done,
    /// The response broke off; the client must be able to tell. Holds the framing that was promised.
    Aborted(Option<ResponseFraming>),
}

/// What [`Connection::receive`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// All input is used; more is needed.
    NeedMore,
    /// A head is complete: see [`Connection::head`].
    Head,
    /// Content, at this range of the input.
    Content(Range<usize>),
    /// The request is complete.
    End,
}

/// What becomes of the connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another request may come.
    Request,
    /// Close once the response is sent.
    Close,
    /// Close so that the client sees an error: the end of a close-delimited response would
    /// otherwise look complete.
    Reset,
}

/// The response ended with fewer bytes than its Content-Length declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the response is {missing_bytes} bytes shorter than its Content-Length")]
pub struct BodyTooShort {
    /// Bytes declared but not sent.
    pub missing_bytes: u64,
}

/// One connection's protocol state.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    head: Head,
    reading: Reading,
    writing: Writing,
    /// Content bytes received for this request.
    received_bytes: u64,
    /// Content bytes sent for this response, for the access log.
    sent_bytes: u64,
    /// Set when this exchange must be the last.
    is_last: bool,
}

impl Connection {
    /// A connection on which nothing has happened.
    pub fn new(limits: Limits) -> Connection {
        Connection {
            limits,
            head: Head::default(),
            reading: Reading::Head(Scan::default()),
            writing: Writing::Idle,
            received_bytes: 0,
            sent_bytes: 0,
            is_last: false,
        }
    }

    /// The request's head; meaningful from [`Event::Head`] on.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Content bytes received for this request so far.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Content bytes written for this response so far, framing not counted.
    pub fn sent_bytes(&self) -> u64 {
        self.sent_bytes
    }

    /// True between requests: no byte of a further one was seen.
    pub fn is_idle(&self) -> bool {
        matches!(&self.reading, Reading::Head(scan) if scan.is_empty())
    }

    /// True if the client has said that this request is its last on the connection.
    pub fn client_wants_close(&self) -> bool {
        !matches!(self.reading, Reading::Failed) && !self.head.keep_alive()
    }

    /// True while a request's content is being read.
    pub fn wants_content(&self) -> bool {
        matches!(self.reading, Reading::Length(_) | Reading::Chunked(_))
    }

    /// True if the request was given up: its client may not have sent all of it yet.
    pub fn is_refused(&self) -> bool {
        matches!(self.reading, Reading::Failed)
    }

    /// Makes this exchange the last one, as when the server shuts down.
    pub fn close_after_response(&mut self) {
        self.is_last = true;
    }

    /// Looks at the unconsumed bytes and returns how many of them it used, with the next event. During
    /// a head nothing is used until the head is complete, so the caller offers the same bytes again with
    /// more behind them. Call until it answers [`Event::NeedMore`] or [`Event::End`].
    pub fn receive(&mut self, input: &[u8]) -> Result<(usize, Event), Error> {
        let result = self.next_event(input);
        if result.is_err() {
            self.reading = Reading::Failed;
            self.is_last = true;
        }
        result
    }

    /// Gives the request up, for a reason found here or by the caller, such as a deadline: nothing more
    /// is read, and the connection closes behind the response.
    pub fn refuse(&mut self) {
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
                    self.await_content()?;
                    return Ok((length, Event::Head));
                }
                let found = match scan.advance(input, &self.limits) {
                    Ok(Some(found)) => found,
                    Ok(None) => return Ok((0, Event::NeedMore)),
                    Err(error) => {
                        // What the head holds is the request before this one.
                        self.head.clear();
                        return Err(error);
                    }
                };
                self.head.parse(input, found, &self.limits)?;
                self.await_content()?;
                Ok((found.end, Event::Head))
            }
            Reading::Length(0) => {
                self.reading = Reading::Complete;
                Ok((0, Event::End))
            }
            Reading::Length(_) if input.is_empty() => Ok((0, Event::NeedMore)),
            Reading::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= take as u64;
                self.received_bytes += take as u64;
                Ok((take, Event::Content(0..take)))
            }
            Reading::Chunked(decoder) => {
                let decoded = decoder.decode(input, &self.limits)?;
                let chunk_bytes_left = decoder.chunk_bytes_left();
                match decoded {
                    Decoded::NeedMore => {
                        self.check_body(self.received_bytes.saturating_add(chunk_bytes_left))?;
                        Ok((input.len(), Event::NeedMore))
                    }
                    Decoded::Data { start, used } => {
                        let received = self.received_bytes + (used - start) as u64;
                        self.check_body(received.saturating_add(chunk_bytes_left))?;
                        self.received_bytes = received;
                        Ok((used, Event::Content(start..used)))
                    }
                    Decoded::End { used } => {
                        self.reading = Reading::Complete;
                        Ok((used, Event::End))
                    }
                }
            }
            Reading::Complete | Reading::Failed => Ok((0, Event::NeedMore)),
        }
    }

    /// The head is read: what follows is content, as it says.
    fn await_content(&mut self) -> Result<(), Error> {
        self.reading = match self.head.framing() {
            Framing::Empty => Reading::Length(0),
            Framing::Length(length) => {
                self.check_body(length)?;
                Reading::Length(length)
            }
            Framing::Chunked => Reading::Chunked(Decoder::new()),
        };
        Ok(())
    }

    fn check_body(&self, length: u64) -> Result<(), Error> {
        if length > self.limits.body { Err(Error::BodyTooLarge) } else { Ok(()) }
    }

    /// Writes the head of the response to `out`, which fixes how its content is framed. `length` is
    /// what the server could tell if the application declared nothing; `date` is an HTTP-date.
    pub fn begin(
        &mut self,
        response: &ResponseHead,
        length: Option<u64>,
        date: &[u8],
        out: &mut Vec<u8>,
    ) {
        debug_assert_eq!(self.writing, Writing::Idle);
        let (framing, announced) = framing::response_framing(ResponseFacts {
            head_request: self.head.method() == b"HEAD",
            version: self.head.version(),
            status: response.status(),
            declared_length: response.content_length(),
            known_length: length,
        });
        self.is_last |= response.wants_close()
            || !self.head.keep_alive()
            || framing == ResponseFraming::UntilClose;
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
        self.writing = Writing::Content(framing);
    }

    /// True once the head of the response was written.
    pub fn has_begun(&self) -> bool {
        self.writing != Writing::Idle
    }

    /// True if no content will be sent whatever the application yields.
    pub fn sends_no_content(&self) -> bool {
        self.writing == Writing::Content(ResponseFraming::None)
    }

    /// Frames a block of `length` bytes. An empty block is nothing: as a chunk it would end the body.
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

    /// Ends the response: writes the last chunk, or finds that content is missing_bytes and aborts.
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

    /// Breaks the response off: nothing more is sent, and the connection closes without the
    /// mark that ends the content, so that the client can tell.
    pub fn abort(&mut self) {
        self.is_last = true;
        self.writing = match self.writing {
            Writing::Content(framing) => Writing::Aborted(Some(framing)),
            Writing::Idle => Writing::Aborted(None),
            ended => ended,
        };
    }

    /// True once the response is complete and no further request may follow.
    pub fn is_finished(&self) -> bool {
        self.writing == Writing::Done
            && (self.is_last || !matches!(self.reading, Reading::Complete))
    }

    /// Decides what follows, once the response is complete or broken off. A further request needs both
    /// halves at rest: the request read to its end, the response written to its end, and neither side
    /// asking to close. [RFC 9112 section 9.3]
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

/// What tests look at besides events and bytes.
#[cfg(test)]
impl Connection {
    /// True while a head is being read.
    pub fn wants_head(&self) -> bool {
        matches!(self.reading, Reading::Head(_))
    }

    /// How many bytes of content may still be sent, if that is known.
    pub fn content_left(&self) -> Option<u64> {
        match self.writing {
            Writing::Content(ResponseFraming::Length(left)) => Some(left),
            Writing::Content(ResponseFraming::None) => Some(0),
            _ => None,
        }
    }
}
