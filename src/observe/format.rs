//! Formats of the access log, in gunicorn's format language. A format is compiled once.
//!
//! A format uses the syntax of Python's `%` operator on a dictionary, so existing format strings,
//! and the tools that read the lines, work unchanged. As in gunicorn, an unknown atom is logged as
//! `-`; [`Format::unknown`] lists such atoms for a warning at start.

mod template;

pub use template::AtomValue;

use std::io::Write as _;
use std::time::Duration;

use thiserror::Error;

use super::clock::Stamp;
use super::record::Record;
use super::{escape, json};

/// The Common Log Format of the NCSA and Apache servers.
const COMMON: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s"#;
/// `common` with referer and user agent, which is gunicorn's default.
const COMBINED: &str = r#"%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s""#;

/// A compiled format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// The structure of a line.
    shape: Shape,
    /// The names in `%({name}e)s` atoms, without duplicates.
    environ_keys: Vec<String>,
    /// Unknown atoms, as the format writes them.
    unknown: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// The concatenation of these pieces.
    Pieces(Vec<Piece>),
    /// One JSON object.
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// Literal text.
    Text(String),
    /// A value with its own letter.
    Atom(Atom),
    /// A request field; its name is in lower case.
    RequestField(String),
    /// A response field; its name is in lower case.
    ResponseField(String),
    /// A value of the environ, by its key.
    Environ(String),
}

/// The values with their own letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Atom {
    Remote,
    Identity,
    User,
    Time,
    RequestLine,
    Method,
    Path,
    Query,
    Protocol,
    Status,
    Sent,
    Referer,
    UserAgent,
    Seconds,
    Milliseconds,
    Microseconds,
    DecimalSeconds,
    Process,
    QueueTime,
    AppTime,
    SendTime,
    RequestId,
    Traceparent,
}

/// Name, value, and whether Python accepts `%(x)d` besides `%(x)s`. The names of more than a letter
/// are not gunicorn's, which logs such atoms as `-`.
const ATOMS: [(&str, Atom, bool); 24] = [
    ("h", Atom::Remote, false),
    ("l", Atom::Identity, false),
    ("u", Atom::User, false),
    ("t", Atom::Time, false),
    ("r", Atom::RequestLine, false),
    ("m", Atom::Method, false),
    ("U", Atom::Path, false),
    ("q", Atom::Query, false),
    ("H", Atom::Protocol, false),
    ("s", Atom::Status, true),
    ("B", Atom::Sent, true),
    ("b", Atom::Sent, true),
    ("f", Atom::Referer, false),
    ("a", Atom::UserAgent, false),
    ("T", Atom::Seconds, true),
    ("M", Atom::Milliseconds, true),
    ("D", Atom::Microseconds, true),
    ("L", Atom::DecimalSeconds, false),
    ("p", Atom::Process, false),
    ("queue", Atom::QueueTime, false),
    ("app", Atom::AppTime, false),
    ("send", Atom::SendTime, false),
    ("request_id", Atom::RequestId, false),
    ("traceparent", Atom::Traceparent, false),
];

/// Why a format cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    /// The format has no characters.
    #[error("the format is empty: use 'common', 'combined', 'json' or atoms such as %(h)s")]
    Empty,
    /// A `%` does not begin an atom. Holds its position, counted from 1.
    #[error(
        "'%' at character {0} does not begin an atom such as %(h)s: write %% for a percent sign"
    )]
    Malformed(usize),
}

/// A list of the atoms, for error messages.
pub fn known_atoms() -> String {
    format!(
        "%(x)s with x one of {}, and %({{name}}i)s (request field), \
         %({{name}}o)s (response field), %({{name}}e)s (environ)",
        ATOMS.map(|(letter, _, _)| letter).join(" ")
    )
}

/// The timestamps of lines, cached between lines.
#[derive(Debug)]
pub(super) struct Stamps {
    /// For `%(t)s`.
    pub(super) common: Stamp,
    /// For JSON: date and time without a fraction.
    pub(super) iso: Stamp,
    /// For JSON: the offset from UTC.
    pub(super) iso_offset: Stamp,
}

