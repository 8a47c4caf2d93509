//! A request's head: parsed once, checked whole, and from then on trusted.
//!
//! httparse splits the field lines; every rule it leaves open is closed here, because the layers above
//! take what a [`Head`] says as true: a name is a token, Host names one host, the framing is the only
//! one the bytes allow. The head keeps its own copy of the bytes, with spans into it, so that the
//! buffer it arrived in is free again at once.

use std::fmt;

use super::framing::{self, Framing};
use super::grammar::{is_host, is_token, list_elements};
use super::scan::HeadBounds;
use super::target::{self, Target};
use super::{Error, Limits, Underscores};

/// A range of bytes of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// Heads are bounded far below 4 GiB by `Limits::head`.
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

/// The protocol version a request is served with. [RFC 9110 section 2.5]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1, and any later 1.x
    #[default]
    Http11,
}

impl Version {
    /// `HTTP/1.0` or `HTTP/1.1`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Field {
    name: Span,
    value: Span,
}

/// An idle connection keeps a head's buffers up to these sizes: bytes, and fields of 16 bytes each.
const MAX_IDLE_BYTES: usize = 2048;
const MAX_IDLE_FIELDS: usize = 32;

/// One request's line and fields. Reused from request to request, so that a kept-alive connection
/// allocates nothing here.
#[derive(Debug, Default)]
pub struct Head {
    /// Request line and fields as received.
    bytes: Vec<u8>,
    method: Span,
    /// The target as received.
    raw_target: Span,
    target: Target,
    version: Version,
    fields: Vec<Field>,
    framing: Framing,
    /// The client's side of the keep-alive decision. [RFC 9112 section 9.3]
    keep_alive: bool,
    expect_continue: bool,
    /// A hash of `bytes`; `None` unless they were parsed to the end without a fault.
    fingerprint: Option<u64>,
}

/// Method and target, escaped: how the error log names a request. Empty if there is none.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.method().is_empty() {
            return Ok(());
        }
        write!(f, "{} {}", self.method().escape_ascii(), self.raw_target().escape_ascii())
    }
}

impl Head {
    /// The request method, case-sensitive.
    pub fn method(&self) -> &[u8] {
        self.method.of(&self.bytes)
    }

    /// The target as the client sent it.
    pub fn raw_target(&self) -> &[u8] {
        self.raw_target.of(&self.bytes)
    }

    /// The path, percent-encoded; `/` for an absolute target without one, empty for `OPTIONS *`.
    pub fn path(&self) -> &[u8] {
        match self.target.path.of(&self.bytes) {
            b"" if self.target.authority.is_some() && self.method() != b"OPTIONS" => b"/",
            path => path,
        }
    }

    /// The query without its `?`; empty if there is none.
    pub fn query(&self) -> &[u8] {
        self.target.query.of(&self.bytes)
    }

    /// The authority of an absolute target, which is to be used in place of Host.
    /// [RFC 9112 section 3.2.2]
    pub fn authority(&self) -> Option<&[u8]> {
        self.target.authority.map(|span| span.of(&self.bytes))
    }

