//! Decodes the content of a request: counts it down if it has a length, or decodes its chunks.
//!
//! The decoder is a value of its own, so that a connection can hand it to the thread that reads the
//! content while the application runs (`--request-buffering off`).

use super::chunked::{Decoded, Decoder};
use super::event::Event;
use super::framing::Framing;
use super::{Error, Limits};

/// Decodes the content of one request.
#[derive(Debug)]
pub struct ContentDecoder {
    state: State,
    /// Content bytes received, decoded.
    received_bytes: u64,
}

#[derive(Debug)]
enum State {
    /// Content delimited by Content-Length. Holds the number of bytes that are left.
    Length(u64),
    /// Content that ends when [`ContentDecoder::end`] says so, as that of a stream of HTTP/2. Holds
    /// whether it has ended.
    UntilEnd(bool),
    /// Boxed, because it would enlarge every connection.
    Chunked(Box<Decoder>),
    /// The content was read to its end. Bytes that follow belong to the next request.
    Complete,
    /// The content violates the protocol or a limit: nothing more is decoded.
    Failed,
}

impl ContentDecoder {
    /// A decoder for content with this framing. Fails if its length exceeds the limit.
    pub(super) fn new(framing: Framing, limits: &Limits) -> Result<ContentDecoder, Error> {
        let state = match framing {
            Framing::Empty => State::Length(0),
            Framing::Length(length) => {
                check_limit(length, limits)?;
                State::Length(length)
            }
            Framing::Chunked => State::Chunked(Box::new(Decoder::new())),
        };
        Ok(ContentDecoder { state, received_bytes: 0 })
    }

    /// A decoder for content of a stream of HTTP/2, whose frames delimit it. Fails if the length
    /// that it declares exceeds the limit.
    pub(super) fn until_end(framing: Framing, limits: &Limits) -> Result<ContentDecoder, Error> {
        if let Framing::Length(length) = framing {
            check_limit(length, limits)?;
        }
        Ok(ContentDecoder { state: State::UntilEnd(false), received_bytes: 0 })
    }

    /// The stream has ended, and the content with it.
    pub(crate) fn end(&mut self) {
        if let State::UntilEnd(has_ended) = &mut self.state {
            *has_ended = true;
        }
    }

    /// How many bytes of content were received so far, decoded.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Bytes of memory that the content holds here: trailers.
    pub(super) fn held_bytes(&self) -> usize {
        if let State::Chunked(decoder) = &self.state { decoder.held_bytes() } else { 0 }
    }

    /// True once the content was read to its end.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// True once [`ContentDecoder::receive`] has returned an error.
    pub fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed)
    }

    /// Decodes `input`, the bytes that are not used yet. Returns how many of them were used, and
    /// the next event. Call until it returns [`Event::NeedMore`] or [`Event::End`]. After an error
    /// nothing more is decoded.
    pub fn receive(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Event), Error> {
        let result = self.next_event(input, limits);
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    fn next_event(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Event), Error> {
        match &mut self.state {
            State::Length(0) => {
                self.state = State::Complete;
                Ok((0, Event::End))
            }
            State::Length(_) if input.is_empty() => Ok((0, Event::NeedMore)),
            State::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= take as u64;
                self.received_bytes += take as u64;
                Ok((take, Event::Content(0..take)))
            }
            State::UntilEnd(true) if input.is_empty() => {
                self.state = State::Complete;
                Ok((0, Event::End))
            }
            State::UntilEnd(_) if input.is_empty() => Ok((0, Event::NeedMore)),
            State::UntilEnd(_) => {
                let received = self.received_bytes.saturating_add(input.len() as u64);
                check_limit(received, limits)?;
                self.received_bytes = received;
                Ok((input.len(), Event::Content(0..input.len())))
            }
            State::Chunked(decoder) => {
                let decoded = decoder.decode(input, limits)?;
                let chunk_bytes_left = decoder.chunk_bytes_left();
                match decoded {
                    Decoded::NeedMore => {
                        check_limit(self.received_bytes.saturating_add(chunk_bytes_left), limits)?;
                        Ok((input.len(), Event::NeedMore))
                    }
                    Decoded::Data { start, used } => {
                        let received = self.received_bytes + (used - start) as u64;
                        check_limit(received.saturating_add(chunk_bytes_left), limits)?;
                        self.received_bytes = received;
                        Ok((used, Event::Content(start..used)))
                    }
                    Decoded::End { used } => {
                        self.state = State::Complete;
                        Ok((used, Event::End))
                    }
                }
            }
            State::Complete | State::Failed => Ok((0, Event::NeedMore)),
        }
    }
}

fn check_limit(length: u64, limits: &Limits) -> Result<(), Error> {
    if length > limits.body { Err(Error::BodyTooLarge) } else { Ok(()) }
}
