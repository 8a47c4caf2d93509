//! A connection that serves one stream of HTTP/2: the head and the content come without the bytes
//! that frame them in HTTP/1.1, and the rules are the same. [RFC 9113 section 8]

use super::connection::{Connection, Reading};
use super::content::ContentDecoder;
use super::framing::{Framing, ResponseFraming};
use super::scan::Scan;
use super::{Error, ResponseHead};

impl Connection {
    /// Takes the head of the stream's request: a request line that ends in `HTTP/2`, and the fields
    /// as HTTP/1.1 writes them. `has_content` is whether content may follow; it then comes by
    /// [`Connection::receive`]. After an error the connection is rejected.
    pub fn receive_stream_head(&mut self, head: &[u8], has_content: bool) -> Result<(), Error> {
        self.is_head_stream = head.starts_with(b"HEAD ");
        let result = self.parse_stream_head(head, has_content);
        if result.is_err() {
            self.reading = Reading::Failed;
        }
        self.is_last = true;
        result
    }

    fn parse_stream_head(&mut self, head: &[u8], has_content: bool) -> Result<(), Error> {
        let bounds = Scan::default().advance(head, &self.limits)?.ok_or(Error::Field)?;
        if bounds.end != head.len() {
            return Err(Error::Field);
        }
        self.head.parse_stream(head, bounds, has_content, &self.limits)?;
        self.reading = match self.head.framing() {
            Framing::Empty => Reading::Complete,
            framing => Reading::Content(ContentDecoder::until_end(framing, &self.limits)?),
        };
        Ok(())
    }

    /// The stream has ended, and the content with it: the next [`Connection::receive`] says so.
    pub fn end_stream_content(&mut self) {
        if let Reading::Content(decoder) = &mut self.reading {
            decoder.end();
        }
    }

    /// Decides how the content of the stream's response is framed, in place of
    /// [`Connection::begin`]. Returns the Content-Length that the head has, if any.
    pub fn begin_stream(&mut self, response: &ResponseHead, length: Option<u64>) -> Option<u64> {
        match self.frame_response(response, length) {
            ResponseFraming::Length(length) => Some(length),
            _ => None,
        }
    }
}
