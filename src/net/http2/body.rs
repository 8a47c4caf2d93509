//! A part of a response that the protocol has taken. It counts as held by the connection until its
//! last byte is written out, or its stream is reset.

use std::sync::Arc;

use bytes::Buf;

use super::shared::Shared;

/// A part of the content of a response.
#[derive(Debug)]
pub(super) struct Part {
    bytes: Vec<u8>,
    /// How many were written out.
    written: usize,
    /// What counts it; `None` if it is empty.
    counted_by: Option<Arc<Shared>>,
}

impl Part {
    /// The end of a stream.
    pub(super) fn empty() -> Part {
        Part { bytes: Vec::new(), written: 0, counted_by: None }
    }

    pub(super) fn new(bytes: Vec<u8>, shared: &Arc<Shared>) -> Part {
        shared.count_taken(bytes.len());
        Part { bytes, written: 0, counted_by: Some(shared.clone()) }
    }
}

impl Buf for Part {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.written
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "the protocol writes no more than there is");
        self.written += count;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(shared) = &self.counted_by {
            shared.count_written(self.bytes.len());
        }
    }
}
