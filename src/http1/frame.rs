//! What goes on the wire around a block of a response's content: nothing, or what makes a chunk of it.
//! [RFC 9112 section 7.1]

/// Ends the content, without trailers.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// How a block of content is to be sent: `prefix`, then the first `take` bytes of it, then `suffix`.
#[derive(Debug)]
pub struct Frame {
    prefix: [u8; 18],
    prefix_len: u8,
    /// How many bytes of the block may be sent; the rest would exceed Content-Length.
    pub take: usize,
    /// CRLF behind a chunk.
    pub suffix: &'static [u8],
}

impl Frame {
    /// So many bytes as they are.
    pub(super) fn plain(take: usize) -> Frame {
        Frame { prefix: [0; 18], prefix_len: 0, take, suffix: b"" }
    }

    /// A chunk of so many bytes: at least one, as an empty chunk is the last.
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

/// `1f4\r\n`; returns its length.
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
