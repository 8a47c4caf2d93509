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
const HEADS: usize = 32;
const LONGEST_HEAD: usize = 2048;
/// Longer values are not remembered.
const LONGEST_VALUE: usize = 1024;
/// Client addresses that are remembered.
const ADDRESSES: usize = 16;

/// A value that most requests of a client have in common.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
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
pub(super) struct Memory {
    /// By their fingerprints. A head is kept from its second coming on, so that clients whose heads all
    /// differ (a request id, a date) do not pay for what nobody will ask for.
    heads: Vec<Slot>,
    /// The last value at each place.
    values: Vec<Option<Py<PyString>>>,
    /// By their last byte.
    addresses: Vec<Option<(IpAddr, Py<PyString>)>>,
}

#[derive(Default)]
struct Slot {
    /// Of the last head that came here and was not known.
    missed: u64,
    known: Option<Known>,
}

/// A head and what was made of it: an environ without what differs from connection to connection.
struct Known {
    template: usize,
    bytes: Vec<u8>,
    environ: Py<PyDict>,
}

impl Memory {
    pub(super) fn new() -> Memory {
        let mut values = Vec::new();
        values.resize_with(Names::COUNT + 3, || None);
        let mut addresses = Vec::new();
        addresses.resize_with(ADDRESSES, || None);
        let mut heads = Vec::new();
        heads.resize_with(HEADS, Slot::default);
        Memory { heads, values, addresses }
    }

    /// The environ that was remembered for an equal head and the same template. It must be copied, not
    /// changed.
    pub(super) fn recall<'py>(
        &self,
        py: Python<'py>,
        template: usize,
        head: &Head,
    ) -> Option<&Bound<'py, PyDict>> {
        let known = self.heads[place(head)].known.as_ref()?;
        let same = known.template == template && known.bytes == head.bytes();
        same.then(|| known.environ.bind(py))
    }

    /// Takes note of a head that is not known, and remembers it if it came before.
    pub(super) fn remember(
        &mut self,
        template: usize,
        head: &Head,
        environ: &Bound<'_, PyDict>,
    ) -> PyResult<()> {
        let slot = &mut self.heads[place(head)];
        let before = std::mem::replace(&mut slot.missed, head.fingerprint());
        if before == head.fingerprint() && head.bytes().len() <= LONGEST_HEAD {
            let environ = environ.copy()?.unbind();
            slot.known = Some(Known { template, bytes: head.bytes().to_vec(), environ });
        }
        Ok(())
    }

    /// The `str` of a value, the same object as the last time if the value is the same.
    pub(super) fn value<'py>(
        &mut self,
        py: Python<'py>,
        place: Place,
        value: &[u8],
    ) -> Bound<'py, PyString> {
        let slot = &mut self.values[match place {
            Place::Target => 0,
            Place::Path => 1,
            Place::Query => 2,
            Place::Field(number) => 3 + number,
        }];
        if let Some(last) = slot
            && latin1_bytes(last.bind(py)) == Some(value)
        {
            return last.bind(py).clone();
        }
        let text = latin1(py, value);
        if value.len() <= LONGEST_VALUE {
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
        let slot = &mut self.addresses[usize::from(last_byte) % ADDRESSES];
        if let Some((known, text)) = slot
            && *known == ip
        {
            return text.bind(py).clone();
        }
        let text = latin1(py, ip.to_canonical().to_string().as_bytes());
        *slot = Some((ip, text.clone().unbind()));
        text
    }
}

fn place(head: &Head) -> usize {
    head.fingerprint() as usize % HEADS
}
