//! The head of a request, parsed and validated as a whole.
//!
//! [`split_fields`] splits the field lines. This file checks the rules that it leaves open, because
//! the layers above rely on what a [`Head`] says: a field name is a token, Host names one host, and
//! the framing is the only one that the bytes allow. A head owns a copy of its bytes, with spans
//! into it, so that the read buffer is free for the next read.

use std::fmt;
use std::num::NonZeroU64;

use super::fields::split_fields;
use super::fingerprint::hash;
use super::framing::{self, Framing};
use super::grammar::{is_host, is_token, list_elements};
use super::scan::HeadBounds;
use super::target::{self, Target};
use super::version::Version;
use super::{Error, Limits, Underscores};

/// A range of bytes of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// The offsets fit, as `Limits::head` is far below 4 GiB.
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

#[derive(Debug, Clone, Copy)]
struct Field {
    name: Span,
    value: Span,
}

/// The largest buffers of a head that an idle connection keeps: bytes of the head, and a number of
/// fields of 16 bytes each.
const MAX_IDLE_BYTES: usize = 2048;
const MAX_IDLE_FIELDS: usize = 32;

/// The request line and the fields of one request. A connection uses one object for all of its
/// requests, so that a kept-alive connection allocates nothing here.
#[derive(Debug, Default)]
pub struct Head {
    /// Request line and fields as received.
    bytes: Vec<u8>,
    method: Span,
    /// The request target as received.
    raw_target: Span,
    target: Target,
    version: Version,
    fields: Vec<Field>,
    /// Fields with an underscore in their name, which are not in `fields`.
    underscored: Vec<Field>,
    framing: Framing,
    /// The client's side of the keep-alive decision. [RFC 9112 section 9.3]
    keep_alive: bool,
    expect_continue: bool,
    /// The client offers to leave HTTP/1.1 for another protocol. [RFC 9110 section 7.8]
    asks_for_upgrade: bool,
    /// A hash of `bytes`. `None` unless they were parsed to the end without an error.
    fingerprint: Option<NonZeroU64>,
}

/// Method and target, escaped: how the error log names a request. Empty if no request was parsed.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.method().is_empty() {
            return Ok(());
        }
        write!(f, "{} {}", self.method().escape_ascii(), self.raw_target().escape_ascii())
    }
}

impl Head {
    /// The request method. It is case-sensitive.
    pub fn method(&self) -> &[u8] {
        Span { start: 0, ..self.method }.of(&self.bytes)
    }

    /// The request target as the client sent it.
    pub fn raw_target(&self) -> &[u8] {
        self.raw_target.of(&self.bytes)
    }

    /// The method, a space, and the target as the client sent it. Empty if no request was parsed.
    pub fn method_and_target(&self) -> &[u8] {
        Span { start: 0, end: self.raw_target.end }.of(&self.bytes)
    }

    /// The path, percent-encoded. `/` for an absolute target without a path, empty for `OPTIONS *`.
    pub fn path(&self) -> &[u8] {
        match self.target.path.of(&self.bytes) {
            b"" if self.target.authority.is_some() && self.method() != b"OPTIONS" => b"/",
            path => path,
        }
    }

    /// The query without the `?`. Empty if there is none.
    pub fn query(&self) -> &[u8] {
        self.target.query.of(&self.bytes)
    }

    /// The authority of an absolute target, which replaces the Host field.
    /// [RFC 9112 section 3.2.2]
    pub fn authority(&self) -> Option<&[u8]> {
        self.target.authority.map(|span| span.of(&self.bytes))
    }

