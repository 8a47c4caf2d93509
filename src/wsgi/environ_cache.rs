//! A thread's cache of environs, and of the strings in them.
//!
//! Clients repeat themselves: a kept-alive client sends the same head byte for byte, and where a
//! path or a cookie differs, the other fields do not. So the cache keeps whole environs by their
//! heads, and below that the last `str` of each common field. It is bounded; it belongs to a thread
//! and not to a connection, so that idle connections hold no memory here; and threads share
//! nothing.

use core::net::IpAddr;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::ffi::{latin1, latin1_bytes};
use super::names::Names;
use crate::http1::Head;

/// How many heads are cached, and the size of the largest in bytes. With their strings these are
/// about 128 KiB a thread for heads of a browser's size.
const HEAD_SLOTS: usize = 32;
const MAX_HEAD_BYTES: usize = 2048;
/// Longer values are not cached.
const MAX_VALUE_BYTES: usize = 1024;
/// How many client addresses are cached.
const ADDRESS_SLOTS: usize = 16;

/// A value that most requests of a client have in common.
#[derive(Debug, Clone, Copy)]
pub(super) enum CachedValue {
    /// The request target.
    Target,
    /// The percent-decoded path.
    Path,
    /// The query.
    Query,
    /// The field with this index in [`Names`].
    Field(usize),
}

/// The cache of one thread.
pub(super) struct EnvironCache {
    /// Indexed by fingerprint. A head is cached when it comes for the second time in a row, so that
    /// clients whose heads all differ (a request id, a date) do not pay for copies that no request
    /// uses.
    heads: Vec<HeadSlot>,
    /// The last value of each [`CachedValue`].
    values: Vec<Option<Py<PyString>>>,
    /// Indexed by the last byte of the address.
    addresses: Vec<Option<(IpAddr, Py<PyString>)>>,
}

#[derive(Default)]
struct HeadSlot {
    /// The fingerprint of the last head that was looked up here and not found.
    last_miss: u64,
    cached: Option<CachedHead>,
}

/// A head and the environ made from it, without the keys that differ between connections.
struct CachedHead {
    /// The index of the template that the environ was made from.
    template: usize,
    bytes: Vec<u8>,
    environ: Py<PyDict>,
}

impl EnvironCache {
    pub(super) fn new() -> EnvironCache {
        let mut values = Vec::new();
        values.resize_with(Names::COUNT + 3, || None);
        let mut addresses = Vec::new();
        addresses.resize_with(ADDRESS_SLOTS, || None);
        let mut heads = Vec::new();
        heads.resize_with(HEAD_SLOTS, HeadSlot::default);
        EnvironCache { heads, values, addresses }
    }

    /// The environ that is cached for an equal head and the same template. Copy it, do not change
    /// it.
    pub(super) fn get<'py>(
        &self,
        py: Python<'py>,
        template: usize,
        head: &Head,
    ) -> Option<&Bound<'py, PyDict>> {
        let cached = self.heads[slot_index(head)].cached.as_ref()?;
        let same = cached.template == template && cached.bytes == head.bytes();
        same.then(|| cached.environ.bind(py))
    }

    /// Records that a head was not found. Caches a copy of its environ if it was the last head that
    /// was not found in this slot, too.
    pub(super) fn insert_if_repeated(
        &mut self,
        template: usize,
        head: &Head,
        environ: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let slot = &mut self.heads[slot_index(head)];
        let before = std::mem::replace(&mut slot.last_miss, head.fingerprint());
        if before == head.fingerprint() && head.bytes().len() <= MAX_HEAD_BYTES {
            let environ = environ.copy()?.unbind();
            slot.cached = Some(CachedHead { template, bytes: head.bytes().to_vec(), environ });
        }
        Ok(())
    }

    /// The `str` of a value: the same object as before if the value has not changed.
    pub(super) fn value<'py>(
        &mut self,
        py: Python<'py>,
        which: CachedValue,
        value: &[u8],
    ) -> Bound<'py, PyString> {
        let slot = &mut self.values[match which {
            CachedValue::Target => 0,
            CachedValue::Path => 1,
            CachedValue::Query => 2,
            CachedValue::Field(index) => 3 + index,
        }];
        if let Some(last) = slot
            && latin1_bytes(last.bind(py)) == Some(value)
        {
            return last.bind(py).clone();
        }
        let text = latin1(py, value);
        if value.len() <= MAX_VALUE_BYTES {
            *slot = Some(text.clone().unbind());
        }
        text
    }

    /// The REMOTE_ADDR of a client.
    pub(super) fn address<'py>(&mut self, py: Python<'py>, ip: IpAddr) -> Bound<'py, PyString> {
        let last_byte = match ip {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        let slot = &mut self.addresses[usize::from(last_byte) % ADDRESS_SLOTS];
        if let Some((cached, text)) = slot
            && *cached == ip
        {
            return text.bind(py).clone();
        }
        let text = latin1(py, ip.to_canonical().to_string().as_bytes());
        *slot = Some((ip, text.clone().unbind()));
        text
    }
}

fn slot_index(head: &Head) -> usize {
    head.fingerprint() as usize % HEAD_SLOTS
}
