//! The status line and the fields of a response, validated as they are added, so that they can
//! neither split the response nor contradict the framing that the server has chosen.

use std::sync::atomic::{AtomicU16, Ordering};

use super::framing::ResponseFraming;
use super::grammar::{decimal, is_field_value, is_token, trim_ows};

/// The fields that concern the connection, which the server manages. [RFC 9110 section 7.6.1; PEP
/// 3333, "Other HTTP Features"] Proxy-Authenticate and Proxy-Authentication-Info are not among
/// them: a proxy that is a WSGI application sends them to its client. [RFC 9110 section 11.7]
const HOP_BY_HOP: [&str; 9] = [
    "Connection",
    "Keep-Alive",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Trailers",
    "Transfer-Encoding",
    "Upgrade",
];

/// Why a status or a field was rejected. The application gets the message as an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The status is not three digits, a space and a reason phrase. [PEP 3333, "The
    /// start_response() Callable"]
    #[error("status must be three digits, a space and a reason phrase, without control characters")]
    Status,
    /// A 1xx status is interim: the client would keep waiting for the final response. [RFC 9110
    /// section 15.2]
    #[error("a 1xx status is not a final response")]
    Informational,
    /// The field name is not a token. [RFC 9110 section 5.1]
    #[error("a header name must be a token (letters, digits, hyphens)")]
    Name,
    /// The field value has a control character. [RFC 9110 section 5.5]
    #[error("a header value must not contain control characters")]
    Value,
    /// The Content-Length is not a number. [RFC 9110 section 8.6]
    #[error("Content-Length must be a decimal number")]
    ContentLength,
    /// There are two Content-Length fields with different values.
    #[error("Content-Length is given twice with different values")]
    ConflictingLength,
}

/// The head of a response. One object can be used for many responses.
#[derive(Debug, Default, Clone)]
pub struct ResponseHead {
    status: u16,
    /// Status code and reason phrase, such as `200 OK`.
    line: Vec<u8>,
    /// Field lines, each with its CRLF.
    fields: Vec<u8>,
    lines: Vec<FieldLine>,
    facts: Facts,
}

/// The offsets of a field in the field lines.
#[derive(Debug, Clone)]
struct FieldLine {
    name: std::ops::Range<usize>,
    value: std::ops::Range<usize>,
}

/// What the server has to know of the fields.
#[derive(Debug, Default, Clone)]
struct Facts {
    content_length: Option<u64>,
    /// The range of its line in the field lines. Empty if there is none.
    length_line: std::ops::Range<usize>,
    has_date: bool,
    has_server: bool,
    /// The application has set `Connection: close`.
    close: bool,
    /// The application has set X-Sendfile or X-Accel-Redirect.
    names_file: bool,
    dropped: DroppedFields,
}

/// The hop-by-hop fields of an application, which the server does not send: a set of their names.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct DroppedFields(u16);

impl DroppedFields {
    fn add(&mut self, name: &[u8]) {
        let same = |known: &&str| known.as_bytes().eq_ignore_ascii_case(name);
        self.0 |= HOP_BY_HOP.iter().position(same).map_or(0, |index| 1 << index);
    }

    /// True if no field was dropped.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds the names to `known`. Returns those that were not in it.
    pub fn add_to(self, known: &AtomicU16) -> DroppedFields {
        DroppedFields(self.0 & !known.fetch_or(self.0, Ordering::Relaxed))
    }

    /// The names in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        HOP_BY_HOP
            .into_iter()
            .enumerate()
            .filter(move |(index, _)| self.0 & 1 << index != 0)
            .map(|(_, name)| name)
    }
}

/// How the server handles a field of the application.
enum FieldKind {
    ContentLength,
    Date,
    Server,
    Connection,
    HopByHop,
    NamesFile,
    Other,
}

impl ResponseHead {
    /// The head that stands for the answer of an application which has taken the connection, in the
    /// access log and for hooks. The application writes the answer itself. [RFC 9110 section
    /// 15.2.2]
    pub fn switching_protocols() -> ResponseHead {
        let line = b"101 Switching Protocols".to_vec();
        ResponseHead { status: 101, line, ..ResponseHead::default() }
    }

