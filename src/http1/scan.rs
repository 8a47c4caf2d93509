//! Finds where a head ends, however slowly it arrives, and enforces the limits while it does.
//!
//! The scan remembers how far it came, so that a head delivered byte by byte costs the same work as
//! one delivered whole; and it refuses as soon as a rule is broken, so that a client cannot make the
//! server hold more than the limits say. Lines end in CRLF and nothing else: a lone LF, which many
//! parsers (httparse among them) accept, is how requests are smuggled past the ones that do not.

use super::grammar::is_token_byte;
use super::{Error, Limits};

/// Progress through the lines of one head. Offsets count from the first unconsumed byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// How many bytes were looked at.
    seen: usize,
    /// Where the current line starts.
    line: usize,
    /// Lines completed so far, the request line included.
    lines: usize,
    /// Where the request line ended, before its CRLF; set once `lines` is not 0.
    first_end: usize,
    /// Bytes of the one empty line that may precede a request: 0 or 2. [RFC 9112 section 2.2]
    skipped: usize,
}

/// A head whose end was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Complete {
    /// Where the request line starts.
    pub(crate) start: usize,
    /// Where the request line ends, before its CRLF.
    pub(crate) line_end: usize,
    /// The first byte after the head.
    pub(crate) end: usize,
    /// How many field lines there are.
    pub(crate) fields: usize,
}

impl Scan {
    /// Looks at what of `input` is new. `None` asks for more bytes.
    pub(crate) fn advance(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<Complete>, Error> {
        while let Some(found) = memchr::memchr(b'\n', &input[self.seen..]) {
            let lf = self.seen + found;
            // What is refused without its line end is refused in the same words with it: the answer
            // must not depend on how the bytes were cut.
            let line = &input[self.line..lf];
            self.seen = lf + 1;
            self.check_partial(line, limits)?;
            self.check_total(self.seen, limits)?;
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(Error::BareLf);
            };
            let length = line.len();
            if self.lines == 0 && length == 0 {
                if self.skipped > 0 {
                    return Err(Error::RequestLine);
                }
                self.skipped = 2;
                self.line = self.seen;
                continue;
            }
            if length == 0 {
                return Ok(Some(Complete {
                    start: self.skipped,
                    line_end: self.first_end,
                    end: self.seen,
                    fields: self.lines - 1,
                }));
            }
            if self.lines == 0 {
                self.first_end = lf - 1;
            }
            self.line = self.seen;
            self.lines += 1;
            if self.lines - 1 > limits.fields {
                return Err(Error::FieldsTooLarge);
            }
        }
        self.seen = input.len();
        self.check_partial(&input[self.line..], limits)?;
        self.check_total(input.len(), limits)?;
        Ok(None)
    }

    /// True if not a byte was looked at yet.
    pub(crate) fn is_new(&self) -> bool {
        self.seen == 0
    }

    /// True if nothing of a request has come yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.seen <= self.skipped
    }

    /// Checks what there is of the current line.
    fn check_partial(&self, line: &[u8], limits: &Limits) -> Result<(), Error> {
        // A CR may still become the line's end, and does not count.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let length = line.len();
        if self.lines == 0 {
            check_method_so_far(line)?;
        }
        match self.lines {
            0 if length > limits.request_line => Err(Error::RequestLineTooLong),
            0 => Ok(()),
            _ if length > limits.field_size => Err(Error::FieldsTooLarge),
            _ => Ok(()),
        }
    }

    fn check_total(&self, total: usize, limits: &Limits) -> Result<(), Error> {
        if total - self.skipped > limits.head { Err(Error::FieldsTooLarge) } else { Ok(()) }
    }
}

/// Refuses at the first byte what can never become a method, such as a TLS handshake on a plain port,
/// instead of waiting for a line end that will not come.
fn check_method_so_far(line: &[u8]) -> Result<(), Error> {
    // A record of the type "handshake". [RFC 8446 section 5.1]
    if line.first() == Some(&22) {
        return Err(Error::Tls);
    }
    match line.iter().find(|&&b| !is_token_byte(b)) {
        None => Ok(()),
        Some(b' ') if line[0] != b' ' => Ok(()),
        Some(_) => Err(Error::Method),
    }
}
