//! Buffers the content of a request before a worker thread runs it: in memory while it is small,
//! beyond that in an unlinked temporary file. So a slow upload holds no thread, and a large one no
//! memory.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;

use super::tuning::{BODY_SLACK, MIN_ADOPTED, MIN_BODY_BUFFER, SMALL_SPOOL_BLOCK, SPOOL_BLOCK};

/// The complete content of a request.
#[derive(Debug, Default)]
pub enum Body {
    /// The request has no content.
    #[default]
    Empty,
    /// All of it in memory: the bytes from this offset on. Its head may be before them.
    Memory(Vec<u8>, usize),
    /// All of it in an unlinked file, with the file's length in bytes.
    File(File, u64),
}

/// The content of a request, while it arrives and until it is taken.
#[derive(Debug, Default)]
pub(super) struct Spool {
    /// The bytes that are not in the file; all of them while there is no file.
    memory: Vec<u8>,
    /// Where in `memory` they begin.
    start: usize,
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
            None if expected.max((self.memory.len() - self.start + block.len()) as u64)
                <= memory_limit as u64 =>
            {
                self.reserve(block.len(), expected as usize);
            }
            None => {
                self.file = Some((tempfile::tempfile()?, 0));
                self.memory.drain(..std::mem::take(&mut self.start));
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

    /// Makes space for `count` bytes more. Beyond these, content of an `expected` length gets as
    /// much memory as its client has filled: a client that sends little holds little.
    fn reserve(&mut self, count: usize, expected: usize) {
        let arrived = self.memory.len() - self.start + count;
        if expected == 0 || self.start + arrived <= self.memory.capacity() {
            return;
        }
        let size = if arrived >= expected {
            arrived
        } else {
            (2 * arrived).max(MIN_BODY_BUFFER).min(expected + BODY_SLACK)
        };
        self.memory.reserve_exact(self.start + size - self.memory.len());
    }

    /// True if the content takes over `buffer`, in which its first bytes are at `content`: they
    /// fill a good part of the buffer, and all of the content fits into it, as far as its length is
    /// known: `expected` is 0 for chunked content.
    pub(super) fn adopts(
        &self,
        buffer: &Vec<u8>,
        content: &Range<usize>,
        expected: u64,
        memory_limit: usize,
    ) -> bool {
        self.is_new()
            && content.len() >= MIN_ADOPTED
            && expected.max(content.len() as u64)
                <= memory_limit.min(buffer.capacity() - content.start) as u64
    }

    /// Takes over a buffer that ends with the first bytes of the content.
    pub(super) fn adopt(&mut self, buffer: Vec<u8>, start: usize) {
        self.memory = buffer;
        self.start = start;
    }

    /// Makes space for the rest of the content in memory; false if it has none. Memory is allocated
    /// for it once half of its `expected` bytes have arrived: a client holds at most twice the
    /// memory that it has filled.
    pub(super) fn reserve_rest(&mut self, expected: u64, memory_limit: usize) -> bool {
        if self.file.is_some() || expected > memory_limit as u64 {
            return false;
        }
        let arrived = self.memory.len() - self.start;
        let missing = expected as usize - arrived;
        if self.memory.capacity() - self.memory.len() >= missing {
            return true;
        }
        let has_half = arrived >= missing;
        if has_half {
            self.memory.reserve_exact(missing + BODY_SLACK);
        }
        has_half
    }

    /// The bytes in memory, to append to.
    pub(super) fn memory_mut(&mut self) -> &mut Vec<u8> {
        &mut self.memory
    }

    /// The last `count` bytes in memory.
    pub(super) fn last(&self, count: usize) -> &[u8] {
        &self.memory[self.memory.len() - count..]
    }

    /// Takes the last `count` bytes out of memory.
    pub(super) fn split_off(&mut self, count: usize) -> Vec<u8> {
        self.memory.split_off(self.memory.len() - count)
    }

    /// The content is complete: moves what is left of it to the file, if it has one.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Some((file, length)) = &mut self.file {
            append_to_file(&mut self.memory, file, length)?;
            self.memory = Vec::new();
        }
        Ok(())
    }

    /// The content, if all of it is in memory.
    pub(super) fn in_memory(&self) -> Option<&[u8]> {
        self.file.is_none().then(|| &self.memory[self.start..])
    }

    /// Takes the complete content out.
    pub(super) fn take(&mut self) -> Body {
        let Spool { memory, start, file } = std::mem::take(self);
        match file {
            None if memory.is_empty() => Body::Empty,
            None => Body::Memory(memory, start),
            Some((file, length)) => Body::File(file, length),
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
    use crate::net::tuning::READ_BUFFER;
    use std::io::{Read, Seek};

    fn gather(blocks: &[&[u8]], expected: u64, limit: usize) -> (bool, Vec<u8>) {
        let mut spool = Spool::default();
        for block in blocks {
            spool.push(block, expected, limit).unwrap();
        }
        spool.finish().unwrap();
        match spool.take() {
            Body::Empty => (false, Vec::new()),
            Body::Memory(bytes, start) => (false, bytes[start..].to_vec()),
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
    fn memory_of_content_of_known_length_follows_what_has_arrived() {
        let mut spool = Spool::default();
        let (length, limit) = (200_000, 256 * 1024);
        spool.push(b"x", length, limit).unwrap();
        assert_eq!(spool.memory(), MIN_BODY_BUFFER);
        assert!(!spool.reserve_rest(length, limit), "little has arrived");
        for count in [9_999, 80_000, 9_000] {
            spool.push(&vec![b'x'; count], length, limit).unwrap();
            assert!(spool.memory() <= 2 * spool.memory.len(), "after {count}");
        }
        assert!(!spool.reserve_rest(length, limit), "less than half has arrived");
        spool.push(&[b'x'; 1000], length, limit).unwrap();
        assert!(spool.reserve_rest(length, limit));
        assert!(!spool.reserve_rest(length, 1000), "it belongs into a file");
        assert_eq!(spool.memory(), length as usize + BODY_SLACK);
    }

    #[test]
    fn content_that_fills_half_of_the_buffer_takes_it_over() {
        let mut buffer = Vec::with_capacity(READ_BUFFER);
        buffer.resize(100 + MIN_ADOPTED, b'x');
        let content = 100..100 + MIN_ADOPTED;
        let rest = (READ_BUFFER - 100) as u64;
        let spool = Spool::default();
        assert!(spool.adopts(&buffer, &content, rest, READ_BUFFER));
        for (content, expected, limit) in [
            (100..99 + MIN_ADOPTED, rest, READ_BUFFER),
            (content.clone(), rest + 1, READ_BUFFER),
            (content.clone(), rest, rest as usize - 1),
            // Chunked content, whose length is not known.
            (content.clone(), 0, MIN_ADOPTED - 1),
        ] {
            assert!(!spool.adopts(&buffer, &content, expected, limit), "{content:?} {expected}");
        }
        let mut used = Spool::default();
        used.push(b"x", 0, 1).unwrap();
        assert!(!used.adopts(&buffer, &content, rest, READ_BUFFER));
    }

    #[test]
    fn content_in_an_adopted_buffer_moves_to_a_file_without_the_head() {
        let mut spool = Spool::default();
        spool.adopt(b"headbody".to_vec(), 4);
        spool.push(b"!", 5, 4).unwrap();
        spool.finish().unwrap();
        let Body::File(mut file, 5) = spool.take() else { panic!("not a file") };
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "body!");
    }

    #[test]
    fn blocks_of_every_size_stay_in_order() {
        let large = vec![b'x'; SPOOL_BLOCK];
        let blocks: &[&[u8]] = &[b"a", &large, b"b", &large[1..], b"c", &large[..9], b"d"];
        assert_eq!(gather(blocks, 0, 16), (true, blocks.concat()));
    }
}
