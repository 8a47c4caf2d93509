//! A thread's cache of environs, and of the strings in them.
//!
//! Clients repeat themselves: a kept-alive client sends the same head byte for byte, and where a
//! path or a cookie differs, the other fields do not. So the cache keeps whole environs by their
//! heads, and below that the last `str` of each common field. It is bounded; it belongs to a thread
//! and not to a connection, so that idle connections hold no memory here; and threads share
//! nothing.

use core::net::IpAddr;
use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::client_disconnected::ClientDisconnected;
use super::early_hints::EarlyHints;
use super::environ::Templates;
use super::exchange::TlsVariable;
use super::ffi::{latin1, latin1_bytes};
use super::names::Names;
use crate::http1::Head;
use crate::proxies::Scheme;

/// How many heads are cached, and the size of the largest in bytes. With their strings these are
/// about 128 KiB a thread for heads of a browser's size.
const HEAD_SLOTS: usize = 32;
const MAX_HEAD_BYTES: usize = 2048;
/// Longer values are not cached.
const MAX_VALUE_BYTES: usize = 1024;
/// How many client addresses are cached, and how many ports of clients.
const ADDRESS_SLOTS: usize = 16;
const PORT_SLOTS: usize = 256;
/// How many TLS sessions are cached.
const TLS_SLOTS: usize = 8;

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
    /// The environs without what comes from a request.
    pub(super) templates: Templates,
    /// Indexed by fingerprint. A head is cached when it comes for the second time in a row, so that
    /// clients whose heads all differ (a request id, a date) do not pay for copies that no request
    /// uses.
    heads: Vec<HeadSlot>,
    /// How many of the slots have a head.
    environs: usize,
    /// The last value of each [`CachedValue`].
    values: Vec<Option<Py<PyString>>>,
    clients: ClientStrings,
    /// The variables of TLS sessions, the last one used first. Sessions without a certificate of
    /// the client differ in few of them.
    tls: Vec<(Arc<[TlsVariable]>, Py<PyDict>)>,
}

/// The `str` objects of client addresses.
struct ClientStrings {
    /// REMOTE_ADDRs, indexed by the last byte of the address.
    addresses: Vec<Option<(IpAddr, Py<PyString>)>>,
    /// REMOTE_PORTs, indexed by the port without its last bit: Linux prefers ports of one parity.
    ports: Vec<Option<(u16, Py<PyString>)>>,
}

#[derive(Default)]
struct HeadSlot {
    /// The fingerprint of the last head that was looked up here and not found.
    last_miss: u64,
    cached: Option<CachedHead>,
}

/// A head and the environ made from it.
struct CachedHead {
    /// The index of the template that the environ was made from.
    template: usize,
    bytes: Vec<u8>,
    /// The client that the environ names in REMOTE_ADDR.
    ip: Option<IpAddr>,
    environ: Py<PyDict>,
    claimed_scheme: Option<Scheme>,
}

/// An environ without REMOTE_PORT and the scheme, which differ between equal heads.
pub(super) struct HeadEnviron<'py> {
    pub(super) environ: Bound<'py, PyDict>,
    /// The scheme that the client has used, if a field of the head says so.
    pub(super) claimed_scheme: Option<Scheme>,
}

impl EnvironCache {
    pub(super) fn new(templates: Templates) -> EnvironCache {
        let mut values = Vec::new();
        values.resize_with(Names::COUNT + 3, || None);
        let mut heads = Vec::new();
        heads.resize_with(HEAD_SLOTS, HeadSlot::default);
        EnvironCache {
            templates,
            heads,
            environs: 0,
            values,
            clients: ClientStrings::new(),
            tls: Vec::new(),
        }
    }

    /// How many environs are cached. Each of them has a reference to the thread's
    /// `rustwsgi.client_disconnected` and `wsgi.early_hints`.
    pub(super) fn environs(&self) -> usize {
        self.environs
    }

    /// Replaces `rustwsgi.client_disconnected` in the cached environs, or drops them if that fails.
    pub(super) fn replace_disconnected(
        &mut self,
        py: Python<'_>,
        disconnected: &Py<ClientDisconnected>,
    ) -> PyResult<()> {
        self.replace(intern!(py, "rustwsgi.client_disconnected"), disconnected.bind(py))
    }

    /// The same for `wsgi.early_hints`.
    pub(super) fn replace_early_hints(
        &mut self,
        py: Python<'_>,
        early_hints: &Py<EarlyHints>,
    ) -> PyResult<()> {
        self.replace(intern!(py, "wsgi.early_hints"), early_hints.bind(py))
    }

    fn replace(&mut self, key: &Bound<'_, PyString>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = key.py();
        let mut cached = self.heads.iter().filter_map(|slot| slot.cached.as_ref());
        let replaced = cached.try_for_each(|head| head.environ.bind(py).set_item(key, value));
        if replaced.is_err() {
            self.heads.fill_with(HeadSlot::default);
            self.environs = 0;
        }
        replaced
    }