impl Stamps {
    pub(super) fn new() -> Stamps {
        Stamps {
            common: Stamp::new("[%d/%b/%Y:%H:%M:%S %z]"),
            iso: Stamp::new("%Y-%m-%dT%H:%M:%S"),
            iso_offset: Stamp::new("%:z"),
        }
    }
}

impl Format {
    /// Compiles `common`, `combined`, `json`, or a format of gunicorn's atoms.
    ///
    /// # Errors
    /// [`FormatError`] if the format is empty, or a `%` begins no atom.
    pub fn parse(format: &str) -> Result<Format, FormatError> {
        let mut unknown = Vec::new();
        let pieces = match format {
            "" => return Err(FormatError::Empty),
            "json" => {
                return Ok(Format { shape: Shape::Json, environ_keys: Vec::new(), unknown });
            }
            "common" => compile(COMMON, &mut unknown)?,
            "combined" => compile(COMBINED, &mut unknown)?,
            atoms => compile(atoms, &mut unknown)?,
        };
        let mut environ_keys: Vec<String> = Vec::new();
        for piece in &pieces {
            if let Piece::Environ(key) = piece
                && !environ_keys.contains(key)
            {
                environ_keys.push(key.clone());
            }
        }
        Ok(Format { shape: Shape::Pieces(pieces), environ_keys, unknown })
    }

    /// Lines may show the trace of a request.
    pub fn shows_trace(&self) -> bool {
        let of_trace = |piece: &Piece| matches!(piece, Piece::Atom(atom) if atom.is_of_trace());
        match &self.shape {
            Shape::Json => true,
            Shape::Pieces(pieces) => pieces.iter().any(of_trace),
        }
    }

    /// All lines are the same, because the format contains no atom.
    pub fn is_constant(&self) -> bool {
        let is_text = |piece: &Piece| matches!(piece, Piece::Text(_));
        self.unknown.is_empty()
            && matches!(&self.shape, Shape::Pieces(pieces) if pieces.iter().all(is_text))
    }

    /// Unknown atoms, as the format writes them. Each is logged as `-`.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// The environ keys whose values [`Record::environ`] must hold, spelled as in the format.
    pub fn environ_keys(&self) -> &[String] {
        &self.environ_keys
    }

    /// Appends the record's line, line feed included.
    pub(super) fn render(&self, record: &Record<'_>, stamps: &mut Stamps, out: &mut Vec<u8>) {
        match &self.shape {
            Shape::Json => json::render(record, stamps, out),
            Shape::Pieces(pieces) => {
                for piece in pieces {
                    piece.render(record, stamps, out);
                }
            }
        }
        out.push(b'\n');
    }
}

/// Parses a format into pieces.
fn compile(format: &str, unknown: &mut Vec<String>) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = format;
    while let Some(percent) = rest.find('%') {
        text.push_str(&rest[..percent]);
        let after = &rest[percent + 1..];
        if let Some(tail) = after.strip_prefix('%') {
            text.push('%');
            rest = tail;
            continue;
        }
        let malformed = || {
            let start = format.len() - after.len() - 1;
            FormatError::Malformed(format[..start].chars().count() + 1)
        };
        let (name, tail) =
            after.strip_prefix('(').and_then(|name| name.split_once(')')).ok_or_else(malformed)?;
        let conversion = tail.chars().next().ok_or_else(malformed)?;
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut text)));
        }
        pieces.push(match atom(name, conversion) {
            Some(atom) => atom,
            None if matches!(conversion, 's' | 'd') => {
                unknown.push(format!("%({name}){conversion}"));
                Piece::Text("-".to_owned())
            }
            None => return Err(malformed()),
        });
        rest = &tail[conversion.len_utf8()..];
    }
    text.push_str(rest);
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

fn atom(name: &str, conversion: char) -> Option<Piece> {
    if let Some(braced) = name.strip_prefix('{') {
        let (field, kind) = braced.rsplit_once('}')?;
        return match (kind, conversion) {
            _ if field.is_empty() => None,
            ("i", 's') => Some(Piece::RequestField(field.to_ascii_lowercase())),
            ("o", 's') => Some(Piece::ResponseField(field.to_ascii_lowercase())),
            ("e", 's') => Some(Piece::Environ(field.to_owned())),
            _ => None,
        };
    }
    let &(_, atom, number) = ATOMS.iter().find(|(letter, _, _)| *letter == name)?;
    match conversion {
        's' => Some(Piece::Atom(atom)),
        'd' if number => Some(Piece::Atom(atom)),
        _ => None,
    }
}

