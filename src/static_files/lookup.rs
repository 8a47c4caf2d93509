//! Finds the file that a name stands for: the file itself with its precompressed variants, or the
//! index of a directory.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::coding::Coding;
use super::content::{MAX_IN_MEMORY, load};
use super::root::{Lookup, Root, is_missing};
use super::target::Name;

/// The result of a lookup.
#[derive(Debug)]
pub enum Found {
    /// A regular file.
    File(Box<FoundFile>),
    /// A directory without the final slash, which has an index.
    Directory,
    /// Nothing that is served.
    Missing,
}

impl Found {
    /// Waits until the content of a small file and of its variants is in memory.
    pub fn load(&self) {
        let Found::File(found) = self else { return };
        let files = found.variants.iter().flatten().chain([&found.file]);
        for file in files.filter(|file| file.size <= MAX_IN_MEMORY) {
            load(&file.file, 0, file.size, 0);
        }
    }
}

/// A file that was found.
#[derive(Debug)]
pub struct FoundFile {
    /// Its name, for the media type.
    pub(super) name: Vec<u8>,
    pub(super) file: OpenFile,
    /// The variants, in the order of [`Coding::ALL`].
    pub(super) variants: [Option<OpenFile>; 3],
}

/// An open regular file, and what it was when it was opened.
#[derive(Debug)]
pub struct OpenFile {
    pub(super) file: File,
    /// Its size in bytes.
    pub(super) size: u64,
    /// When its content was last changed, in seconds and nanoseconds since the epoch.
    pub(super) modified: (i64, i64),
}

impl OpenFile {
    /// `None` unless it is a regular file.
    pub(super) fn new(file: File) -> io::Result<Option<OpenFile>> {
        let meta = file.metadata()?;
        let modified = (meta.mtime(), meta.mtime_nsec());
        Ok(meta.is_file().then(|| OpenFile { file, size: meta.len(), modified }))
    }
}

/// Looks up a name. `index` is the file that is served for a directory.
pub(super) fn find(
    root: &Root,
    name: &Name,
    index: Option<&str>,
    lookup: Lookup,
) -> io::Result<Found> {
    let open = |path: &[u8]| match root.open_file(path, lookup) {
        Ok(file) => Ok(Some(file)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    };
    let mut path = name.path.clone();
    if name.is_directory || path.is_empty() {
        let Some(index) = index else { return Ok(Found::Missing) };
        if !name.is_directory {
            // The mount's own directory.
            return Ok(Found::Directory);
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(index.as_bytes());
    }
    let Some(file) = open(&path)? else { return Ok(Found::Missing) };
    let is_directory = !name.is_directory && index.is_some() && file.metadata()?.is_dir();
    let Some(file) = OpenFile::new(file)? else {
        return Ok(if is_directory { Found::Directory } else { Found::Missing });
    };
    let mut variants = [None, None, None];
    let length = path.len();
    for (variant, coding) in variants.iter_mut().zip(Coding::ALL) {
        path.extend_from_slice(coding.extension().as_bytes());
        if let Some(file) = open(&path)? {
            *variant = OpenFile::new(file)?;
        }
        path.truncate(length);
    }
    Ok(Found::File(Box::new(FoundFile { name: path, file, variants })))
}
