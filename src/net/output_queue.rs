//! The unsent bytes of responses, in order. Small parts are copied together, large blocks and files
//! are not copied. Sending takes as few system calls as possible and never blocks.
//!
//! A queue has one owner. Locking, and waiting for a slow client, belong to the
//! [write half](super::write_half).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

use super::segment::Range;
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
    /// Blocks that were moved to a temporary file, because the client reads slowly.
    Spooled(Range),
}

/// Unsent parts of responses, in their order.
#[derive(Debug, Default)]
pub struct OutputQueue {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that were sent, if it is [`Chunk::Gathered`].
    sent: usize,
    /// Unsent bytes held in memory; files count nothing.
    size: usize,
    /// Unsent bytes of [`Chunk::Spooled`].
    spooled: u64,
    /// Chunks that were sent or discarded, and are not freed yet: see [`OutputQueue::take_spent`].
    spent: Vec<Chunk>,
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

    /// Unsent bytes that were moved to temporary files.
    pub(super) fn spooled(&self) -> u64 {
        self.spooled
    }

    /// True if part of it is in a file.
    pub(super) fn has_file(&self) -> bool {
        self.chunks.iter().any(|chunk| !chunk.is_in_memory())
    }

    /// True if chunks wait to be freed.
    pub(super) fn has_spent(&self) -> bool {
        !self.spent.is_empty()
    }

