//! Blocks: the `bytes` objects that an application yields, or passes to `write`.
//! [PEP 3333, "Buffering and Streaming"]
//!
//! A large block is sent from Python's own memory, without a copy. While the client is slow, the
//! `bytes` object itself waits in the output queue, and the thread that has sent the last of it
//! may not be attached to the interpreter.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::ffi;
#[cfg(debug_assertions)]
use crate::sync::CriticalSection;

/// Checks that a block which the application yielded is `bytes`, or of a subclass.
pub(super) fn yielded<'a, 'py>(item: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    cast_block(item, "a WSGI application must return an iterable of bytes; this one yielded")
}

/// Checks that a block which the application passed to `write` is `bytes`, or of a subclass.
pub(super) fn written<'a, 'py>(item: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    cast_block(item, "write() takes bytes, not")
}

fn cast_block<'a, 'py>(
    item: &'a Bound<'py, PyAny>,
    message: &str,
) -> PyResult<&'a Bound<'py, PyBytes>> {
    item.cast::<PyBytes>().map_err(|_| {
        let found = item.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        let advice = if found == "str" { ": encode it" } else { "" };
        PyTypeError::new_err(format!("{message} {found}{advice}"))
    })
}

/// The bytes of a block without a copy. They hold a reference to the block until they are dropped.
pub(super) fn share(block: &Bound<'_, PyBytes>) -> Bytes {
    Bytes::from_owner(SharedBlock(PyBackedBytes::from(block.clone())))
}

/// A reference to a Python block that is being sent. If a thread drops it that is not attached to
/// the interpreter, PyO3 defers the decrement of the reference count until a thread attaches.
struct SharedBlock(PyBackedBytes);

/// Bytes of blocks whose release PyO3 has deferred, since the last time that this was reset.
static DEFERRED_DROP_BYTES: AtomicUsize = AtomicUsize::new(0);
/// From this many deferred bytes on it is worth attaching to the interpreter to release them.
const ATTACH_THRESHOLD: usize = 1 << 20;

impl AsRef<[u8]> for SharedBlock {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for SharedBlock {
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        assert!(!CriticalSection::is_inside(), "a block of Python is released under a lock");
        if !ffi::is_attached() {
            DEFERRED_DROP_BYTES.fetch_add(self.0.len(), Ordering::Relaxed);
        }
    }
}

/// Returns true if at least 1 MiB of Python memory is released only when a thread next attaches to
/// the interpreter, and resets the count, so that one thread attaches for it. An idle server calls
/// this, as no request makes a thread attach there.
pub fn take_deferred_drops() -> bool {
    DEFERRED_DROP_BYTES.load(Ordering::Relaxed) >= ATTACH_THRESHOLD
        && DEFERRED_DROP_BYTES.swap(0, Ordering::Relaxed) >= ATTACH_THRESHOLD
}