    /// The version the request is served with.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Names and values in the order received. Names are tokens; values are trimmed.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|f| (f.name.of(&self.bytes), f.value.of(&self.bytes)))
    }

    /// The first value of the field called `name`, in any case.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// How the content that follows is delimited.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// True if the client leaves the connection open for another request.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// True if the client waits for a 100 before it sends its content. [RFC 9110 section 10.1.1]
    pub fn expect_continue(&self) -> bool {
        self.expect_continue
    }

    /// Request line and fields as received: equal bytes mean an equal request.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A hash of [`Head::bytes`], for tables of what was made from them. A client can choose heads that
    /// collide, so a table compares the bytes as well.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint.unwrap_or(0)
    }

    /// How long the head at the start of `input` is, if it is this very head once more. A kept-alive
    /// client mostly repeats itself to the byte, and what was parsed need not be parsed again.
    pub(crate) fn length_if_repeated(&self, input: &[u8]) -> Option<usize> {
        let same = self.fingerprint.is_some() && input.starts_with(&self.bytes);
        same.then_some(self.bytes.len())
    }

    /// Forgets the request but keeps the buffers.
    pub(crate) fn clear(&mut self) {
        let (mut bytes, mut fields) =
            (std::mem::take(&mut self.bytes), std::mem::take(&mut self.fields));
        bytes.clear();
        fields.clear();
        *self = Head { bytes, fields, ..Head::default() };
    }

    /// Gives memory back that an unusually large head left behind, which forgets the request.
    pub(crate) fn shrink(&mut self) {
        if self.bytes.capacity() > MAX_IDLE_BYTES || self.fields.capacity() > MAX_IDLE_FIELDS {
            *self = Head::default();
        }
    }

    /// Reads the head that `bounds` describes out of `input`.
    pub(crate) fn parse(
        &mut self,
        input: &[u8],
        bounds: HeadBounds,
        limits: &Limits,
    ) -> Result<(), Error> {
        let line_end = bounds.request_line_end - bounds.start;
        self.clear();
        self.bytes.extend_from_slice(&input[bounds.start..bounds.end]);
        self.parse_request_line(line_end)?;
        self.parse_fields(line_end + 2, bounds.field_count, limits)?;
        self.apply_field_rules()?;
        self.fingerprint = Some(hash(&self.bytes));
        Ok(())
    }

    fn parse_request_line(&mut self, end: usize) -> Result<(), Error> {
        let line = &self.bytes[..end];
        let first = memchr::memchr(b' ', line).ok_or(Error::RequestLine)?;
        let second =
            first + 1 + memchr::memchr(b' ', &line[first + 1..]).ok_or(Error::RequestLine)?;
        if !is_token(&line[..first]) {
            return Err(Error::Method);
        }
        self.method = Span::new(0, first);
        self.raw_target = Span::new(first + 1, second);
        self.version = match &line[second + 1..] {
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
            rest if memchr::memchr(b' ', rest).is_some() => return Err(Error::RequestLine),
            _ => return Err(Error::VersionSyntax),
        };
        self.target = target::parse(&self.bytes, self.raw_target, self.method.of(&self.bytes))?;
        Ok(())
    }

    fn parse_fields(&mut self, start: usize, count: usize, limits: &Limits) -> Result<(), Error> {
        let Head { bytes, fields, .. } = self;
        let base = bytes.as_ptr() as usize;
        let span = |part: &[u8]| {
            let start = part.as_ptr() as usize - base;
            Span::new(start, start + part.len())
        };
        split_fields(&bytes[start..], count, |name, value| {
            if memchr::memchr(b'_', name).is_some() {
                return match limits.underscores {
                    Underscores::Drop => Ok(()),
                    Underscores::Refuse => Err(Error::Underscore),
                };
            }
            // An empty value may lie anywhere, also outside of `bytes`.
            let value = if value.is_empty() { Span::default() } else { span(value) };
            fields.push(Field { name: span(name), value });
            Ok(())
        })
    }

    /// The rules that need more than one field at a time.
    fn apply_field_rules(&mut self) -> Result<(), Error> {
        let mut hosts = 0;
        let mut content_types = 0;
        let mut close = false;
        let mut keep_alive = false;
        let mut expect_continue = false;
        let mut framing = framing::RequestFraming::default();
        for (name, value) in
            self.fields.iter().map(|f| (f.name.of(&self.bytes), f.value.of(&self.bytes)))
        {
            // The length tells nearly all fields apart from the eight or so that matter here.
            match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => {
                    hosts += 1;
                    if !is_host(value) {
                        return Err(Error::Host);
                    }
                }
                6 if name.eq_ignore_ascii_case(b"expect") && self.version == Version::Http11 => {
                    if !value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(Error::Expectation);
                    }
                    expect_continue = true;
                }
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    for option in list_elements(value) {
                        close |= option.eq_ignore_ascii_case(b"close");
                        keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
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
        if hosts > 1 || (hosts == 0 && self.version == Version::Http11) {
            return Err(Error::Host);
        }
        if content_types > 1 {
            return Err(Error::RepeatedContentType);
        }
        self.keep_alive = match self.version {
            Version::Http11 => !close,
            Version::Http10 => keep_alive && !close,
        };
        self.expect_continue = expect_continue;
        Ok(())
    }
}

/// A word at a time: multiply and fold. It has to be quick and to spread, not to resist an attacker.
fn hash(bytes: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let product = u128::from(hash ^ word) * u128::from(K);
        (product as u64) ^ (product >> 64) as u64
    };
    let words = bytes.chunks_exact(8);
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    let hash = words.fold(K ^ bytes.len() as u64, |hash, bytes| mix(hash, word(bytes)));
    mix(hash, u64::from_le_bytes(last))
}

/// Splits `count` field lines and the empty line that ends them, calling `each` with every trimmed
/// name and value. The caller has made sure that lines end in CRLF, which httparse does not.
pub(crate) fn split_fields<'a>(
    lines: &'a [u8],
    count: usize,
    mut each: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    const USUAL: usize = 32;
    let mut usual = [httparse::EMPTY_HEADER; USUAL];
    let mut many;
    let slots = if count <= USUAL {
        &mut usual[..]
    } else {
        many = vec![httparse::EMPTY_HEADER; count];
        &mut many[..]
    };
    match httparse::parse_headers(lines, slots) {
        Ok(httparse::Status::Complete((used, fields))) if used == lines.len() => {
            for field in fields {
                each(field.name.as_bytes(), field.value)?;
            }
            Ok(())
        }
        _ => Err(Error::Field),
    }
}
