//! What proxies say of a connection and of its current request.
//!
//! A header of the PROXY protocol replaces the peer, once. The forwarded fields of a trusted peer
//! describe one request: a proxy sends the requests of many clients over one connection. So they
//! are resolved with each head, and nothing of them is kept for the next.

use std::net::IpAddr;
use std::sync::Arc;

use super::address::Peer;
use crate::config::Settings;
use crate::http1::Head;
use crate::proxies::{self, Forwarded, ForwardedFields, ProxyProtocol, Scheme};

/// Whether a connection begins with a header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preamble {
    /// It must, and the header is not complete yet.
    Required,
    /// It must not, and its first bytes have not arrived.
    Forbidden,
    /// The header was received, or there is none.
    Done,
}

impl Preamble {
    /// That of a new connection.
    pub(super) fn of(settings: &Settings, peer: &Peer) -> Preamble {
        if settings.proxy_protocol == ProxyProtocol::Off {
            Preamble::Done
        } else if settings.expects_proxy_header(peer.ip()) {
            Preamble::Required
        } else {
            Preamble::Forbidden
        }
    }
}

/// What proxies say of a connection and of its current request. Most connections have nothing of
/// it, and need no memory.
#[derive(Debug)]
pub(super) struct Proxied(Option<Box<State>>);

#[derive(Debug, Default)]
struct State {
    /// The settings, if fields of the peer are applied here. With the default `--forwarded-headers`
    /// they are not: the environ reads the scheme.
    policy: Option<Arc<Settings>>,
    /// The client has connected to the proxy over TLS, by the header of the PROXY protocol.
    is_tls: bool,
    /// What the fields of the current request say.
    forwarded: Option<Arc<Forwarded>>,
}

impl Proxied {
    pub(super) fn new(settings: &Arc<Settings>, peer: &Peer) -> Proxied {
        let is_default = settings.forwarded_headers == ForwardedFields::DEFAULT;
        let applies = !is_default && settings.trusts(peer.ip());
        let state = || State { policy: Some(settings.clone()), ..State::default() };
        Proxied(applies.then(|| Box::new(state())))
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> Proxied {
        Proxied(self.0.take())
    }

    /// Applies the fields of a head that has just arrived.
    #[inline]
    pub(super) fn on_head(&mut self, head: &Head) -> Result<(), proxies::Error> {
        self.0.as_mut().map_or(Ok(()), |state| state.resolve(head))
    }

    /// The same for the log line about a head that breaks a limit, such as that of the content.
    pub(super) fn on_rejected_head(&mut self, head: &Head) {
        // Of a head that was not parsed to its end, a part of the chain may be missing.
        if head.is_complete() {
            let _ = self.on_head(head);
        }
    }

    /// True if the client has connected to the proxy over TLS, by the header of the PROXY protocol.
    pub(super) fn is_tls(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.is_tls)
    }

    /// Takes in that the client has connected to the proxy over TLS.
    pub(super) fn set_tls(&mut self) {
        self.0.get_or_insert_default().is_tls = true;
    }

    /// What the fields of the current request say, if anything.
    #[inline]
    pub(super) fn forwarded(&self) -> Option<&Arc<Forwarded>> {
        self.0.as_ref()?.forwarded.as_ref()
    }

    /// The address of the current request's client, for the access log: empty on a unix socket.
    pub(super) fn client_address(&self, peer: &Peer) -> String {
        self.client().map_or_else(|| peer.address(), |ip| ip.to_string())
    }

    /// How the error log names that client.
    pub(super) fn describe_client(&self, peer: &Peer) -> String {
        self.client().map_or_else(|| peer.described(), |ip| ip.to_string())
    }

    /// The client, if the fields say it.
    fn client(&self) -> Option<IpAddr> {
        Some(self.forwarded()?.client?.ip)
    }

    /// Forgets what was said of the last request.
    #[inline]
    pub(super) fn start_next(&mut self) {
        if let Some(state) = &mut self.0 {
            state.forwarded = None;
        }
    }
}

impl State {
    fn resolve(&mut self, head: &Head) -> Result<(), proxies::Error> {
        let mut forwarded = match &self.policy {
            Some(settings) => {
                let trusts = |ip: IpAddr| settings.trusts(Some(ip));
                proxies::resolve(settings.forwarded_headers, head.fields(), trusts)?
            }
            None => Forwarded::default(),
        };
        if self.is_tls {
            forwarded.scheme.get_or_insert(Scheme::Https);
        }
        self.forwarded = Some(Arc::new(forwarded));
        Ok(())
    }
}
