//! Temporary files that hold unsent output of responses. A response has one file, or several if it
//! is large. The file has no name: the last range of it that is sent or dropped frees its space.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::memory_budget::MemoryBudget;

/// One unlinked temporary file.
#[derive(Debug)]
pub(super) struct Segment {
    /// The file. Its own offset is the end of what is stored, and moves with each write only.
    file: File,
    /// Bytes stored, and counted by the memory budget.
    stored: AtomicU64,
    /// The totals of the worker.
    memory_budget: Arc<MemoryBudget>,
}

/// A part of a segment that is to be sent.
#[derive(Debug)]
pub struct Range {
    segment: Arc<Segment>,
    /// Offset of the next byte to send.
    pub(super) offset: u64,
    /// Bytes that are left to send.
    pub(super) left: u64,
}

impl Segment {
    /// Creates the file where those of request bodies are. Fails as the file system does.
    pub(super) fn create(memory_budget: Arc<MemoryBudget>) -> io::Result<Segment> {
        let file = tempfile::tempfile()?;
        Ok(Segment { file, stored: AtomicU64::new(0), memory_budget })
    }

    /// As [`Segment::create`], with this file.
    #[cfg(test)]
    pub(super) fn with_file(file: File, memory_budget: Arc<MemoryBudget>) -> Segment {
        Segment { file, stored: AtomicU64::new(0), memory_budget }
    }

    /// Bytes stored, sent ones included.
    pub(super) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Appends `slices`, whose bytes the memory budget counts already. One thread at a time calls
    /// it: the one that makes the response. After a failure nothing may be appended any more.
    pub(super) fn append(self: &Arc<Self>, mut slices: &mut [IoSlice<'_>]) -> io::Result<Range> {
        let (offset, mut left) = (self.stored(), 0);
        while !slices.is_empty() {
            match (&self.file).write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    left += written as u64;
                    IoSlice::advance_slices(&mut slices, written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.stored.store(offset + left, Ordering::Relaxed);
        Ok(Range { segment: self.clone(), offset, left })
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.memory_budget.release_spool(self.stored());
    }
}

impl Range {
    pub(super) fn file(&self) -> &File {
        &self.segment.file
    }

    /// Extends this range by `next` if it follows in the same file.
    pub(super) fn try_extend(&mut self, next: &Range) -> bool {
        let follows =
            Arc::ptr_eq(&self.segment, &next.segment) && self.offset + self.left == next.offset;
        if follows {
            self.left += next.left;
        }
        follows
    }
}
