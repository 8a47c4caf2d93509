//! Follows the compressed heads of a client, to find requests whose `:path` is missing or has a
//! fragment. The library cuts a fragment off, and puts `/` in place of a missing path, so the head
//! that it gives does not show either. [RFC 9113 section 8.3.1, RFC 9112 section 3.2]
//!
//! Only names and marks of the entries of the dynamic table are kept. The library decodes the same
//! blocks, and ends the connection if one is invalid: what it rejects may be misread here. A block
//! that is found invalid here is invalid for the library, too.

use std::collections::VecDeque;

use super::block::{Block, Text};

/// Entries of the static table, and those that are named `:path`. [RFC 7541 appendix A]
const STATIC_ENTRIES: usize = 61;
const STATIC_PATHS: std::ops::RangeInclusive<usize> = 4..=5;
/// The lengths of the names of the static table, from its first entry on.
const STATIC_NAMES: [u8; STATIC_ENTRIES] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10,
    25, 17, 10, 4, 3, 16,
];
/// The size of the dynamic table unless the client lowers it. [RFC 9113 section 6.5.2]
const TABLE_BYTES: usize = 4096;
/// What each entry counts beside its name and its value. [RFC 7541 section 4.1]
const ENTRY_BYTES: usize = 32;

/// Flags of HEADERS and CONTINUATION. [RFC 9113 section 6.2]
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// Buffers that are larger are freed after each head.
const MAX_IDLE_BYTES: usize = 1024;

/// The heads of one connection.
#[derive(Debug)]
pub(super) struct Heads {
    table: Table,
    /// The frame that is being received.
    frame: Frame,
    /// What has arrived of its payload, if it comes in pieces.
    payload: Vec<u8>,
    /// The frames before it of the same head.
    block: Vec<u8>,
    /// The newest stream. A later head of it, or of an older one, is a trailer section.
    last_stream: u32,
    /// Streams whose request has no `:path`, or one with a fragment; not accepted yet. Bounded by
    /// what one call receives.
    invalid: Vec<u32>,
    /// A block cannot be decoded: the connection is over.
    is_undecodable: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    stream: u32,
    flags: u8,
    is_continuation: bool,
}

impl Heads {
    pub(super) fn new() -> Heads {
        Heads {
            table: Table { entries: VecDeque::new(), max_bytes: TABLE_BYTES },
            frame: Frame::default(),
            payload: Vec::new(),
            block: Vec::new(),
            last_stream: 0,
            invalid: Vec::new(),
            is_undecodable: false,
        }
    }

    /// A frame begins: HEADERS, or CONTINUATION.
    pub(super) fn begin_frame(&mut self, stream: u32, flags: u8, is_continuation: bool) {
        self.frame = Frame { stream, flags, is_continuation };
        self.payload.clear();
    }

    /// Takes a part of the payload of the frame; `is_last` if it is the rest.
    pub(super) fn receive(&mut self, part: &[u8], is_last: bool) {
        if !is_last {
            return self.payload.extend_from_slice(part);
        }
        if self.payload.is_empty() {
            return self.end_frame(part);
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.extend_from_slice(part);
        self.end_frame(&payload);
    }

    fn end_frame(&mut self, payload: &[u8]) {
        let Some(fragment) = self.frame.block_of(payload) else { return };
        if self.frame.flags & END_HEADERS == 0 {
            return self.block.extend_from_slice(fragment);
        }
        if self.block.is_empty() {
            return self.end_head(fragment);
        }
        let mut block = std::mem::take(&mut self.block);
        block.extend_from_slice(fragment);
        self.end_head(&block);
        block.clear();
        if block.capacity() <= MAX_IDLE_BYTES {
            self.block = block;
        }
    }

    fn end_head(&mut self, block: &[u8]) {
        let Some(path) = self.table.read(block) else {
            self.is_undecodable = true;
            return;
        };
        let stream = self.frame.stream;
        if stream > self.last_stream {
            self.last_stream = stream;
            if path != Some(Path::Plain) {
                self.invalid.push(stream);
            }
        }
    }

    /// True if a block cannot be decoded.
    pub(super) fn is_undecodable(&self) -> bool {
        self.is_undecodable
    }

    /// True if there are streams whose request is invalid.
    pub(super) fn has_invalid(&self) -> bool {
        !self.invalid.is_empty()
    }

    /// True if the request of the stream, which is accepted now, is invalid. Streams are accepted
    /// in their order; the library has refused those that were left out.
    pub(super) fn take_invalid(&mut self, stream: u32) -> bool {
        let is_invalid = self.invalid.contains(&stream);
        self.invalid.retain(|&other| other > stream);
        is_invalid
    }

    /// The library has accepted all streams that it will accept of what has arrived. It has left
    /// the others out: after GOAWAY it ignores new streams, as many as the client opens.
    pub(super) fn forget_left_out(&mut self) {
        self.invalid.clear();
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn invalid_count(&self) -> usize {
        self.invalid.len()
    }

    /// Bytes that the buffers hold, as allocated.
    pub(super) fn held_bytes(&self) -> usize {
        self.payload.capacity() + self.block.capacity()
    }
}

impl Frame {
    /// The part of the payload that belongs to the compressed head. `None` if the frame is invalid,
    /// which ends the connection; or if its stream depends on itself, which makes the library skip
    /// the block.
    fn block_of<'a>(&self, payload: &'a [u8]) -> Option<&'a [u8]> {
        if self.is_continuation {
            return Some(payload);
        }
        let mut block = payload;
        if self.flags & PADDED != 0 {
            let (&padding, rest) = payload.split_first()?;
            block = rest.get(..rest.len().checked_sub(padding.into())?)?;
        }
        if self.flags & PRIORITY != 0 {
            let (dependency, rest) = block.split_first_chunk::<4>()?;
            block = rest.get(1..)?;
            if u32::from_be_bytes(*dependency) & 0x7fff_ffff == self.stream {
                return None;
            }
        }
        Some(block)
    }
}

