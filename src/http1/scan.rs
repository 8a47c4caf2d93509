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
    scanned: usize,
    /// Where the current line starts.
    line_start: usize,
    /// Lines completed so far, the request line included.
    line_count: usize,
    /// Where the request line ended, before its CRLF; set once `lines` is not 0.
    request_line_end: usize,
    /// Bytes of the one empty line that may precede a request: 0 or 2. [RFC 9112 section 2.2]
    leading_crlf: usize,
}

/// A head whose end was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadBounds {
    /// Where the request line starts.
    pub(crate) start: usize,
    /// Where the request line ends, before its CRLF.
    pub(crate) request_line_end: usize,
    /// The first byte after the head.
    pub(crate) end: usize,
    /// How many field lines there are.
    pub(crate) field_count: usize,
}

impl Scan {
    /// Looks at what of `input` is new. `None` asks for more bytes.
    pub(crate) fn advance(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<HeadBounds>, Error> {
        while let Some(found) = memchr::memchr(b'\n', &input[self.scanned..]) {
            let lf = self.scanned + found;
            // What is refused without its line end is refused in the same words with it: the answer
            // must not depend on how the bytes were cut.
            let line = &input[self.line_start..lf];
            self.scanned = lf + 1;
            self.check_line_so_far(line, limits)?;
            self.check_head_size(self.scanned, limits)?;
            let Some(line) = line.strip_suffix(b"\r") else {
                return Err(Error::BareLf);
            };
            let length = line.len();
            if self.line_count == 0 && length == 0 {
                if self.leading_crlf > 0 {
                    return Err(Error::RequestLine);
                }
                self.leading_crlf = 2;
                self.line_start = self.scanned;
                continue;
            }
            if length == 0 {
                return Ok(Some(HeadBounds {
                    start: self.leading_crlf,
                    request_line_end: self.request_line_end,
                    end: self.scanned,
                    field_count: self.line_count - 1,
                }));
            }
            if self.line_count == 0 {
                self.request_line_end = lf - 1;
            }
            self.line_start = self.scanned;
            self.line_count += 1;
            if self.line_count - 1 > limits.fields {
                return Err(Error::FieldsTooLarge);
            }
        }
        self.scanned = input.len();
        self.check_line_so_far(&input[self.line_start..], limits)?;
        self.check_head_size(input.len(), limits)?;
        Ok(None)
    }

    /// True if not a byte was looked at yet.
    pub(crate) fn has_seen_nothing(&self) -> bool {
        self.scanned == 0
    }

    /// True if nothing of a request has come yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.scanned <= self.leading_crlf
    }

    /// Checks what there is of the current line.
    fn check_line_so_far(&self, line: &[u8], limits: &Limits) -> Result<(), Error> {
        // A CR may still become the line's end, and does not count.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let length = line.len();
        if self.line_count == 0 {
            check_method_so_far(line)?;
        }
        match self.line_count {
            0 if length > limits.request_line => Err(Error::RequestLineTooLong),
            0 => Ok(()),
            _ if length > limits.field_size => Err(Error::FieldsTooLarge),
            _ => Ok(()),
        }
    }

    fn check_head_size(&self, total: usize, limits: &Limits) -> Result<(), Error> {
        if total - self.leading_crlf > limits.head { Err(Error::FieldsTooLarge) } else { Ok(()) }
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