    /// Clears the head and sets the status, such as `200 OK`. After an error the head is empty.
    pub fn start(&mut self, status: &[u8]) -> Result<(), ResponseError> {
        self.status = 0;
        self.line.clear();
        self.fields.clear();
        self.lines.clear();
        self.facts = Facts::default();
        let [a @ b'1'..=b'9', b, c, b' ', reason @ ..] = status else {
            return Err(ResponseError::Status);
        };
        if !b.is_ascii_digit() || !c.is_ascii_digit() || !is_field_value(reason) {
            return Err(ResponseError::Status);
        }
        if *a == b'1' {
            return Err(ResponseError::Informational);
        }
        self.status = [a, b, c].iter().fold(0, |code, &&d| code * 10 + u16::from(d - b'0'));
        self.line.extend_from_slice(status);
        Ok(())
    }

    /// Adds a field after the others. After an error nothing is added. A hop-by-hop field is not
    /// added, either, except that `Connection: close` has its effect: frameworks set
    /// `Connection: keep-alive`, which is no reason to fail a response.
    pub fn add_field(&mut self, name: &[u8], value: &[u8]) -> Result<(), ResponseError> {
        if !is_token(name) {
            return Err(ResponseError::Name);
        }
        if !is_field_value(value) {
            return Err(ResponseError::Value);
        }
        match field_kind(name) {
            FieldKind::ContentLength => {
                let length = decimal(value).ok_or(ResponseError::ContentLength)?;
                match self.facts.content_length {
                    Some(known) if known != length => return Err(ResponseError::ConflictingLength),
                    Some(_) => return Ok(()),
                    None => self.facts.content_length = Some(length),
                }
                let start = self.fields.len();
                self.append(name, itoa::Buffer::new().format(length).as_bytes());
                self.facts.length_line = start..self.fields.len();
                return Ok(());
            }
            FieldKind::Connection => {
                for option in value.split(|&b| b == b',').map(trim_ows) {
                    match option.eq_ignore_ascii_case(b"close") {
                        true => self.facts.close = true,
                        false => self.facts.dropped.add(name),
                    }
                }
                return Ok(());
            }
            FieldKind::HopByHop => {
                self.facts.dropped.add(name);
                return Ok(());
            }
            FieldKind::Date => self.facts.has_date = true,
            FieldKind::Server => self.facts.has_server = true,
            FieldKind::NamesFile => self.facts.names_file = true,
            FieldKind::Other => {}
        }
        self.append(name, value);
        Ok(())
    }

    fn append(&mut self, name: &[u8], value: &[u8]) {
        let start = self.fields.len();
        self.fields.reserve(name.len() + value.len() + 4);
        self.fields.extend_from_slice(name);
        self.fields.extend_from_slice(b": ");
        self.fields.extend_from_slice(value);
        self.fields.extend_from_slice(b"\r\n");
        let name = start..start + name.len();
        let value = name.end + 2..self.fields.len() - 2;
        self.lines.push(FieldLine { name, value });
    }

    /// True if [`ResponseHead::start`] with this status and `count` calls of
    /// [`ResponseHead::add_field`] may have made this head; [`ResponseHead::is_field`] says whether
    /// it has their fields. An application mostly repeats its last head, which then need not be
    /// validated again.
    pub fn may_repeat(&self, status: &[u8], count: usize) -> bool {
        // All fields that had an effect are in the field lines.
        let is_whole = !self.facts.close && self.facts.dropped.is_empty();
        is_whole && self.lines.len() == count && self.line == status && self.status != 0
    }

    /// True if the field at `index` has this name and this value.
    pub fn is_field(&self, index: usize, name: &[u8], value: &[u8]) -> bool {
        self.lines.get(index).is_some_and(|line| {
            self.fields[line.name.clone()] == *name && self.fields[line.value.clone()] == *value
        })
    }

    /// The status code. 0 before [`ResponseHead::start`] has succeeded.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The Content-Length of the application, in bytes.
    pub fn content_length(&self) -> Option<u64> {
        self.facts.content_length
    }

