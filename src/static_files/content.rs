//! Reads a file without waiting for its disk, or lets another thread wait for it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::root::Lookup;

/// A file of at most this many bytes is sent from memory, together with the head: a system call
/// less, and below this size a copy costs less than `sendfile`.
pub(super) const MAX_IN_MEMORY: u64 = 64 * 1024;

/// Bytes that one read of [`load`] takes.
const BLOCK: usize = 64 * 1024;

/// True unless it is known that a read of these bytes would wait for a disk. Tries the first and
/// the last byte: the kernel reads ahead, so what is between them is there as a rule.
pub fn is_resident(file: &File, offset: u64, length: u64) -> bool {
    length == 0
        || (is_byte_resident(file, offset)
            && (length == 1 || is_byte_resident(file, offset + length - 1)))
}

#[cfg(target_os = "linux")]
fn is_byte_resident(file: &File, offset: u64) -> bool {
    !matches!(read_without_waiting(file, &mut [0], offset), Err(rustix::io::Errno::AGAIN))
}

#[cfg(not(target_os = "linux"))]
fn is_byte_resident(_: &File, _: u64) -> bool {
    true
}

#[cfg(target_os = "linux")]
fn read_without_waiting(file: &File, into: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};
    preadv2(file, &mut [io::IoSliceMut::new(into)], offset, ReadWriteFlags::NOWAIT)
}

/// Reads `length` bytes from the start of a file, or fewer if it is shorter now. With
/// [`Lookup::Cached`] it fails with `WouldBlock` rather than wait for a disk.
#[cfg(target_os = "linux")]
pub(super) fn read_resident(file: &File, length: usize, lookup: Lookup) -> io::Result<Vec<u8>> {
    use rustix::io::Errno;
    let mut bytes = vec![0; length];
    if lookup == Lookup::Blocking {
        return read_all(file, bytes);
    }
    let mut read = 0;
    while read < length {
        match read_without_waiting(file, &mut bytes[read..], read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(Errno::INTR) => {}
            // The file system does not support the flag.
            Err(Errno::OPNOTSUPP) => return read_all(file, bytes),
            Err(failed) => return Err(failed.into()),
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn read_resident(file: &File, length: usize, _: Lookup) -> io::Result<Vec<u8>> {
    read_all(file, vec![0; length])
}

fn read_all(file: &File, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// Waits until these bytes are in memory, and asks the kernel to read `ahead` more. An error shows
/// when they are sent.
pub fn load(file: &File, offset: u64, length: u64, ahead: u64) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::fs::{Advice, fadvise};
        let wanted = std::num::NonZeroU64::new(length.saturating_add(ahead));
        let _ = fadvise(file, offset, wanted, Advice::WillNeed);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = ahead;
    let mut block = vec![0; BLOCK];
    let end = offset.saturating_add(length);
    let mut at = offset;
    while at < end {
        let want = usize::try_from(end - at).map_or(BLOCK, |left| left.min(BLOCK));
        match file.read_at(&mut block[..want], at) {
            Ok(count) if count > 0 => at += count as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return,
        }
    }
}