    /// Takes the chunks that were sent or discarded, for an owner that may not free them under its
    /// lock.
    pub(super) fn take_spent(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.spent)
    }

    /// Takes over what another queue has to free.
    pub(super) fn adopt_spent(&mut self, other: &mut OutputQueue) {
        self.spent.append(&mut other.spent);
    }

    /// Drops everything from another queue, but frees it only with what this one has sent.
    pub(super) fn discard(&mut self, other: &mut OutputQueue) {
        let OutputQueue { chunks, spent, .. } = std::mem::take(other);
        self.spent.extend(spent);
        self.spent.extend(chunks);
    }

    /// The same for one chunk.
    pub(super) fn discard_chunk(&mut self, chunk: Chunk) {
        self.spent.push(chunk);
    }

    /// Drops the first chunk.
    fn drop_first(&mut self) {
        match self.chunks.pop_front() {
            None | Some(Chunk::Gathered(_)) => {}
            Some(chunk) => self.spent.push(chunk),
        }
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
        match &chunk {
            Chunk::Gathered(_) | Chunk::Shared(_) => self.size += chunk.bytes().len(),
            Chunk::Spooled(range) => {
                self.spooled += range.left;
                if let Some(Chunk::Spooled(last)) = self.chunks.back_mut()
                    && last.try_extend(range)
                {
                    return;
                }
            }
            Chunk::File { .. } => {}
        }
        self.chunks.push_back(chunk);
    }

    /// Bytes in memory behind the last file: [`OutputQueue::take_tail`] would take them.
    pub(super) fn tail_size(&self) -> usize {
        let tail = self.chunks.iter().rev().take_while(|chunk| chunk.is_in_memory());
        let size = tail.map(|chunk| chunk.bytes().len()).sum::<usize>();
        // Without a file, the first chunk is part of the tail. Some of it may be sent.
        size.min(self.size)
    }

    /// Moves the chunks in memory behind the last file out, so that a file can take their place.
    pub(super) fn take_tail(&mut self) -> OutputQueue {
        let is_file = |chunk: &Chunk| !chunk.is_in_memory();
        let begin = self.chunks.iter().rposition(is_file).map_or(0, |last| last + 1);
        let mut tail = OutputQueue { chunks: self.chunks.split_off(begin), ..Default::default() };
        if begin == 0 {
            tail.sent = std::mem::take(&mut self.sent);
            tail.drop_sent();
        }
        tail.size = tail.slices().map(|slice| slice.len()).sum();
        self.size -= tail.size;
        tail
    }

    /// The bytes in memory, up to the first file. The first chunk must not be partly sent.
    pub(super) fn slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        let memory = self.chunks.iter().take_while(|chunk| chunk.is_in_memory());
        memory.map(|chunk| IoSlice::new(chunk.bytes()))
    }

    /// Drops the bytes of the first chunk that were sent.
    fn drop_sent(&mut self) {
        if self.sent > 0
            && let Some(Chunk::Gathered(buffer)) = self.chunks.front_mut()
        {
            buffer.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Moves everything from another queue to the end of this one.
    pub(super) fn append(&mut self, other: &mut OutputQueue) {
        other.drop_sent();
        self.size += std::mem::take(&mut other.size);
        self.spooled += std::mem::take(&mut other.spooled);
        if let (Some(Chunk::Gathered(last)), Some(Chunk::Gathered(first))) =
            (self.chunks.back_mut(), other.chunks.front())
            && last.len() + first.len() <= GATHER_BUFFER
        {
            last.extend_from_slice(first);
            other.chunks.pop_front();
        }
        self.chunks.append(&mut other.chunks);
        self.spent.append(&mut other.spent);
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
                Some(Chunk::File { .. } | Chunk::Spooled(_)) => self.send_file(transport, left),
                Some(Chunk::Gathered(_) | Chunk::Shared(_)) => self.send_bytes(transport, then),
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
                Chunk::File { .. } | Chunk::Spooled(_) => break,
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
                Some(Chunk::File { .. } | Chunk::Spooled(_)) | None => return,
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
            self.drop_first();
        }
    }

    /// Has the kernel send from the file in front.
    #[cfg(target_os = "linux")]
    fn send_file(&mut self, transport: &Transport, budget: u64) -> io::Result<u64> {
        let Some((file, mut offset, left)) = self.front_file() else { return Ok(0) };
        let want = usize::try_from(left.min(budget)).unwrap_or(usize::MAX);
        let sent = transport.send_file(file, &mut offset, want)? as u64;
        self.consume_file(sent)?;
        Ok(sent)
    }

    /// Elsewhere the file is read a block at a time and sent like other bytes.
    #[cfg(not(target_os = "linux"))]
    fn send_file(&mut self, _: &Transport, budget: u64) -> io::Result<u64> {
        use std::os::unix::fs::FileExt;
        let Some((file, offset, left)) = self.front_file() else { return Ok(0) };
        let mut block = vec![0; left.min(budget).min(GATHER_BUFFER as u64) as usize];
        let read = file.read_at(&mut block, offset)?;
        block.truncate(read);
        self.consume_file(read as u64)?;
        self.size += block.len();
        self.chunks.push_front(Chunk::Shared(block.into()));
        Ok(0)
    }

    /// The file in front, the offset of its next byte, and the bytes that are left to send.
    fn front_file(&self) -> Option<(&File, u64, u64)> {
        match self.chunks.front()? {
            Chunk::File { file, offset, left } => Some((file, *offset, *left)),
            Chunk::Spooled(range) => Some((range.file(), range.offset, range.left)),
            Chunk::Gathered(_) | Chunk::Shared(_) => None,
        }
    }

    /// Drops `sent` bytes of the file in front. Fails if there are none, but should be.
    fn consume_file(&mut self, sent: u64) -> io::Result<()> {
        let (offset, left) = match self.chunks.front_mut() {
            Some(Chunk::File { offset, left, .. }) => (offset, left),
            Some(Chunk::Spooled(range)) => {
                self.spooled -= sent;
                (&mut range.offset, &mut range.left)
            }
            Some(Chunk::Gathered(_) | Chunk::Shared(_)) | None => return Ok(()),
        };
        if sent == 0 && *left > 0 {
            return Err(shrunk());
        }
        *offset += sent;
        *left -= sent;
        if *left == 0 {
            self.drop_first();
        }
        Ok(())
    }
}

impl Chunk {
    fn is_in_memory(&self) -> bool {
        matches!(self, Chunk::Gathered(_) | Chunk::Shared(_))
    }

    /// The bytes in memory; none of a file.
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Gathered(bytes) => bytes,
            Chunk::Shared(bytes) => bytes,
            Chunk::File { .. } | Chunk::Spooled(_) => &[],
        }
    }
}

/// The file is shorter than the Content-Length that the head has declared.
fn shrunk() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file shrank while it was sent")
}
