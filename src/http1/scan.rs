//! Finds the end of a head as it arrives, and enforces the limits.
//!
//! The scan continues where it stopped, so that a head which arrives byte by byte costs the same as
//! one that arrives whole. It rejects a head at the first byte that violates a rule, so that a
//! client cannot make the server buffer more than the limits allow. Lines end in CRLF: many
//! parsers, such as httparse, also accept a lone LF, which smuggles requests past the parsers that
//! do not.

use super::grammar::is_token_byte;
use super::{Error, Limits};

/// The state of scanning one head. Offsets count from the first byte of the input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// How many bytes were scanned.
    scanned: usize,
    /// The offset at which the current line starts.
    line_start: usize,
    /// How many lines are complete, including the request line.
    line_count: usize,
    /// The offset at which the request line ends, before its CRLF. Set once `line_count` is not 0.
    request_line_end: usize,
    /// The length of the one empty line that may precede a request: 0 or 2. [RFC 9112 section 2.2]
    leading_crlf: usize,
}

/// Where a head and its request line are in the input, as offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadBounds {
    /// The start of the request line.
    pub(crate) start: usize,
    /// The end of the request line, before its CRLF.
    pub(crate) request_line_end: usize,
    /// The first byte after the head.
    pub(crate) end: usize,
    /// The number of field lines.
    pub(crate) field_count: usize,
}

impl Scan {
    /// Scans the bytes of `input` that were appended since the last call. `None` if the head is not
    /// complete yet.
    pub(crate) fn advance(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<HeadBounds>, Error> {
        while let Some(found) = memchr::memchr(b'\n', &input[self.scanned..]) {
            let lf = self.scanned + found;
            // A complete line passes the checks of a partial one first: the error must not depend
            // on how the network has cut the bytes.
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
                    return Err(Error::LeadingEmptyLines);
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
                return Err(Error::TooManyFields);
            }
        }
        self.scanned = input.len();
        self.check_line_so_far(&input[self.line_start..], limits)?;
        self.check_head_size(input.len(), limits)?;
        Ok(None)
    }

    /// True if no byte was scanned.
    pub(crate) fn has_seen_nothing(&self) -> bool {
        self.scanned == 0
    }

    /// True if no byte of a request has arrived; an empty line before it does not count.
    pub(crate) fn is_empty(&self) -> bool {
        self.scanned <= self.leading_crlf
    }

    /// Checks the part of the current line that has arrived.
    fn check_line_so_far(&self, line: &[u8], limits: &Limits) -> Result<(), Error> {
        // A CR at the end may be the first byte of the CRLF, and does not count.
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let length = line.len();
        if self.line_count == 0 {
            check_method_so_far(line)?;
        }
        match self.line_count {
            0 if length > limits.request_line => Err(Error::RequestLineTooLong),
            0 => Ok(()),
            _ if length > limits.field_size => Err(Error::FieldTooLong),
            _ => Ok(()),
        }
    }

    fn check_head_size(&self, total: usize, limits: &Limits) -> Result<(), Error> {
        if total - self.leading_crlf > limits.head { Err(Error::HeadTooLarge) } else { Ok(()) }
    }
}

/// Rejects a line at the first byte that no method can have, such as that of a TLS handshake on a
/// plain port, which would never send the end of a line.
fn check_method_so_far(line: &[u8]) -> Result<(), Error> {
    // 22 is the content type of a TLS handshake record. [RFC 8446 section 5.1]
    if line.first() == Some(&22) {
        return Err(Error::Tls);
    }
    match line.iter().find(|&&b| !is_token_byte(b)) {
        None => Ok(()),
        Some(b' ') if line[0] != b' ' => Ok(()),
        Some(_) => Err(Error::Method),
    }
}
