//! A request's content, gathered before a Python thread is occupied with it: in memory while it is
//! small, in an unlinked temporary file once it is not, so that neither a slow upload nor a large one
//! costs a thread or memory.

use std::fs::File;
use std::io::{self, Write};

/// What is spooled goes to the file in pieces of this size, so that a client that sends byte by byte
/// does not cost a system call for each.
const PIECE: usize = 64 * 1024;

/// The same where the limit is below this: memory is short, or meant to be spared.
const SHORT: usize = 4 * 1024;
/// The limit while memory is short.
pub(super) const LITTLE: usize = SHORT - 1;

/// A request's content, whole.
#[derive(Debug, Default)]
pub enum Body {
    /// There is none.
    #[default]
    Empty,
    /// All of it in memory.
    Memory(Vec<u8>),
    /// All of it in a file that has no name any more, so many bytes long.
    File(File, u64),
}

impl Body {
    /// Bytes of memory, and bytes in a file.
    pub(super) fn size(&self) -> (usize, u64) {
        match self {
            Body::Empty => (0, 0),
            Body::Memory(bytes) => (bytes.capacity(), 0),
            Body::File(_, length) => (0, *length),
        }
    }
}

/// Content while it arrives.
#[derive(Debug, Default)]
pub(super) struct Spool {
    /// What is not in the file: everything, unless there is one.
    memory: Vec<u8>,
    /// The file and how many bytes it has.
    file: Option<(File, u64)>,
}

impl Spool {
    /// True if nothing was added.
    pub(super) fn is_new(&self) -> bool {
        self.memory.capacity() == 0 && self.file.is_none()
    }

    /// Bytes of memory that are taken.
    pub(super) fn memory(&self) -> usize {
        self.memory.capacity()
    }

    /// Bytes that are in a file.
    pub(super) fn stored(&self) -> u64 {
        self.file.as_ref().map_or(0, |(_, length)| *length)
    }

    /// Adds a block. Content beyond `limit` bytes, or of which `expected` bytes are announced beyond it, goes
    /// to a file. Fails as the file system does.
    pub(super) fn push(&mut self, block: &[u8], expected: u64, limit: usize) -> io::Result<()> {
        let piece = if limit < SHORT { SHORT } else { PIECE };
        match &mut self.file {
            None if expected.max((self.memory.len() + block.len()) as u64) <= limit as u64 => {
                if self.memory.is_empty() {
                    self.memory.reserve_exact(expected as usize);
                }
            }
            None => {
                self.file = Some((tempfile::tempfile()?, 0));
                self.memory.shrink_to(piece);
                return self.push(block, expected, limit);
            }
            Some((file, length)) if self.memory.len() + block.len() > piece => {
                write_out(&mut self.memory, file, length)?;
                // It may have held all that was to stay in memory.
                self.memory.shrink_to(piece);
                if block.len() >= piece {
                    *length += block.len() as u64;
                    return file.write_all(block);
                }
            }
            Some(_) => {}
        }
        self.memory.extend_from_slice(block);
        Ok(())
    }

    /// The whole content; nothing is left here.
    pub(super) fn finish(&mut self) -> io::Result<Body> {
        let Spool { mut memory, file } = std::mem::take(self);
        match file {
            None if memory.is_empty() => Ok(Body::Empty),
            None => Ok(Body::Memory(memory)),
            Some((mut file, mut length)) => {
                write_out(&mut memory, &mut file, &mut length)?;
                Ok(Body::File(file, length))
            }
        }
    }
}

fn write_out(memory: &mut Vec<u8>, file: &mut File, length: &mut u64) -> io::Result<()> {
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
    fn spills_beyond_the_limit_and_loses_nothing() {
        assert_eq!(gather(&[], 0, 4), (false, Vec::new()));
        assert_eq!(gather(&[b"ab", b"cd"], 4, 4), (false, b"abcd".to_vec()));
        assert_eq!(gather(&[b"ab", b"cde"], 0, 4), (true, b"abcde".to_vec()));
        assert_eq!(gather(&[b"a", b"b"], 9, 4), (true, b"ab".to_vec()));
        assert_eq!(gather(&[b"abcde", b"f"], 0, 4), (true, b"abcdef".to_vec()));
    }

    #[test]
    fn what_is_in_the_file_takes_no_memory() {
        let mut spool = Spool::default();
        spool.push(&[b'x'; 10 * PIECE], 0, 10 * PIECE).unwrap();
        assert!(spool.memory() >= 10 * PIECE);
        spool.push(b"x", 0, 10 * PIECE).unwrap();
        assert_eq!(spool.stored(), 10 * PIECE as u64);
        assert!(spool.memory() <= PIECE);
    }

    #[test]
    fn pieces_of_every_size_stay_in_order() {
        let large = vec![b'x'; PIECE];
        let blocks: &[&[u8]] = &[b"a", &large, b"b", &large[1..], b"c", &large[..9], b"d"];
        assert_eq!(gather(blocks, 0, 16), (true, blocks.concat()));
    }
}
