//! The buffer that the poller reads into, one for all connections of a worker.
//!
//! A read appends to the spare capacity, so the buffer is never zeroed. A request's body may take
//! the buffer over: see [`Spool::adopt`](super::body). The next read then gets a new one.

use super::tuning::READ_BUFFER;

/// The poller's read buffer. It is allocated by the first read.
#[derive(Debug, Default)]
pub(super) struct ReadBuffer(Vec<u8>);

impl ReadBuffer {
    /// The buffer without bytes, with the capacity of a full read.
    #[inline]
    pub(super) fn empty(&mut self) -> &mut Vec<u8> {
        self.0.clear();
        if self.0.capacity() < READ_BUFFER {
            self.0.reserve_exact(READ_BUFFER);
        }
        &mut self.0
    }

    /// The buffer with the bytes of the last read.
    #[inline]
    pub(super) fn filled(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}
