//! Reads the parts of a compressed head: integers and strings. [RFC 7541 section 5]

/// Bytes of an integer at most, as the library has it.
const MAX_INTEGER_BYTES: u32 = 5;

/// The number of Huffman codes of each length: `(bits, codes)`. Codes of a length are consecutive
/// numbers, and follow those that are shorter. [RFC 7541 appendix B]
const CODES: [(u32, u32); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 4),
];
/// The bits of the shortest and of the longest code.
const MIN_BITS: usize = 5;
const MAX_BITS: usize = 30;
/// The code of `#`, which has 12 bits.
const NUMBER_SIGN: (u32, u32) = (0xffa, 12);
/// The code that no string contains.
const END_OF_STRING: (u32, u32) = (0x3fff_ffff, 30);

/// The lengths of the codes, and the number above all codes of at most that length: both as the
/// first of 32 bits.
const LIMITS: [(u32, u64); CODES.len()] = {
    let mut limits = [(0, 0); CODES.len()];
    let (mut next, mut at) = (0_u64, 0);
    while at < CODES.len() {
        let (bits, codes) = CODES[at];
        next += (codes as u64) << (32 - bits);
        limits[at] = (bits, next);
        at += 1;
    }
    limits
};

/// A compressed head, or what is left of it.
#[derive(Debug)]
pub(super) struct Block<'a>(&'a [u8]);

impl<'a> Block<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Block<'a> {
        Block(bytes)
    }

    /// The next byte, which stays.
    pub(super) fn first(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Reads an integer whose first byte has `prefix` bits of it. [RFC 7541 section 5.1]
    pub(super) fn integer(&mut self, prefix: u32) -> Option<usize> {
        let mask = (1 << prefix) - 1;
        let mut value = usize::from(self.take(1)?[0]) & mask;
        if value < mask {
            return Some(value);
        }
        for at in 0..MAX_INTEGER_BYTES - 1 {
            let byte = usize::from(self.take(1)?[0]);
            value += (byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Reads a string, which can be decoded. [RFC 7541 section 5.2]
    pub(super) fn text(&mut self) -> Option<Text<'a>> {
        let is_huffman = self.first()? & 0x80 != 0;
        let length = self.integer(7)?;
        let bytes = self.take(length)?;
        (!is_huffman || is_huffman_coded(bytes)).then_some(Text { bytes, is_huffman })
    }
}

/// A string of a compressed head.
#[derive(Debug)]
pub(super) struct Text<'a> {
    bytes: &'a [u8],
    is_huffman: bool,
}

impl Text<'_> {
    /// How many bytes it has, decoded.
    pub(super) fn length(&self) -> usize {
        if self.is_huffman { codes(self.bytes).count() } else { self.bytes.len() }
    }

    /// True if it has at most `limit` bytes, decoded. Hardly ever decodes it.
    pub(super) fn fits(&self, limit: usize) -> bool {
        match self.is_huffman {
            true if self.bytes.len() * 8 / MIN_BITS <= limit => true,
            true if self.bytes.len().saturating_sub(1) * 8 / MAX_BITS > limit => false,
            _ => self.length() <= limit,
        }
    }

    /// True if it is `:path`.
    pub(super) fn is_path(&self) -> bool {
        self.bytes == if self.is_huffman { &b"\xb9\x58\xd3\x3f"[..] } else { b":path" }
    }

    /// True if it has a `#`.
    pub(super) fn has_number_sign(&self) -> bool {
        match self.is_huffman {
            true => codes(self.bytes).any(|code| code == NUMBER_SIGN),
            false => memchr::memchr(b'#', self.bytes).is_some(),
        }
    }
}

/// True if a string can be decoded: the code that ends strings is not within it, and behind the
/// last code there are less than 8 bits, all of them 1. [RFC 7541 section 5.2]
fn is_huffman_coded(bytes: &[u8]) -> bool {
    let mut codes = codes(bytes);
    let has_end = codes.any(|code| code == END_OF_STRING);
    let padding = (1 << codes.bits) - 1;
    !has_end && codes.bits < 8 && codes.window & padding == padding
}

