//! The bytes on the wire around a block of content: the size line and the CRLF of a chunk, or none.
//! [RFC 9112 section 7.1]

/// The last chunk, and an empty trailer section.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The framing of one block: send `prefix`, the first `take` bytes of the block, then `suffix`.
#[derive(Debug)]
pub struct Frame {
    prefix: [u8; 18],
    prefix_len: u8,
    /// How many bytes of the block to send. The rest exceeds the Content-Length.
    pub take: usize,
    /// The CRLF after a chunk, or nothing.
    pub suffix: &'static [u8],
}

impl Frame {
    /// `take` bytes without framing.
    pub(super) fn plain(take: usize) -> Frame {
        Frame { prefix: [0; 18], prefix_len: 0, take, suffix: b"" }
    }

    /// A chunk of `take` bytes, at least 1: an empty chunk would be the last.
    pub(super) fn chunk(take: usize) -> Frame {
        let mut prefix = [0; 18];
        let prefix_len = size_line(take, &mut prefix);
        Frame { prefix, prefix_len, take, suffix: b"\r\n" }
    }

    /// The size line of a chunk, or nothing.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix[..usize::from(self.prefix_len)]
    }
}

/// Writes the size line of a chunk, such as `1f4\r\n`. Returns its length in bytes.
fn size_line(length: usize, line: &mut [u8; 18]) -> u8 {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let count = (usize::BITS - length.leading_zeros()).div_ceil(4).max(1) as usize;
    for (i, slot) in line[..count].iter_mut().enumerate() {
        *slot = DIGITS[(length >> (4 * (count - 1 - i))) & 15];
    }
    line[count] = b'\r';
    line[count + 1] = b'\n';
    count as u8 + 2
}
