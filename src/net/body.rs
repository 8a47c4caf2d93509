//! A request's content, gathered before a Python thread is occupied with it: in memory while it is
//! small, in an unlinked temporary file once it is not, so that neither a slow upload nor a large one
//! costs a thread or memory.

use std::fs::File;
use std::io::{self, Write};

/// Content received so far.
#[derive(Debug, Default)]
pub enum Body {
    /// None yet.
    #[default]
    Empty,
    /// All of it in memory.
    Memory(Vec<u8>),
    /// All of it in a file that has no name any more, so many bytes long.
    File(File, u64),
}

impl Body {
    /// Adds a block. Content beyond `memory` bytes goes to a file. Fails as the file system does.
    pub(super) fn push(&mut self, block: &[u8], expected: u64, memory: usize) -> io::Result<()> {
        match self {
            Body::Empty if expected.max(block.len() as u64) <= memory as u64 => {
                let mut bytes = Vec::with_capacity(expected as usize);
                bytes.extend_from_slice(block);
                *self = Body::Memory(bytes);
                Ok(())
            }
            Body::Empty => {
                let mut file = tempfile::tempfile()?;
                file.write_all(block)?;
                *self = Body::File(file, block.len() as u64);
                Ok(())
            }
            Body::Memory(bytes) if bytes.len() + block.len() <= memory => {
                bytes.extend_from_slice(block);
                Ok(())
            }
            Body::Memory(bytes) => {
                let mut file = tempfile::tempfile()?;
                file.write_all(bytes)?;
                file.write_all(block)?;
                *self = Body::File(file, (bytes.len() + block.len()) as u64);
                Ok(())
            }
            Body::File(file, length) => {
                file.write_all(block)?;
                *length += block.len() as u64;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    fn gather(blocks: &[&[u8]], expected: u64, memory: usize) -> (bool, Vec<u8>) {
        let mut body = Body::default();
        for block in blocks {
            body.push(block, expected, memory).unwrap();
        }
        match body {
            Body::Empty => (false, Vec::new()),
            Body::Memory(bytes) => (false, bytes),
            Body::File(mut file, length) => {
                let mut bytes = Vec::new();
                file.rewind().unwrap();
                file.read_to_end(&mut bytes).unwrap();
                assert_eq!(bytes.len() as u64, length);
                (true, bytes)
            }
        }
    }

    #[test]
    fn spills_beyond_the_limit_and_loses_nothing() {
        assert_eq!(gather(&[b"ab", b"cd"], 4, 4), (false, b"abcd".to_vec()));
        assert_eq!(gather(&[b"ab", b"cde"], 0, 4), (true, b"abcde".to_vec()));
        assert_eq!(gather(&[b"a", b"b"], 9, 4), (true, b"ab".to_vec()));
        assert_eq!(gather(&[b"abcde", b"f"], 0, 4), (true, b"abcdef".to_vec()));
    }
}