/// What a head says of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Plain,
    WithFragment,
}

impl Path {
    fn of(value: &Text<'_>) -> Path {
        if value.has_number_sign() { Path::WithFragment } else { Path::Plain }
    }
}

/// An entry of the dynamic table.
#[derive(Debug, Clone, Copy)]
struct Entry {
    name_bytes: u16,
    /// What the value says, if the name is `:path`.
    path: Option<Path>,
}

/// The dynamic table of the client. Evicted entries stay, as a valid head does not name them: the
/// index of an entry is how many were inserted after it.
#[derive(Debug)]
struct Table {
    /// The newest comes first.
    entries: VecDeque<Entry>,
    max_bytes: usize,
}

impl Table {
    /// Reads a head; returns what it says of the path, if there is one. `None` if it cannot be
    /// decoded.
    fn read(&mut self, block: &[u8]) -> Option<Option<Path>> {
        let mut block = Block::new(block);
        let mut path = None;
        let mut has_field = false;
        while let Some(first) = block.first() {
            let is_resize = first & 0xe0 == 0x20;
            if is_resize && has_field {
                return None;
            }
            has_field |= !is_resize;
            let found = match first {
                0x80.. => {
                    let index = block.integer(7)?;
                    match index {
                        0 => return None,
                        1..=STATIC_ENTRIES => STATIC_PATHS.contains(&index).then_some(Path::Plain),
                        _ => self.entries.get(index - STATIC_ENTRIES - 1)?.path,
                    }
                }
                0x40.. => {
                    let (name_bytes, is_path) = self.read_name(&mut block, 6)?;
                    let value = block.text()?;
                    let path = is_path.then(|| Path::of(&value));
                    self.insert(name_bytes, &value, path);
                    path
                }
                0x20.. => {
                    self.max_bytes = block.integer(5).filter(|&size| size <= TABLE_BYTES)?;
                    None
                }
                _ => {
                    let (_, is_path) = self.read_name(&mut block, 4)?;
                    let value = block.text()?;
                    is_path.then(|| Path::of(&value))
                }
            };
            path = path.or(found);
        }
        Some(path)
    }

    /// Reads a name; returns its length, and whether it is `:path`.
    fn read_name(&self, block: &mut Block<'_>, prefix: u32) -> Option<(usize, bool)> {
        let index = block.integer(prefix)?;
        Some(match index {
            0 => {
                let name = block.text()?;
                (name.length(), name.is_path())
            }
            1..=STATIC_ENTRIES => (STATIC_NAMES[index - 1].into(), STATIC_PATHS.contains(&index)),
            _ => {
                let entry = self.entries.get(index - STATIC_ENTRIES - 1)?;
                (entry.name_bytes.into(), entry.path.is_some())
            }
        })
    }

    /// Inserts an entry, unless it alone exceeds the table, which empties that. [RFC 7541 section
    /// 4.4]
    fn insert(&mut self, name_bytes: usize, value: &Text<'_>, path: Option<Path>) {
        let left = self.max_bytes.checked_sub(ENTRY_BYTES + name_bytes);
        if left.is_none_or(|left| !value.fits(left)) {
            return;
        }
        // It fits, as the table is smaller.
        let name_bytes = u16::try_from(name_bytes).unwrap_or(u16::MAX);
        self.entries.truncate(TABLE_BYTES / ENTRY_BYTES - 1);
        self.entries.push_front(Entry { name_bytes, path });
    }
}

#[cfg(test)]
mod tests;
