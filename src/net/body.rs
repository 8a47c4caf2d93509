//! Buffers the content of a request before a worker thread runs it: in memory while it is small,
//! beyond that in an unlinked temporary file. So a slow upload holds no thread, and a large one no
//! memory.

use std::fs::File;
use std::io::{self, Write};

use super::tuning::{SMALL_SPOOL_BLOCK, SPOOL_BLOCK};

/// The complete content of a request.
#[derive(Debug, Default)]
pub enum Body {
    /// The request has no content.
    #[default]
    Empty,
    /// All of it in memory.
    Memory(Vec<u8>),
    /// All of it in an unlinked file, with the file's length in bytes.
    File(File, u64),
}

impl Body {
    /// Bytes held in memory, and bytes held in a file.
    pub(super) fn size(&self) -> (usize, u64) {
        match self {
            Body::Empty => (0, 0),
            Body::Memory(bytes) => (bytes.capacity(), 0),
            Body::File(_, length) => (0, *length),
        }
    }
}

/// The content of a request while it arrives.
#[derive(Debug, Default)]
pub(super) struct Spool {
    /// The bytes that are not in the file; all of them while there is no file.
    memory: Vec<u8>,
    /// The file, and its length in bytes.
    file: Option<(File, u64)>,
}

impl Spool {
    /// True if it holds neither memory nor a file.
    pub(super) fn is_new(&self) -> bool {
        self.memory.capacity() == 0 && self.file.is_none()
    }

    /// Bytes held in memory, as allocated.
    pub(super) fn memory(&self) -> usize {
        self.memory.capacity()
    }

    /// Bytes held in the file.
    pub(super) fn stored(&self) -> u64 {
        self.file.as_ref().map_or(0, |(_, length)| *length)
    }

    /// Appends a block. Content longer than `memory_limit` bytes goes to a file, from the first
    /// block on if its Content-Length `expected` is (0 if unknown). Fails as the file system does.
    pub(super) fn push(
        &mut self,
        block: &[u8],
        expected: u64,
        memory_limit: usize,
    ) -> io::Result<()> {
        let unit = if memory_limit < SMALL_SPOOL_BLOCK { SMALL_SPOOL_BLOCK } else { SPOOL_BLOCK };
        match &mut self.file {
            None if expected.max((self.memory.len() + block.len()) as u64)
                <= memory_limit as u64 =>
            {
                if self.memory.is_empty() {
                    self.memory.reserve_exact(expected as usize);
                }
            }
            None => {
                self.file = Some((tempfile::tempfile()?, 0));
                self.memory.shrink_to(unit);
                return self.push(block, expected, memory_limit);
            }
            Some((file, length)) if self.memory.len() + block.len() > unit => {
                append_to_file(&mut self.memory, file, length)?;
                // Its capacity may be the whole memory limit.
                self.memory.shrink_to(unit);
                if block.len() >= unit {
                    *length += block.len() as u64;
                    return file.write_all(block);
                }
            }
            Some(_) => {}
        }
        self.memory.extend_from_slice(block);
        Ok(())
    }

    /// Takes the complete content out.
    pub(super) fn finish(&mut self) -> io::Result<Body> {
        let Spool { mut memory, file } = std::mem::take(self);
        match file {
            None if memory.is_empty() => Ok(Body::Empty),
            None => Ok(Body::Memory(memory)),
            Some((mut file, mut length)) => {
                append_to_file(&mut memory, &mut file, &mut length)?;
                Ok(Body::File(file, length))
            }
        }
    }
}

fn append_to_file(memory: &mut Vec<u8>, file: &mut File, length: &mut u64) -> io::Result<()> {
    file.write_all(memory)?;
    *length += memory.len() as u64;
    memory.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    fn gather(blocks: &[&[u8]], expected: u64, limit: usize) -> (bool, Vec<u8>) {
        let mut spool = Spool::default();
        for block in blocks {
            spool.push(block, expected, limit).unwrap();
        }
        match spool.finish().unwrap() {
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
    fn content_beyond_the_limit_goes_to_a_file_whole() {
        assert_eq!(gather(&[], 0, 4), (false, Vec::new()));
        assert_eq!(gather(&[b"ab", b"cd"], 4, 4), (false, b"abcd".to_vec()));
        assert_eq!(gather(&[b"ab", b"cde"], 0, 4), (true, b"abcde".to_vec()));
        assert_eq!(gather(&[b"a", b"b"], 9, 4), (true, b"ab".to_vec()));
        assert_eq!(gather(&[b"abcde", b"f"], 0, 4), (true, b"abcdef".to_vec()));
    }

    #[test]
    fn content_in_the_file_takes_no_memory() {
        let mut spool = Spool::default();
        spool.push(&[b'x'; 10 * SPOOL_BLOCK], 0, 10 * SPOOL_BLOCK).unwrap();
        assert!(spool.memory() >= 10 * SPOOL_BLOCK);
        spool.push(b"x", 0, 10 * SPOOL_BLOCK).unwrap();
        assert_eq!(spool.stored(), 10 * SPOOL_BLOCK as u64);
        assert!(spool.memory() <= SPOOL_BLOCK);
    }

    #[test]
    fn blocks_of_every_size_stay_in_order() {
        let large = vec![b'x'; SPOOL_BLOCK];
        let blocks: &[&[u8]] = &[b"a", &large, b"b", &large[1..], b"c", &large[..9], b"d"];
        assert_eq!(gather(blocks, 0, 16), (true, blocks.concat()));
    }
}