    /// The value of the first field with this name, compared without case. For the access log.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Status code and reason phrase, such as `200 OK`. Empty before [`ResponseHead::start`] has
    /// succeeded.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// Names and values of the fields, in the order in which they were added.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let field =
            |line: &FieldLine| (&self.fields[line.name.clone()], &self.fields[line.value.clone()]);
        self.lines.iter().map(field)
    }

    /// The hop-by-hop fields that were not added.
    pub fn dropped(&self) -> DroppedFields {
        self.facts.dropped
    }

    /// True if the application has set `Connection: close`.
    pub(super) fn wants_close(&self) -> bool {
        self.facts.close
    }

    /// True if a field names the file that the proxy is to send instead of the content. Frameworks
    /// then declare the length of that file and return no content.
    pub fn names_file(&self) -> bool {
        self.facts.names_file
    }

    /// Writes the status line, Server and Date unless the application has set them, and its fields.
    /// Leaves its Content-Length out unless it agrees with the framing `announced`. Returns whether
    /// a Content-Length was written.
    pub(super) fn write(&self, date: &[u8], announced: ResponseFraming, out: &mut Vec<u8>) -> bool {
        out.reserve(self.line.len() + self.fields.len() + 160);
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(&self.line);
        if !self.facts.has_server {
            out.extend_from_slice(b"\r\nServer: rustwsgi");
        }
        if !self.facts.has_date {
            out.extend_from_slice(b"\r\nDate: ");
            out.extend_from_slice(date);
        }
        out.extend_from_slice(b"\r\n");
        let has_length = match (self.facts.content_length, announced) {
            (Some(declared), ResponseFraming::Length(length)) => declared == length,
            _ => false,
        };
        if has_length || self.facts.length_line.is_empty() {
            out.extend_from_slice(&self.fields);
        } else {
            out.extend_from_slice(&self.fields[..self.facts.length_line.start]);
            out.extend_from_slice(&self.fields[self.facts.length_line.end..]);
        }
        has_length
    }
}

/// True for fields by which the server frames messages and manages connections.
pub(super) fn concerns_connection(name: &[u8]) -> bool {
    let kind = field_kind(name);
    matches!(kind, FieldKind::ContentLength | FieldKind::Connection | FieldKind::HopByHop)
}

/// True for fields to which the server gives a meaning of its own, in requests or in responses, and
/// for those that may not be repeated: no option may add them.
pub(crate) fn has_server_meaning(name: &[u8]) -> bool {
    const OTHERS: [&str; 35] = [
        "Accept-Encoding",
        "Accept-Ranges",
        "Allow",
        "Authorization",
        "Cache-Control",
        "Content-Encoding",
        "Content-Range",
        "Content-Type",
        "Cookie",
        "ETag",
        "Expect",
        "Forwarded",
        "Host",
        "HTTP2-Settings",
        "If-Match",
        "If-Modified-Since",
        "If-None-Match",
        "If-Range",
        "If-Unmodified-Since",
        "Last-Modified",
        "Link",
        "Location",
        "Proxy",
        "Range",
        "Retry-After",
        "Server-Timing",
        "Set-Cookie",
        "Traceparent",
        "Vary",
        "X-Content-Type-Options",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Proto",
    ];
    !matches!(field_kind(name), FieldKind::Other)
        || OTHERS.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}

/// Classifies a field by its name.
fn field_kind(name: &[u8]) -> FieldKind {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    match name.len() {
        14 if name == b"Content-Length" || is("content-length") => FieldKind::ContentLength,
        4 if is("date") => FieldKind::Date,
        6 if is("server") => FieldKind::Server,
        10 if is("connection") => FieldKind::Connection,
        2 if is("te") => FieldKind::HopByHop,
        7 if is("trailer") || is("upgrade") => FieldKind::HopByHop,
        8 if is("trailers") => FieldKind::HopByHop,
        10 if is("keep-alive") => FieldKind::HopByHop,
        10 if is("x-sendfile") => FieldKind::NamesFile,
        16 if is("x-accel-redirect") => FieldKind::NamesFile,
        16 if is("proxy-connection") => FieldKind::HopByHop,
        17 if is("transfer-encoding") => FieldKind::HopByHop,
        19 if is("proxy-authorization") => FieldKind::HopByHop,
        _ => FieldKind::Other,
    }
}
