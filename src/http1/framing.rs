//! Decides how long a message is: one pure function for requests and one for responses, with the
//! steps of the RFC in its order. [RFC 9112 section 6.3]
//!
//! Request smuggling needs two servers that disagree on that length, so a request whose framing can
//! be read in two ways is rejected.

use super::grammar::{decimal, is_token};
use super::{Error, Version};

/// How the content of a request is delimited. [RFC 9112 section 6.3]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// There is no content.
    #[default]
    Empty,
    /// The content has this many bytes.
    Length(u64),
    /// The content is chunked.
    Chunked,
}

/// The framing fields of a request, collected before [`RequestFraming::decide`] judges them
/// together.
#[derive(Debug, Default)]
pub(crate) struct RequestFraming {
    length: Option<u64>,
    chunked: bool,
}

impl RequestFraming {
    /// Adds a Content-Length. A second one is rejected even with the same value: some servers merge
    /// them and others take the first or the last (waitress's CVE-2022-24761).
    pub(crate) fn content_length(&mut self, value: &[u8]) -> Result<(), Error> {
        if self.length.is_some() {
            return Err(Error::ContentLength);
        }
        self.length = Some(decimal(value).ok_or(Error::ContentLength)?);
        Ok(())
    }

    /// Adds a Transfer-Encoding: only `chunked`, and only once.
    /// [RFC 9112 section 6.1; gunicorn's CVE-2024-1135]
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

    /// The framing of a request with these fields.
    pub(crate) fn decide(self, version: Version) -> Result<Framing, Error> {
        match (self.chunked, self.length) {
            (true, _) if version != Version::Http11 => Err(Error::TransferEncoding),
            (true, Some(_)) => Err(Error::ConflictingFraming),
            (true, None) => Ok(Framing::Chunked),
            (false, Some(0)) => Ok(Framing::Empty),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::Empty),
        }
    }
}

/// How the content of a response is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFraming {
    /// No content, whatever the application yields: HEAD, 204, 205, 304. [RFC 9110 section 6.4.1]
    None,
    /// The content has this many bytes.
    Length(u64),
    /// The content is chunked.
    Chunked,
    /// The content ends when the connection closes.
    UntilClose,
}

/// What determines the framing of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResponseFacts {
    /// The request was a HEAD.
    pub(crate) head_request: bool,
    /// The version of the request.
    pub(crate) version: Version,
    /// The status code.
    pub(crate) status: u16,
    /// The Content-Length of the application.
    pub(crate) declared_length: Option<u64>,
    /// The length of what the application returned, if the server knows it.
    pub(crate) known_length: Option<u64>,
}

/// The framing of the content on the wire, and the framing that the fields announce. They differ
/// for HEAD, whose fields are those of a GET although no content follows. [RFC 9112 section 6.3,
/// RFC 9110 section 9.3.2]
pub(crate) fn response_framing(facts: ResponseFacts) -> (ResponseFraming, ResponseFraming) {
    let announced = match facts {
        // "A server MUST NOT send Content-Length or Transfer-Encoding in a 1xx or 204 response."
        ResponseFacts { status: 100..=199 | 204, .. } => ResponseFraming::None,
        // "a server MUST NOT generate content in a 205 response" [RFC 9110 section 15.3.6]
        ResponseFacts { status: 205, .. } => ResponseFraming::Length(0),
        ResponseFacts { declared_length: Some(length), .. } => ResponseFraming::Length(length),
        // A 304 has the Content-Length that a 200 would have, which the server does not know. Nor
        // does it know that of the GET if the application answers a HEAD without content. [RFC 9110
        // section 8.6]
        ResponseFacts { status: 304, .. } => ResponseFraming::None,
        ResponseFacts { head_request: true, known_length: Some(0), .. } => ResponseFraming::None,
        ResponseFacts { known_length: Some(length), .. } => ResponseFraming::Length(length),
        ResponseFacts { version: Version::Http11, .. } => ResponseFraming::Chunked,
        // The end of its stream ends a response of HTTP/2.
        ResponseFacts { version: Version::Http10 | Version::Http2, .. } => {
            ResponseFraming::UntilClose
        }
    };
    let no_content = facts.head_request || matches!(facts.status, 100..=199 | 204 | 205 | 304);
    let sent = if no_content { ResponseFraming::None } else { announced };
    (sent, announced)
}
