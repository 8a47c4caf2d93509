//! The unsent bytes of responses, in order. Small parts are copied together, large blocks and files
//! are not copied. Sending takes as few system calls as possible and never blocks.
//!
//! A queue has one owner. Locking, and waiting for a slow client, belong to the
//! [write half](super::write_half).

mod chunk;
mod file_part;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};

use bytes::Buf;

pub use chunk::Chunk;
pub(super) use file_part::FilePart;
use file_part::first_cold;

use super::transport::{Then, Transport};
use super::tuning::{GATHER_BUFFER, MAX_RESPONSE_BUFFER_BYTES, MAX_SLICES};

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
    /// An empty buffer for the next [`Chunk::Gathered`], of [`MAX_RESPONSE_BUFFER_BYTES`] at most.
    spare: Vec<u8>,
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
    /// The next bytes of a file are not in memory, so that sending them would wait for a disk. Only
    /// complete responses, which the poller sends, are checked.
    Cold,
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

    /// A part of a file that the next [`OutputQueue::send`] with this budget sends, and that is not
    /// in memory.
    pub(super) fn cold_part(&self, budget: u64) -> Option<FilePart> {
        if self.may_have_file() { self.first_cold_part(budget) } else { None }
    }

    /// True if there is one.
    #[inline]
    pub(super) fn has_cold_part(&self, budget: u64) -> bool {
        self.may_have_file() && self.first_cold_part(budget).is_some()
    }

    /// False if nothing is in a file. Most responses have one chunk, which is in memory.
    #[inline]
    fn may_have_file(&self) -> bool {
        self.chunks.len() > 1 || self.chunks.front().is_some_and(|chunk| !chunk.is_in_memory())
    }

    fn first_cold_part(&self, budget: u64) -> Option<FilePart> {
        // One send takes hardly more chunks.
        let parts = self.chunks.iter().take(MAX_SLICES).filter_map(|chunk| match chunk {
            Chunk::File { file, offset, left } => Some((file, *offset, *left)),
            _ => None,
        });
        first_cold(parts, budget)
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
        if other.has_spent() {
            self.spent.append(&mut other.spent);
        }
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

    /// True if the queue, which is empty, has memory for a response of any client, and not too
    /// much: no limit counts it.
    pub(super) fn is_reusable(&self) -> bool {
        debug_assert!(self.is_empty(), "it may hold the response of another client");
        self.spare.capacity() > 0
            && self.chunks.capacity() <= MAX_SLICES
            && self.spent.capacity() <= MAX_SLICES
    }

    /// Takes an empty buffer out, if there is one.
    pub(super) fn take_spare(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// Drops the first chunk.
    fn drop_first(&mut self) {
        match self.chunks.pop_front() {
            None => {}
            // No limit counts the spare buffer.
            Some(Chunk::Gathered(mut buffer)) if buffer.capacity() <= MAX_RESPONSE_BUFFER_BYTES => {
                buffer.clear();
                self.spare = buffer;
            }
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
        let mut buffer = std::mem::take(&mut self.spare);
        let result = write(&mut buffer);
        if buffer.is_empty() {
            self.spare = buffer;
        } else {
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
        if self.chunks.capacity() == 0 {
            // Most responses have one chunk.
            self.chunks.reserve_exact(1);
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
            // Its memory takes the next block.
            other.drop_first();
        }
        if !other.chunks.is_empty() {
            self.chunks.append(&mut other.chunks);
        }
        self.adopt_spent(other);
    }

    /// Sends until the queue is empty, the socket is full, or about `budget` bytes are sent;
    /// returns how many the socket has accepted. `then` is what follows the last byte.
    pub(super) fn send(
        &mut self,
        transport: &Transport,
        budget: u64,
        then: Then,
    ) -> io::Result<(Flush, u64)> {
        let mut total = 0;
        loop {
            let left = budget.saturating_sub(total);
            let sent = match self.chunks.front() {
                None => {
                    let flush = if transport.flush()? { Flush::Done } else { Flush::Blocked };
                    return Ok((flush, transport.accepted(total)));
                }
                Some(_) if left == 0 => return Ok((Flush::More, transport.accepted(total))),
                Some(Chunk::File { .. } | Chunk::Spooled(_)) => self.send_file(transport, left),
                Some(Chunk::Gathered(_) | Chunk::Shared(_)) => self.send_bytes(transport, then),
            };
            match sent {
                Ok(sent) => total += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok((Flush::Blocked, transport.accepted(total)));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends from the chunks ahead of the next file by one system call.
    fn send_bytes(&mut self, transport: &Transport, then: Then) -> io::Result<u64> {
        let sent = match self.chunks.front() {
            Some(Chunk::Gathered(bytes)) if self.chunks.len() == 1 => {
                transport.send(&[IoSlice::new(&bytes[self.sent..])], then)?
            }
            _ => self.send_slices(transport, then)?,
        };
        self.consume(sent);
        Ok(sent as u64)
    }

    fn send_slices(&self, transport: &Transport, then: Then) -> io::Result<usize> {
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
        // A packet of its own for the head of a file would wake the client twice.
        let then = if count == self.chunks.len() { then } else { Then::More };
        transport.send(&slices[..count], then)
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

    /// Sends from the file in front.
    #[cfg(target_os = "linux")]
    fn send_file(&mut self, transport: &Transport, budget: u64) -> io::Result<u64> {
        let Some((file, mut offset, left)) = self.front_file() else { return Ok(0) };
        // A small rest, such as the length of the head, is not worth a turn of its own.
        let is_last = left <= budget.saturating_add(GATHER_BUFFER as u64);
        let want = usize::try_from(if is_last { left } else { budget }).unwrap_or(usize::MAX);
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

/// The file is shorter than the Content-Length that the head has declared.
fn shrunk() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file shrank while it was sent")
}
