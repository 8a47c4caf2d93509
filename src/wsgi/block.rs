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
    as_block(item, "a WSGI application must return an iterable of bytes; this one yielded")
}

/// The same of one that it gave to `write`.
pub(super) fn written<'a, 'py>(item: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyBytes>> {
    as_block(item, "write() takes bytes, not")
}

fn as_block<'a, 'py>(
    item: &'a Bound<'py, PyAny>,
    complaint: &str,
) -> PyResult<&'a Bound<'py, PyBytes>> {
    item.cast::<PyBytes>().map_err(|_| {
        let found = item.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        let advice = if found == "str" { ": encode it" } else { "" };
        pyo3::exceptions::PyTypeError::new_err(format!("{complaint} {found}{advice}"))
    })
}

/// The bytes of a block where they are, which keeps the block alive as long as they are needed.
pub(super) fn share(block: &Bound<'_, PyBytes>) -> Bytes {
    Bytes::from_owner(Lent(PyBackedBytes::from(block.clone())))
}

/// A block of Python's that is being sent. The thread that drops it may not be attached to the interpreter;
/// then PyO3 gives it back the next time that a thread attaches.
struct Lent(PyBackedBytes);

/// Bytes that wait to be given back.
static OWED: AtomicUsize = AtomicUsize::new(0);
/// So many of them are worth attaching to the interpreter for.
const MUCH: usize = 1 << 20;

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: this asks about the calling thread only.
        if unsafe { pyo3::ffi::PyGILState_Check() } == 0 {
            OWED.fetch_add(self.0.len(), Ordering::Relaxed);
        }
    }
}

/// True if much memory waits for a thread to attach, which a server that has fallen idle should do soon;
/// says so once.
pub fn owes_memory() -> bool {
    OWED.load(Ordering::Relaxed) >= MUCH && OWED.swap(0, Ordering::Relaxed) >= MUCH
}