/// The Huffman codes of a string, each with its length in bits.
fn codes(bytes: &[u8]) -> Codes<'_> {
    Codes { bytes: bytes.iter(), window: 0, bits: 0 }
}

struct Codes<'a> {
    bytes: std::slice::Iter<'a, u8>,
    /// The bits that were read last.
    window: u64,
    /// How many of them are not decoded.
    bits: u32,
}

impl Iterator for Codes<'_> {
    type Item = (u32, u32);

    fn next(&mut self) -> Option<(u32, u32)> {
        loop {
            if self.bits > 0 {
                let ahead = (self.window << (64 - self.bits)) >> 32;
                let found = LIMITS.iter().find(|(_, limit)| ahead < *limit);
                if let Some(&(length, _)) = found.filter(|(length, _)| *length <= self.bits) {
                    self.bits -= length;
                    return Some(((ahead >> (32 - length)) as u32, length));
                }
            }
            // What is left of the last byte is padding.
            self.window = self.window << 8 | u64::from(*self.bytes.next()?);
            self.bits += 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fill_their_space() {
        assert_eq!(LIMITS[CODES.len() - 1], (30, 1 << 32));
        assert_eq!(CODES.iter().map(|(_, codes)| codes).sum::<u32>(), 257, "with the end");
        assert_eq!(CODES[0].0 as usize, MIN_BITS);
        assert_eq!(CODES[CODES.len() - 1].0 as usize, MAX_BITS);
    }

    #[test]
    fn integers_are_those_of_the_examples() {
        for (bytes, prefix, expected) in [
            (&b"\x0a"[..], 5, Some(10)),
            (b"\x1f\x9a\x0a", 5, Some(1337)),
            (b"\x2a", 8, Some(42)),
            (b"\xff\xff\xff\xff\x7f", 7, Some(127 + 0x0fff_ffff)),
            (b"\xff\xff\xff\xff\xff\x00", 7, None),
            (b"\x1f", 5, None),
            (b"", 5, None),
        ] {
            assert_eq!(Block::new(bytes).integer(prefix), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn strings_are_those_of_the_examples() {
        // RFC 7541 appendix C.4, and each code that has 30 bits.
        for (bytes, length) in [
            (&b"\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..], 15),
            (b"\x86\xa8\xeb\x10\x64\x9c\xbf", 8),
            (b"\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", 12),
            (b"\x84\xff\xff\xff\xf3", 1),
            (b"\x80", 0),
            (b"\x03abc", 3),
        ] {
            let mut block = Block::new(bytes);
            let text = block.text().expect("a string");
            assert_eq!(text.length(), length);
            assert!(text.fits(length) && (length == 0 || !text.fits(length - 1)));
            assert!(block.first().is_none());
        }
        for bytes in [
            &b"\x03ab"[..],
            b"\x83ab",
            b"",
            // A byte of padding, behind nothing and behind a code that fills its byte.
            b"\x81\xff",
            b"\x82\xf8\xff",
            // Padding of zeros.
            b"\x82\xf8\x00",
            b"\x86\xa8\xeb\x10\x64\x9c\xbe",
            // The end of the string, alone and behind a character.
            b"\x84\xff\xff\xff\xff",
            b"\x85\x07\xff\xff\xff\xff",
        ] {
            assert!(Block::new(bytes).text().is_none(), "{}", bytes.escape_ascii());
        }
    }

    /// `#` at each position of the bits.
    #[test]
    fn number_sign_is_found_at_each_position() {
        for before in 0..8 {
            // The code of `0` has 5 bits, all of them 0.
            let bits = format!("{}1111111110101111111", "00000".repeat(before));
            let bytes: Vec<u8> = bits
                .as_bytes()
                .chunks_exact(8)
                .map(|byte| byte.iter().fold(0, |all, bit| all << 1 | (bit - b'0')))
                .collect();
            let text = Text { bytes: &bytes, is_huffman: true };
            assert!(text.has_number_sign(), "{before}");
            let other = Text { bytes: &bytes[..bytes.len() - 2], is_huffman: true };
            assert!(!other.has_number_sign(), "{before}");
        }
    }
}
