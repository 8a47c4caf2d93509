//! Blocks: what applications yield, and `write` is given. [PEP 3333, "Buffering and Streaming"]
//!
//! A large one is sent from where Python keeps it. So it is Python's memory that waits for a slow client, and
//! a thread without the interpreter may be the one that is done with it.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

/// The bytes of a block that an application yielded, which must be `bytes` (a subclass will do).
pub(super) fn yielded<'a, 'py>(item: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    cast_block(item, "a WSGI application must return an iterable of bytes; this one yielded")
}

/// The same of one that it gave to `write`.
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
        pyo3::exceptions::PyTypeError::new_err(format!("{message} {found}{advice}"))
    })
}

/// The bytes of a block where they are, which keeps the block alive as long as they are needed.
pub(super) fn share(block: &Bound<'_, PyBytes>) -> Bytes {
    Bytes::from_owner(SharedBlock(PyBackedBytes::from(block.clone())))
}

/// A block of Python's that is being sent. The thread that drops it may not be attached to the interpreter;
/// then PyO3 gives it back the next time that a thread attaches.
struct SharedBlock(PyBackedBytes);

/// Bytes that wait to be given back.
static DEFERRED_DROP_BYTES: AtomicUsize = AtomicUsize::new(0);
/// So many of them are worth attaching to the interpreter for.
const ATTACH_THRESHOLD: usize = 1 << 20;

impl AsRef<[u8]> for SharedBlock {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for SharedBlock {
    fn drop(&mut self) {
        // SAFETY: this asks about the calling thread only.
        if unsafe { pyo3::ffi::PyGILState_Check() } == 0 {
            DEFERRED_DROP_BYTES.fetch_add(self.0.len(), Ordering::Relaxed);
        }
    }
}

/// True if much memory waits for a thread to attach, which a server that has fallen idle should do soon;
/// says so once.
pub fn take_deferred_drops() -> bool {
    DEFERRED_DROP_BYTES.load(Ordering::Relaxed) >= ATTACH_THRESHOLD
        && DEFERRED_DROP_BYTES.swap(0, Ordering::Relaxed) >= ATTACH_THRESHOLD
}
