//! Finds the parts of files that a send would wait for.

use std::fs::File;
use std::sync::Arc;

use crate::static_files::is_resident;

/// A part of a file.
#[derive(Debug, Clone)]
pub(in crate::net) struct FilePart {
    pub(in crate::net) file: Arc<File>,
    /// The offset of its first byte.
    pub(in crate::net) offset: u64,
    /// How many bytes.
    pub(in crate::net) length: u64,
}

/// The first of these parts (file, offset, length) that is not in memory, within `budget` bytes of
/// all.
pub(super) fn first_cold<'a>(
    parts: impl Iterator<Item = (&'a Arc<File>, u64, u64)>,
    mut budget: u64,
) -> Option<FilePart> {
    for (file, offset, left) in parts {
        let length = left.min(budget);
        budget -= length;
        if !is_resident(file, offset, length) {
            return Some(FilePart { file: file.clone(), offset, length });
        }
    }
    None
}