    /// The version that the request is served with.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Names and values of the fields, in the order received. Names are tokens; values are trimmed.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|f| (f.name.of(&self.bytes), f.value.of(&self.bytes)))
    }

    /// True if there are fields with an underscore in their name, under [`Underscores::Drop`].
    pub fn has_underscored(&self) -> bool {
        !self.underscored.is_empty()
    }

    /// Names and values of these fields, which other methods do not see.
    pub fn underscored(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.underscored.iter().map(|f| (f.name.of(&self.bytes), f.value.of(&self.bytes)))
    }

    /// The value of the first field with this name, compared without case.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// How the content of the request is delimited.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// True if the request line and the fields were parsed to the end, without an error.
    pub fn is_complete(&self) -> bool {
        self.fingerprint.is_some()
    }

    /// True if the client keeps the connection open for another request. [RFC 9112 section 9.3]
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// True if the client waits for a 100 (Continue) before it sends content. [RFC 9110 section
    /// 10.1.1]
    pub fn expect_continue(&self) -> bool {
        self.expect_continue
    }

    /// True if the client of HTTP/1.1 offers to continue with another protocol: `Upgrade` names
    /// one, and `Connection` says that it concerns this connection. [RFC 9110 section 7.8]
    pub fn asks_for_upgrade(&self) -> bool {
        self.asks_for_upgrade
    }

    /// Request line and fields as received. Equal bytes are equal requests.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A hash of [`Head::bytes`], for caches. A client can choose heads that collide, so a cache
    /// must compare the bytes as well.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint.map_or(0, NonZeroU64::get)
    }

    /// The length in bytes of the head at the start of `input`, if it equals this one. A kept-alive
    /// client mostly repeats its head byte for byte, which then need not be parsed again.
    pub(crate) fn length_if_repeated(&self, input: &[u8]) -> Option<usize> {
        let same = self.fingerprint.is_some() && input.starts_with(&self.bytes);
        same.then_some(self.bytes.len())
    }

    /// Clears the request but keeps the buffers.
    pub(crate) fn clear(&mut self) {
        let (mut bytes, mut fields) =
            (std::mem::take(&mut self.bytes), std::mem::take(&mut self.fields));
        bytes.clear();
        fields.clear();
        *self = Head { bytes, fields, ..Head::default() };
    }

    /// Frees the buffers if an unusually large head has grown them, which clears the request.
    pub(crate) fn shrink(&mut self) {
        if self.bytes.capacity() > MAX_IDLE_BYTES
            || self.fields.capacity() > MAX_IDLE_FIELDS
            || self.underscored.capacity() > MAX_IDLE_FIELDS
        {
            *self = Head::default();
        }
    }

    /// Bytes of memory that the head holds, if they are more than an idle connection keeps;
    /// otherwise zero, as that is part of what a connection costs.
    pub(crate) fn held_bytes(&self) -> usize {
        let (bytes, fields) = (self.bytes.capacity(), self.fields.capacity());
        let is_large = bytes > MAX_IDLE_BYTES || fields > MAX_IDLE_FIELDS;
        if is_large { bytes + fields * size_of::<Field>() } else { 0 }
    }

    /// Parses the head within `bounds` of `input`.
    pub(crate) fn parse(
        &mut self,
        input: &[u8],
        bounds: HeadBounds,
        limits: &Limits,
    ) -> Result<(), Error> {
        let line_end = bounds.request_line_end - bounds.start;
        self.clear();
        self.bytes.extend_from_slice(&input[bounds.start..bounds.end]);
        self.version = self.parse_request_line(line_end)?;
        self.parse_fields(line_end + 2, bounds.field_count, limits)?;
        self.apply_field_rules()?;
        self.fingerprint = Some(nonzero_hash(&self.bytes));
        Ok(())
    }

    /// As [`Head::parse`], for the head of a stream of HTTP/2, whose request line ends in `HTTP/2`.
    /// `has_content` is whether content follows, which needs no length. [RFC 9113 section 8.1]
    pub(crate) fn parse_stream(
        &mut self,
        input: &[u8],
        bounds: HeadBounds,
        has_content: bool,
        limits: &Limits,
    ) -> Result<(), Error> {
        let line_end = bounds.request_line_end - bounds.start;
        self.clear();
        self.bytes.extend_from_slice(&input[bounds.start..bounds.end]);
        match self.parse_request_line(line_end) {
            Err(Error::VersionSyntax) if self.bytes[..line_end].ends_with(b" HTTP/2") => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(Error::Version),
        }
        self.version = Version::Http2;
        self.target = target::parse(&self.bytes, self.raw_target, self.method.of(&self.bytes))?;
        self.parse_fields(line_end + 2, bounds.field_count, limits)?;
        self.apply_field_rules()?;
        self.framing = match (self.framing, has_content) {
            (Framing::Empty, true) => Framing::Chunked,
            (framing, true) => framing,
            (Framing::Empty, false) => Framing::Empty,
            (_, false) => return Err(Error::ContentLength),
        };
        self.fingerprint = Some(nonzero_hash(&self.bytes));
        Ok(())
    }

    fn parse_request_line(&mut self, end: usize) -> Result<Version, Error> {
        let line = &self.bytes[..end];
        let malformed = || malformed_request_line(line);
        let first = memchr::memchr(b' ', line).ok_or_else(malformed)?;
        let second = first + 1 + memchr::memchr(b' ', &line[first + 1..]).ok_or_else(malformed)?;
        if !is_token(&line[..first]) {
            return Err(Error::Method);
        }
        self.method = Span::new(0, first);
        self.raw_target = Span::new(first + 1, second);
        let version = match &line[second + 1..] {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
                if major.is_ascii_digit() && minor.is_ascii_digit() =>
            {
                if *major == b'1' {
                    Version::Http11
                } else {
                    return Err(Error::Version);
                }
            }
            rest if memchr::memchr(b' ', rest).is_some() => return Err(malformed()),
            _ => return Err(Error::VersionSyntax),
        };
        self.target = target::parse(&self.bytes, self.raw_target, self.method.of(&self.bytes))?;
        Ok(version)
    }

    fn parse_fields(&mut self, start: usize, count: usize, limits: &Limits) -> Result<(), Error> {
        let Head { bytes, fields, underscored, .. } = self;
        // An idle connection keeps this space.
        fields.reserve_exact(count);
        let base = bytes.as_ptr() as usize;
        let span = |part: &[u8]| {
            let start = part.as_ptr() as usize - base;
            Span::new(start, start + part.len())
        };
        split_fields(&bytes[start..], count, |name, value| {
            let has_underscore = memchr::memchr(b'_', name).is_some();
            if has_underscore && limits.underscores == Underscores::Refuse {
                return Err(Error::Underscore);
            }
            // The slice of an empty value may point outside of `bytes`.
            let value = if value.is_empty() { Span::default() } else { span(value) };
            let field = Field { name: span(name), value };
            if has_underscore {
                underscored.push(field)
            } else {
                fields.push(field)
            }
            Ok(())
        })
    }

    /// Checks the fields that have a meaning here, and the rules that concern several fields.
    fn apply_field_rules(&mut self) -> Result<(), Error> {
        let mut hosts = 0;
        let mut content_types = 0;
        let mut close = false;
        let mut keep_alive = false;
        let mut expect_continue = false;
        let (mut names_protocol, mut upgrade) = (false, false);
        let mut framing = framing::RequestFraming::default();
        for (name, value) in
            self.fields.iter().map(|f| (f.name.of(&self.bytes), f.value.of(&self.bytes)))
        {
            // The length excludes nearly all fields before a name is compared.
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => {
                    hosts += 1;
                    if !is_host(value) {
                        return Err(Error::Host);
                    }
                }
                6 if name.eq_ignore_ascii_case(b"expect") && self.version != Version::Http10 => {
                    if !value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(Error::Expectation);
                    }
                    expect_continue = true;
                }
                7 if name.eq_ignore_ascii_case(b"upgrade") => names_protocol |= !value.is_empty(),
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    for option in list_elements(value) {
                        close |= option.eq_ignore_ascii_case(b"close");
                        keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                        upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                    }
                }
                12 if name.eq_ignore_ascii_case(b"content-type") => content_types += 1,
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    framing.content_length(value)?
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                    framing.transfer_encoding(value)?;
                }
                _ => {}
            }
        }
        self.framing = framing.decide(self.version)?;
        match hosts {
            0 if self.version != Version::Http10 => return Err(Error::MissingHost),
            0 | 1 => {}
            _ => return Err(Error::Host),
        }
        if content_types > 1 {
            return Err(Error::RepeatedContentType);
        }
        self.keep_alive = match self.version {
            Version::Http11 => !close,
            Version::Http10 => keep_alive && !close,
            Version::Http2 => false,
        };
        self.expect_continue = expect_continue;
        self.asks_for_upgrade = names_protocol && upgrade && self.version == Version::Http11;
        Ok(())
    }
}

/// An `Option` of it needs no further bytes in each connection.
fn nonzero_hash(bytes: &[u8]) -> NonZeroU64 {
    NonZeroU64::new(hash(bytes)).unwrap_or(NonZeroU64::MIN)
}

/// The error for a request line that is not three words. A proxy may have sent its own line first:
/// `PROXY TCP4 SOURCE DESTINATION PORT PORT` or `PROXY UNKNOWN`.
#[cold]
fn malformed_request_line(line: &[u8]) -> Error {
    let family = line.strip_prefix(b"PROXY ");
    let is_proxy_header = family.is_some_and(|family| {
        [&b"TCP4 "[..], b"TCP6 "].iter().any(|known| family.starts_with(known))
            || family.starts_with(b"UNKNOWN")
    });
    if is_proxy_header { Error::ProxyHeader } else { Error::RequestLine }
}
