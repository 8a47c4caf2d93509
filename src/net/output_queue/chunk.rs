//! A part of a response, in memory or in a file.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

use crate::net::segment::Range;

/// A part of a response.
#[derive(Debug)]
pub enum Chunk {
    /// Small parts, copied together: heads, chunk sizes, short blocks.
    Gathered(Vec<u8>),
    /// A large block, which is not copied: its owner keeps it until it is sent.
    Shared(Bytes),
    /// Part of a file, which the kernel sends by itself.
    File {
        /// The file; its own offset is neither used nor moved. Several parts may share it.
        file: Arc<File>,
        /// Offset of the next byte to send.
        offset: u64,
        /// Bytes that are left to send.
        left: u64,
    },
    /// Blocks that were moved to a temporary file, because the client reads slowly.
    Spooled(Range),
}

impl Chunk {
    /// True unless it is part of a file.
    pub(super) fn is_in_memory(&self) -> bool {
        matches!(self, Chunk::Gathered(_) | Chunk::Shared(_))
    }

    /// The bytes in memory; none of a file.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Gathered(bytes) => bytes,
            Chunk::Shared(bytes) => bytes,
            Chunk::File { .. } | Chunk::Spooled(_) => &[],
        }
    }
}