    /// A copy of the environ that is cached for an equal head and the same template, with the
    /// REMOTE_ADDR of this client.
    pub(super) fn get<'py>(
        &mut self,
        py: Python<'py>,
        template: usize,
        head: &Head,
        ip: Option<IpAddr>,
    ) -> PyResult<Option<HeadEnviron<'py>>> {
        let Some(cached) = &mut self.heads[slot_index(head)].cached else { return Ok(None) };
        let is_same = cached.template == template
            && cached.bytes == head.bytes()
            && cached.ip.is_some() == ip.is_some();
        if !is_same {
            return Ok(None);
        }
        let environ = cached.environ.bind(py);
        if cached.ip != ip
            && let Some(ip) = ip
        {
            environ.set_item(intern!(py, "REMOTE_ADDR"), self.clients.address(py, ip))?;
            cached.ip = Some(ip);
        }
        let environ = environ.copy()?;
        Ok(Some(HeadEnviron { environ, claimed_scheme: cached.claimed_scheme }))
    }

    /// Records that the head of `made` was not found. Caches a copy of its environ if it was the
    /// last head that was not found in this slot, too.
    pub(super) fn insert_if_repeated(
        &mut self,
        template: usize,
        head: &Head,
        ip: Option<IpAddr>,
        made: &HeadEnviron<'_>,
    ) -> PyResult<()> {
        let slot = &mut self.heads[slot_index(head)];
        let before = std::mem::replace(&mut slot.last_miss, head.fingerprint());
        if before == head.fingerprint() && head.bytes().len() <= MAX_HEAD_BYTES {
            let environ = made.environ.copy()?.unbind();
            let claimed_scheme = made.claimed_scheme;
            let bytes = head.bytes().to_vec();
            self.environs += usize::from(slot.cached.is_none());
            slot.cached = Some(CachedHead { template, bytes, ip, environ, claimed_scheme });
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

    /// The variables of a TLS session, as a dict. Copy it, do not change it.
    pub(super) fn tls<'py>(
        &mut self,
        py: Python<'py>,
        variables: &Arc<[TlsVariable]>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let is_same = |(cached, _): &(Arc<[TlsVariable]>, _)| {
            Arc::ptr_eq(cached, variables) || cached == variables
        };
        let at = match self.tls.iter().position(is_same) {
            Some(at) => at,
            None => {
                let dict = PyDict::new(py);
                for (name, value) in variables.iter() {
                    dict.set_item(PyString::intern(py, name), latin1(py, value.as_bytes()))?;
                }
                self.tls.truncate(TLS_SLOTS - 1);
                self.tls.push((variables.clone(), dict.unbind()));
                self.tls.len() - 1
            }
        };
        self.tls[..=at].rotate_right(1);
        Ok(self.tls[0].1.bind(py).clone())
    }

    /// The REMOTE_ADDR of a client.
    pub(super) fn address<'py>(&mut self, py: Python<'py>, ip: IpAddr) -> Bound<'py, PyString> {
        self.clients.address(py, ip)
    }

    /// The REMOTE_PORT of a client.
    pub(super) fn port<'py>(&mut self, py: Python<'py>, port: u16) -> Bound<'py, PyString> {
        self.clients.port(py, port)
    }
}

impl ClientStrings {
    fn new() -> ClientStrings {
        let mut addresses = Vec::new();
        addresses.resize_with(ADDRESS_SLOTS, || None);
        let mut ports = Vec::new();
        ports.resize_with(PORT_SLOTS, || None);
        ClientStrings { addresses, ports }
    }

    fn address<'py>(&mut self, py: Python<'py>, ip: IpAddr) -> Bound<'py, PyString> {
        let last_byte = match ip {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        };
        let slot = &mut self.addresses[usize::from(last_byte) % ADDRESS_SLOTS];
        string(py, slot, ip, || ip.to_canonical().to_string())
    }

    fn port<'py>(&mut self, py: Python<'py>, port: u16) -> Bound<'py, PyString> {
        let slot = &mut self.ports[usize::from(port / 2) % PORT_SLOTS];
        string(py, slot, port, || port.to_string())
    }
}

/// The `str` of `key` that is cached in `slot`, or a new one, which is cached there from now on.
fn string<'py, K: PartialEq>(
    py: Python<'py>,
    slot: &mut Option<(K, Py<PyString>)>,
    key: K,
    format: impl FnOnce() -> String,
) -> Bound<'py, PyString> {
    if let Some((cached, text)) = slot
        && *cached == key
    {
        return text.bind(py).clone();
    }
    let text = latin1(py, format().as_bytes());
    *slot = Some((key, text.clone().unbind()));
    text
}

fn slot_index(head: &Head) -> usize {
    head.fingerprint() as usize % HEAD_SLOTS
}
