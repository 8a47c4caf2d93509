//! Memory that a process shares with the processes that it forks: an array of atomic values in an
//! anonymous mapping. No file is behind it, and it ends with the last of these processes.

use std::io;
use std::ops::Deref;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// A type whose values may be shared between processes.
///
/// # Safety
/// Zero bytes must be a valid value. All parts must be atomic, because other processes change them
/// at any time, and none may be a pointer, which other processes could not follow.
pub(crate) unsafe trait Shareable: Sync {}

// SAFETY: an atomic number, for which zero bytes are 0.
unsafe impl Shareable for std::sync::atomic::AtomicU64 {}

/// An array of values that begin as zero bytes. Processes that are forked later share it.
#[derive(Debug)]
pub(crate) struct SharedArray<T: Shareable> {
    // INVARIANT: points to `count` values of T in a mapping of their size, which nothing else
    // unmaps.
    values: NonNull<T>,
    count: usize,
}

impl<T: Shareable> SharedArray<T> {
    /// Maps an array of `count` values. The system provides a page of it when it is first used.
    ///
    /// # Errors
    /// As mmap(2), which refuses an empty array.
    pub(crate) fn new(count: usize) -> io::Result<SharedArray<T>> {
        let bytes = size_of::<T>().checked_mul(count).ok_or(io::ErrorKind::OutOfMemory)?;
        let (access, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: without an address, the kernel chooses one that is not in use.
        let address = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, access, shared) }?;
        let values = NonNull::new(address.cast::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        debug_assert!(values.is_aligned(), "a mapping begins with a page");
        Ok(SharedArray { values, count })
    }
}

impl<T: Shareable> Deref for SharedArray<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: by the invariant they are there as long as `self` is. The mapping began as zero
        // bytes, which are valid values, and their parts are atomic: see `Shareable`.
        unsafe { std::slice::from_raw_parts(self.values.as_ptr(), self.count) }
    }
}

impl<T: Shareable> Drop for SharedArray<T> {
    fn drop(&mut self) {
        // SAFETY: by the invariant this is a mapping of this size, and no reference outlives
        // `self`. Other processes keep theirs.
        let _ = unsafe { munmap(self.values.as_ptr().cast(), size_of::<T>() * self.count) };
    }
}

// SAFETY: the values are `Sync`, and a mapping belongs to no thread.
unsafe impl<T: Shareable> Send for SharedArray<T> {}
// SAFETY: as above; `&SharedArray` gives access to `&T` only.
unsafe impl<T: Shareable> Sync for SharedArray<T> {}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[repr(C, align(64))]
    struct Value(AtomicU32);

    // SAFETY: an atomic number.
    unsafe impl Shareable for Value {}

    #[test]
    fn values_begin_as_zero_and_are_apart() {
        let array = SharedArray::<Value>::new(100).unwrap();
        assert!(array.iter().all(|value| value.0.load(Ordering::Relaxed) == 0));
        for (value, number) in array.iter().zip(0..) {
            value.0.store(number, Ordering::Relaxed);
        }
        let sum: u32 = array.iter().map(|value| value.0.load(Ordering::Relaxed)).sum();
        assert_eq!((array.len(), sum), (100, 4950));
        assert!(SharedArray::<Value>::new(0).is_err());
    }
}
