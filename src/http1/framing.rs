//! How long is this message? One pure function for each direction, the RFC's steps in the RFC's order.
//!
//! Request smuggling is two servers giving different answers to that question, so everything that has
//! two readings is refused.

use super::grammar::{decimal, is_token};
use super::{Error, Version};

/// How a request's content is delimited. [RFC 9112 section 6.3]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// There is none.
    #[default]
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunks, until the last one.
    Chunked,
}

/// What the fields of a request say about its length, gathered before it is judged.
#[derive(Debug, Default)]
pub(crate) struct RequestFraming {
    length: Option<u64>,
    chunked: bool,
}

impl RequestFraming {
    /// A second Content-Length is refused even if it says the same: servers that fold and servers that
    /// take the first or the last are how waitress's CVE-2022-24761 came about.
    pub(crate) fn content_length(&mut self, value: &[u8]) -> Result<(), Error> {
        if self.length.is_some() {
            return Err(Error::ContentLength);
        }
        self.length = Some(decimal(value).ok_or(Error::ContentLength)?);
        Ok(())
    }

    /// Only `chunked`, once. [RFC 9112 section 6.1; gunicorn's CVE-2024-1135]
    pub(crate) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Error> {
        if value.eq_ignore_ascii_case(b"chunked") && !self.chunked {
            self.chunked = true;
            return Ok(());
        }
        let mut codings = value.split(|&b| b == b',').map(super::grammar::trim_ows);
        let well_formed = codings.clone().all(is_token);
        let chunked = |c: &&[u8]| c.eq_ignore_ascii_case(b"chunked");
        let only_last = codings.clone().filter(chunked).count() == 1
            && codings.next_back().is_some_and(|c| chunked(&c));
        if well_formed && only_last && !self.chunked {
            Err(Error::UnknownTransferCoding)
        } else {
            Err(Error::TransferEncoding)
        }
    }

    pub(crate) fn decide(self, version: Version) -> Result<Framing, Error> {
        match (self.chunked, self.length) {
            (true, _) if version == Version::Http10 => Err(Error::TransferEncoding),
            (true, Some(_)) => Err(Error::ConflictingFraming),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(0)) => Ok(Framing::Empty),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::Empty),
        }
    }
}

/// How a response's content is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFraming {
    /// No content whatever the application yields: HEAD, 204, 205, 304. [RFC 9110 section 6.4.1]
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Everything until the connection closes.
    UntilClose,
}

/// What is known of a response when its head is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseFacts {
    /// The request was a HEAD.
    pub(crate) head_request: bool,
    /// The version of the request.
    pub(crate) version: Version,
    /// The status code.
    pub(crate) status: u16,
    /// The length the application declared_length.
    pub(crate) declared_length: Option<u64>,
    /// The length the server could tell from what the application returned.
    pub(crate) known_length: Option<u64>,
}

/// The framing of the bytes on the wire, and the length field that says so: for HEAD the fields are
/// those a GET would have, though nothing follows. [RFC 9112 section 6.3, RFC 9110 section 9.3.2]
pub(crate) fn response_framing(facts: ResponseFacts) -> (ResponseFraming, ResponseFraming) {
    let announced = match facts {
        // "A server MUST NOT send Content-Length or Transfer-Encoding in a 1xx or 204 response."
        ResponseFacts { status: 100..=199 | 204, .. } => ResponseFraming::None,
        // "a server MUST NOT generate content in a 205 response" [RFC 9110 section 15.3.6]
        ResponseFacts { status: 205, .. } => ResponseFraming::Length(0),
        ResponseFacts { declared_length: Some(length), .. } => ResponseFraming::Length(length),
        // A 304 says what a 200 would have said, which the server cannot know; neither can it for a
        // HEAD that the application has answered with nothing. [RFC 9110 section 8.6]
        ResponseFacts { status: 304, .. } => ResponseFraming::None,
        ResponseFacts { head_request: true, known_length: Some(0), .. } => ResponseFraming::None,
        ResponseFacts { known_length: Some(length), .. } => ResponseFraming::Length(length),
        ResponseFacts { version: Version::Http11, .. } => ResponseFraming::Chunked,
        ResponseFacts { version: Version::Http10, .. } => ResponseFraming::UntilClose,
    };
    let no_content = facts.head_request || matches!(facts.status, 100..=199 | 204 | 205 | 304);
    let sent = if no_content { ResponseFraming::None } else { announced };
    (sent, announced)
}