impl Piece {
    fn render(&self, record: &Record<'_>, stamps: &mut Stamps, out: &mut Vec<u8>) {
        match self {
            Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
            Piece::Atom(atom) => atom.render(record, stamps, out),
            Piece::RequestField(name) => text_or_dash((record.request_field)(name), out),
            Piece::ResponseField(name) => text_or_dash((record.response_field)(name), out),
            Piece::Environ(key) => {
                let found = record.environ.iter().find(|(name, _)| name == key);
                text_or_dash(found.map(|(_, value)| value.as_bytes()), out);
            }
        }
    }
}

impl Atom {
    fn is_of_trace(self) -> bool {
        use Atom::{AppTime, QueueTime, RequestId, SendTime, Traceparent};
        matches!(self, QueueTime | AppTime | SendTime | RequestId | Traceparent)
    }

    fn render(self, record: &Record<'_>, stamps: &mut Stamps, out: &mut Vec<u8>) {
        let elapsed = record.elapsed;
        match self {
            Atom::Remote => word_or_dash(Some(record.remote.as_bytes()), out),
            // RFC 1413 identities are no longer in use; the Common Log Format has the column.
            Atom::Identity => out.push(b'-'),
            Atom::User => word_or_dash(record.user().as_deref(), out),
            Atom::Time => out.extend_from_slice(stamps.common.text(record.started).as_bytes()),
            // The request was rejected before its request line was parsed.
            Atom::RequestLine if record.method.is_empty() => out.push(b'-'),
            Atom::RequestLine => {
                escape::text(record.method, out);
                out.push(b' ');
                escape::text(record.target, out);
                out.push(b' ');
                escape::text(record.version.as_bytes(), out);
            }
            Atom::Method => word_or_dash(Some(record.method), out),
            Atom::Path => escape::text(record.path_and_query().0, out),
            Atom::Query => escape::text(record.path_and_query().1, out),
            Atom::Protocol => word_or_dash(Some(record.version.as_bytes()), out),
            Atom::Status => number(record.status, out),
            Atom::Sent => number(record.sent, out),
            Atom::Referer => text_or_dash((record.request_field)("referer"), out),
            Atom::UserAgent => text_or_dash((record.request_field)("user-agent"), out),
            Atom::Seconds => number(elapsed.as_secs(), out),
            Atom::Milliseconds => number(elapsed.as_millis(), out),
            Atom::Microseconds => number(elapsed.as_micros(), out),
            Atom::DecimalSeconds => decimal_seconds(elapsed, out),
            Atom::Process => {
                out.push(b'<');
                number(std::process::id(), out);
                out.push(b'>');
            }
            Atom::QueueTime => seconds_or_dash(record.trace.phases.queue, out),
            Atom::AppTime => seconds_or_dash(record.trace.phases.app, out),
            Atom::SendTime => seconds_or_dash(record.trace.phases.send, out),
            Atom::RequestId => word_or_dash(record.trace.request_id.map(str::as_bytes), out),
            Atom::Traceparent => word_or_dash(record.trace.traceparent, out),
        }
    }
}

/// Formats the value of a column in quotation marks.
fn text_or_dash(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        None | Some(b"") => out.push(b'-'),
        Some(value) => escape::text(value, out),
    }
}

/// Formats the value of a column that a space would end.
fn word_or_dash(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        None | Some(b"") => out.push(b'-'),
        Some(value) => escape::word(value, out),
    }
}

fn seconds_or_dash(value: Option<Duration>, out: &mut Vec<u8>) {
    match value {
        None => out.push(b'-'),
        Some(value) => decimal_seconds(value, out),
    }
}

pub(super) fn number(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Formats seconds with six decimals.
pub(super) fn decimal_seconds(elapsed: Duration, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{}.{:06}", elapsed.as_secs(), elapsed.subsec_micros());
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
