//! Bytes that are owed to a client, in the order in which they are to be sent: small parts gathered, large
//! blocks and files as they are. Sending them takes as few system calls as it can, and never blocks.
//!
//! A queue has one owner. What two threads share, and who may wait, is the [write_half](super::write_half)'s matter.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use socket2::Socket;

#[cfg(target_os = "linux")]
use crate::sys::sigpipe;

/// Small parts are gathered into buffers up to this size.
const GATHERED: usize = 64 * 1024;
/// Blocks of one `sendmsg`.
const SLICES: usize = 16;

/// A part of a response.
#[derive(Debug)]
pub enum Chunk {
    /// Small parts, gathered: heads, chunk sizes, short blocks.
    Gathered(Vec<u8>),
    /// A large block, which is not copied: it stays with its owner until it is sent.
    Shared(Bytes),
    /// Part of a file, which the kernel sends by itself.
    File {
        /// The file; its offset is neither used nor moved.
        file: File,
        /// Where the next byte is.
        offset: u64,
        /// How many bytes are left.
        left: u64,
    },
}

/// Parts of responses in the order they are to be sent.
#[derive(Debug, Default)]
pub struct OutputQueue {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are sent already, if it is gathered.
    sent: usize,
    /// Bytes held in memory.
    size: usize,
}

/// How far a flush came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Everything is with the kernel.
    Done,
    /// The socket is full; readiness will tell when to go on.
    Blocked,
    /// There is more to send and the socket would take it, but others want their turn.
    More,
}

/// What follows the bytes of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// Whatever comes.
    Open,
    /// The end of the connection, at once.
    End,
}

impl OutputQueue {
    /// Nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Bytes held in memory.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The buffer that small parts are appended to.
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

    /// Appends all of another queue, which is empty then.
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
            && last.len() + first.len() <= GATHERED
        {
            last.extend_from_slice(first);
            other.chunks.pop_front();
        }
        self.chunks.append(&mut other.chunks);
    }

    /// Sends until all is sent, the socket is full, or `budget` bytes are gone. Tells how many went.
    /// `then` is what the kernel is told of what follows the last byte.
    pub(super) fn send(
        &mut self,
        socket: &Socket,
        budget: u64,
        then: Then,
    ) -> io::Result<(Flush, u64)> {
        let mut left = budget;
        loop {
            let sent = match self.chunks.front() {
                None => return Ok((Flush::Done, budget - left)),
                Some(_) if left == 0 => return Ok((Flush::More, budget)),
                Some(Chunk::File { .. }) => self.send_file(socket, left),
                Some(_) => self.send_bytes(socket, then),
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

    /// Sends from all the chunks ahead of the next file with one system call.
    fn send_bytes(&mut self, socket: &Socket, then: Then) -> io::Result<u64> {
        let mut slices = [IoSlice::new(&[]); SLICES];
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
        let flags = match then {
            Then::End if count == self.chunks.len() => libc::MSG_NOSIGNAL | FOLLOWED,
            _ => libc::MSG_NOSIGNAL,
        };
        let sent = match &slices[..count] {
            [one] => socket.send_with_flags(one, flags)?,
            many => socket.send_vectored_with_flags(many, flags)?,
        };
        self.consume(sent);
        Ok(sent as u64)
    }

    /// Drops so many bytes from the front: they are sent.
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
    fn send_file(&mut self, socket: &Socket, budget: u64) -> io::Result<u64> {
        let Some(Chunk::File { file, offset, left }) = self.chunks.front_mut() else {
            return Ok(0);
        };
        let want = usize::try_from((*left).min(budget)).unwrap_or(usize::MAX);
        // Unlike `sendmsg` it has no flag against the signal.
        let sent = sigpipe::suppressed(|| {
            Ok(rustix::fs::sendfile(socket, &*file, Some(offset), want)? as u64)
        })?;
        if sent == 0 && *left > 0 {
            return Err(shrunk());
        }
        *left -= sent;
        if *left == 0 {
            self.chunks.pop_front();
        }
        Ok(sent)
    }

    /// Elsewhere the file is read a block at a time and sent like any other bytes.
    #[cfg(not(target_os = "linux"))]
    fn send_file(&mut self, _socket: &Socket, budget: u64) -> io::Result<u64> {
        use std::os::unix::fs::FileExt;
        let Some(Chunk::File { file, offset, left }) = self.chunks.front_mut() else {
            return Ok(0);
        };
        let mut block = vec![0; (*left).min(budget).min(64 * 1024) as usize];
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

/// The flag for bytes that others follow at once, so that the kernel need not make a packet of them.
#[cfg(any(target_os = "linux", target_os = "android"))]
const FOLLOWED: libc::c_int = libc::MSG_MORE;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const FOLLOWED: libc::c_int = 0;

/// Fewer bytes than the head has promised.
fn shrunk() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file shrank while it was sent")
}
