//! Decodes the chunked transfer coding, strictly by its grammar. [RFC 9112 section 7.1]
//!
//! There is a state for each position in the grammar; a byte that the grammar does not allow there
//! ends the connection. What lenient decoders accept (a lone LF, an empty size, `0x`, blanks after
//! the size, anything in an extension) is the material of request smuggling.

use super::fields::split_fields;
use super::grammar::{is_field_value, is_token_byte};
use super::{Error, Limits};

/// The position in the grammar of the next byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first digit of a chunk size.
    SizeStart,
    /// A further digit of the size, or its end. Holds the number of digits so far.
    Size(u8),
    Extension(Ext),
    /// The LF that ends the size line.
    SizeLf,
    /// Chunk data. Holds the number of bytes that are left, at least 1.
    Data(u64),
    /// The CR after the data.
    DataCr,
    /// The LF after the data.
    DataLf,
    Trailers,
    End,
}

/// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )` [RFC 9112 section 7.1.1]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ext {
    /// Blanks before a `;`.
    BeforeSemicolon,
    /// Blanks or the first byte of a name.
    BeforeName,
    Name,
    /// Blanks after a name: `=` or `;` must follow.
    AfterName,
    /// Blanks or the first byte of a value.
    BeforeValue,
    TokenValue,
    QuotedValue,
    /// After a backslash in a quoted value.
    QuotedPair,
    /// After the closing quote.
    AfterQuoted,
}

/// Decodes the chunks of one message.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    /// The size of the chunk whose size line is being read.
    size: u64,
    /// How many bytes the extensions in this size line have so far.
    extension_bytes: usize,
    /// The bytes of the trailer section so far.
    trailers: Vec<u8>,
}

/// The result of one step of [`Decoder::decode`]; `used` counts bytes of its input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// All input is used, and the message continues.
    NeedMore,
    /// `input[start..used]` is content.
    Data { start: usize, used: usize },
    /// The message ended.
    End { used: usize },
}

impl Decoder {
    pub(crate) fn new() -> Decoder {
        Decoder { state: State::SizeStart, size: 0, extension_bytes: 0, trailers: Vec::new() }
    }

    /// Decodes up to the next piece of content, or the end of the message. The size of a chunk is
    /// known before its data arrives: by [`Decoder::chunk_bytes_left`] the caller can reject a
    /// chunk that is too large at once.
    pub(crate) fn decode(&mut self, input: &[u8], limits: &Limits) -> Result<Decoded, Error> {
        let mut at = 0;
        while at < input.len() {
            if let State::Data(left) = self.state {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(input.len() - at);
                let left = left - take as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                return Ok(Decoded::Data { start: at, used: at + take });
            }
            let byte = input[at];
            at += 1;
            self.state = self.step(byte, limits)?;
            if self.state == State::End {
                return Ok(Decoded::End { used: at });
            }
        }
        Ok(Decoded::NeedMore)
    }

    /// Bytes of memory that the decoder holds.
    pub(crate) fn held_bytes(&self) -> usize {
        self.trailers.capacity()
    }

    /// How many bytes of the current chunk have not been decoded yet.
    pub(crate) fn chunk_bytes_left(&self) -> u64 {
        if let State::Data(left) = self.state { left } else { 0 }
    }

    fn step(&mut self, byte: u8, limits: &Limits) -> Result<State, Error> {
        match (self.state, byte) {
            (State::SizeStart, _) if byte.is_ascii_hexdigit() => {
                self.size = hex(byte);
                self.extension_bytes = 0;
                Ok(State::Size(1))
            }
            // 16 digits fill a u64, so no size overflows. Leading zeros count.
            (State::Size(digits @ 1..=15), _) if byte.is_ascii_hexdigit() => {
                self.size = self.size << 4 | hex(byte);
                Ok(State::Size(digits + 1))
            }
            (State::Size(_), b'\r') => Ok(State::SizeLf),
            (State::Size(_), b' ' | b'\t' | b';') => {
                self.extension_step(Ext::BeforeSemicolon, byte, limits)
            }
            (State::Extension(ext), _) => self.extension_step(ext, byte, limits),
            (State::SizeLf, b'\n') if self.size == 0 => Ok(State::Trailers),
            (State::SizeLf, b'\n') => Ok(State::Data(self.size)),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::SizeStart),
            (State::Trailers, _) => self.trailer_step(byte, limits),
            _ => Err(Error::Chunk),
        }
    }

    fn extension_step(&mut self, ext: Ext, byte: u8, limits: &Limits) -> Result<State, Error> {
        use Ext::*;
        let ends_line = byte == b'\r' && matches!(ext, Name | TokenValue | AfterQuoted);
        if ends_line {
            return Ok(State::SizeLf);
        }
        self.extension_bytes += 1;
        if self.extension_bytes > limits.chunk_extension {
            return Err(Error::ChunkExtension);
        }
        let blank = byte == b' ' || byte == b'\t';
        let next = match ext {
            BeforeSemicolon | TokenValue | AfterQuoted | Name | AfterName if byte == b';' => {
                BeforeName
            }
            Name | AfterName if byte == b'=' => BeforeValue,
            BeforeSemicolon if blank => BeforeSemicolon,
            TokenValue | AfterQuoted if blank => BeforeSemicolon,
            Name | AfterName if blank => AfterName,
            BeforeName if blank => BeforeName,
            BeforeName | Name if is_token_byte(byte) => Name,
            BeforeValue if blank => BeforeValue,
            BeforeValue if byte == b'"' => QuotedValue,
            BeforeValue | TokenValue if is_token_byte(byte) => TokenValue,
            QuotedValue if byte == b'"' => AfterQuoted,
            QuotedValue if byte == b'\\' => QuotedPair,
            QuotedValue | QuotedPair if is_field_value(&[byte]) => QuotedValue,
            _ => return Err(Error::Chunk),
        };
        Ok(State::Extension(next))
    }

    /// Trailer fields must be valid header fields, and are then dropped: merged into the environ,
    /// they could replace fields that routing and authentication have already used.
    fn trailer_step(&mut self, byte: u8, limits: &Limits) -> Result<State, Error> {
        if byte == b'\n' && self.trailers.last() != Some(&b'\r') {
            return Err(Error::Trailer);
        }
        self.trailers.push(byte);
        if self.trailers.len() > limits.trailers.saturating_add(2) {
            return Err(Error::TrailersTooLarge);
        }
        if self.trailers != b"\r\n" && !self.trailers.ends_with(b"\r\n\r\n") {
            return Ok(State::Trailers);
        }
        let lines = memchr::memchr_iter(b'\n', &self.trailers).count() - 1;
        if lines > limits.fields {
            return Err(Error::TooManyFields);
        }
        split_fields(&self.trailers, lines, |_, _| Ok(())).map_err(|_| Error::Trailer)?;
        self.trailers = Vec::new();
        Ok(State::End)
    }
}

/// The value of an ASCII hexadecimal digit.
fn hex(digit: u8) -> u64 {
    u64::from(match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    })
}
