//! What one thread remembers of earlier requests, so that it need not be made again.
//!
//! Clients repeat themselves: a kept-alive client sends the same head to the byte, and where a path or
//! a cookie differs the other fields do not. So whole environs are kept by their heads, and beneath that
//! the last `str` of each field. All of it is bounded, none of it belongs to a connection (an idle one
//! costs nothing here), and none of it is shared between threads.

use core::net::IpAddr;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::names::Names;
use super::strings::{latin1, latin1_bytes};
use crate::http1::Head;

/// Heads that are remembered, and how long the longest may be, in bytes. With their strings these are
/// 128 KiB a thread for heads of a browser's size.
const HEAD_SLOTS: usize = 32;
const MAX_HEAD_BYTES: usize = 2048;
/// Longer values are not remembered.
const MAX_VALUE_BYTES: usize = 1024;
/// Client addresses that are remembered.
const ADDRESS_SLOTS: usize = 16;

/// A value that most requests of a client have in common.
#[derive(Debug, Clone, Copy)]
pub(super) enum CachedValue {
    /// The request target.
    Target,
    /// The decoded path.
    Path,
    /// The query.
    Query,
    /// The field with this number in [`Names`].
    Field(usize),
}

/// One thread's memory.
pub(super) struct EnvironCache {
    /// By their fingerprints. A head is kept from its second coming on, so that clients whose heads all
    /// differ (a request id, a date) do not pay for what nobody will ask for.
    heads: Vec<HeadSlot>,
    /// The last value at each place.
    values: Vec<Option<Py<PyString>>>,
    /// By their last byte.
    addresses: Vec<Option<(IpAddr, Py<PyString>)>>,
}

#[derive(Default)]
struct HeadSlot {
    /// Of the last head that came here and was not cached.
    last_miss: u64,
    cached: Option<CachedHead>,
}

/// A head and what was made of it: an environ without what differs from connection to connection.
struct CachedHead {
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

    /// The environ that was remembered for an equal head and the same template. It must be copied, not
    /// changed.
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

    /// Takes note of a head that is not cached, and remembers it if it came before.
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

    /// The `str` of a value, the same object as the last time if the value is the same.
    pub(super) fn value<'py>(
        &mut self,
        py: Python<'py>,
        place: CachedValue,
        value: &[u8],
    ) -> Bound<'py, PyString> {
        let slot = &mut self.values[match place {
            CachedValue::Target => 0,
            CachedValue::Path => 1,
            CachedValue::Query => 2,
            CachedValue::Field(number) => 3 + number,
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

    /// REMOTE_ADDR of a client.
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
