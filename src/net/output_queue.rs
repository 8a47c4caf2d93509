//! The unsent bytes of responses, in order. Small parts are copied together, large blocks and files
//! are not copied. Sending takes as few system calls as possible and never blocks.
//!
//! A queue has one owner. Locking, and waiting for a slow client, belong to the
//! [write half](super::write_half).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

use super::transport::{Then, Transport};
use super::tuning::{GATHER_BUFFER, MAX_SLICES};

/// A part of a response.
#[derive(Debug)]
pub enum Chunk {
    /// Small parts, copied together: heads, chunk sizes, short blocks.
    Gathered(Vec<u8>),
    /// A large block, which is not copied: its owner keeps it until it is sent.
    Shared(Bytes),
    /// Part of a file, which the kernel sends by itself.
    File {
        /// The file; its own offset is neither used nor moved.
        file: File,
        /// Offset of the next byte to send.
        offset: u64,
        /// Bytes that are left to send.
        left: u64,
    },
}

/// Unsent parts of responses, in their order.
#[derive(Debug, Default)]
pub struct OutputQueue {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that were sent, if it is [`Chunk::Gathered`].
    sent: usize,
    /// Unsent bytes held in memory; files count nothing.
    size: usize,
}

/// The result of a flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// The kernel has taken everything.
    Done,
    /// The socket is full; a readiness event follows once it has room.
    Blocked,
    /// The budget of this turn is used up. The socket may have room, so no event follows.
    More,
}

impl OutputQueue {
    /// True if there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Unsent bytes held in memory.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Has `write` append a small part to the last buffer, or to a new one.
    pub fn gather<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        if let Some(Chunk::Gathered(buffer)) = self.chunks.back_mut() {
            let before = buffer.len();
            let result = write(buffer);
            self.size += buffer.len() - before;
            return result;
        }
        let mut buffer = Vec::new();
        let result = write(&mut buffer);
        if !buffer.is_empty() {
            self.push(Chunk::Gathered(buffer));
        }
        result
    }

    /// Appends a large block or a file.
    pub fn push(&mut self, chunk: Chunk) {
        self.size += match &chunk {
            Chunk::Gathered(bytes) => bytes.len(),
            Chunk::Shared(bytes) => bytes.len(),
            Chunk::File { .. } => 0,
        };
        self.chunks.push_back(chunk);
    }

    /// Moves everything from another queue to the end of this one.
    pub(super) fn append(&mut self, other: &mut OutputQueue) {
        if other.sent > 0
            && let Some(Chunk::Gathered(buffer)) = other.chunks.front_mut()
        {
            buffer.drain(..other.sent);
            other.sent = 0;
        }
        self.size += other.size;
        other.size = 0;
        if let (Some(Chunk::Gathered(last)), Some(Chunk::Gathered(first))) =
            (self.chunks.back_mut(), other.chunks.front())
            && last.len() + first.len() <= GATHER_BUFFER
        {
            last.extend_from_slice(first);
            other.chunks.pop_front();
        }
        self.chunks.append(&mut other.chunks);
    }

    /// Sends until the queue is empty, the socket is full, or `budget` bytes are sent; returns how
    /// many were. `then` is what follows the last byte.
    pub(super) fn send(
        &mut self,
        transport: &Transport,
        budget: u64,
        then: Then,
    ) -> io::Result<(Flush, u64)> {
        let mut left = budget;
        loop {
            let sent = match self.chunks.front() {
                None => return Ok((Flush::Done, budget - left)),
                Some(_) if left == 0 => return Ok((Flush::More, budget)),
                Some(Chunk::File { .. }) => self.send_file(transport, left),
                Some(_) => self.send_bytes(transport, then),
            };
            match sent {
                Ok(sent) => left = left.saturating_sub(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok((Flush::Blocked, budget - left));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends from the chunks ahead of the next file by one system call.
    fn send_bytes(&mut self, transport: &Transport, then: Then) -> io::Result<u64> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (chunk, slot) in self.chunks.iter().zip(&mut slices) {
            let bytes = match chunk {
                Chunk::Gathered(bytes) if count == 0 => &bytes[self.sent..],
                Chunk::Gathered(bytes) => bytes,
                Chunk::Shared(bytes) => bytes,
                Chunk::File { .. } => break,
            };
            *slot = IoSlice::new(bytes);
            count += 1;
        }
        // The end follows only if these slices are the whole queue.
        let then = if count == self.chunks.len() { then } else { Then::Open };
        let sent = transport.send(&slices[..count], then)?;
        self.consume(sent);
        Ok(sent as u64)
    }

    /// Drops `sent` bytes from the front.
    fn consume(&mut self, mut sent: usize) {
        self.size -= sent;
        loop {
            let left = match self.chunks.front_mut() {
                Some(Chunk::Gathered(bytes)) => bytes.len() - self.sent,
                Some(Chunk::Shared(bytes)) => bytes.len(),
                Some(Chunk::File { .. }) | None => return,
            };
            if sent < left {
                match self.chunks.front_mut() {
                    Some(Chunk::Shared(bytes)) => bytes.advance(sent),
                    _ => self.sent += sent,
                }
                return;
            }
            sent -= left;
            self.sent = 0;
            self.chunks.pop_front();
        }
    }

    /// Has the kernel send from the file in front.
    #[cfg(target_os = "linux")]
    fn send_file(&mut self, transport: &Transport, budget: u64) -> io::Result<u64> {
        let Some(Chunk::File { file, offset, left }) = self.chunks.front_mut() else {
            return Ok(0);
        };
        let want = usize::try_from((*left).min(budget)).unwrap_or(usize::MAX);
        let sent = transport.send_file(file, offset, want)? as u64;
        if sent == 0 && *left > 0 {
            return Err(shrunk());
        }
        *left -= sent;
        if *left == 0 {
            self.chunks.pop_front();
        }
        Ok(sent)
    }

    /// Elsewhere the file is read a block at a time and sent like other bytes.
    #[cfg(not(target_os = "linux"))]
    fn send_file(&mut self, _: &Transport, budget: u64) -> io::Result<u64> {
        use std::os::unix::fs::FileExt;
        let Some(Chunk::File { file, offset, left }) = self.chunks.front_mut() else {
            return Ok(0);
        };
        let mut block = vec![0; (*left).min(budget).min(GATHER_BUFFER as u64) as usize];
        let read = file.read_at(&mut block, *offset)?;
        if read == 0 && *left > 0 {
            return Err(shrunk());
        }
        block.truncate(read);
        *offset += read as u64;
        *left -= read as u64;
        if *left == 0 {
            self.chunks.pop_front();
        }
        self.size += block.len();
        self.chunks.push_front(Chunk::Shared(block.into()));
        Ok(0)
    }
}

/// The file is shorter than the Content-Length that the head has declared.
fn shrunk() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file shrank while it was sent")
}
