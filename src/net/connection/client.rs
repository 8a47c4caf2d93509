//! The client of a connection's current request: the peer, or what the proxies in front say.

use std::sync::Arc;

use super::Connection;
use crate::config::Settings;
use crate::http1;
use crate::net::address::Peer;
use crate::net::proxied::{Preamble, Proxied};
use crate::net::trace::Trace;
use crate::proxies::{Forwarded, ProxyHeader, Source};

impl Connection {
    /// True if the client has connected over the loopback interface: HTTP/1 over TCP.
    pub(in crate::net) fn is_client_local(&self) -> bool {
        let is_stream = self.write_half.transport().stream().is_some();
        !is_stream && self.peer.ip().is_some_and(|ip| ip.to_canonical().is_loopback())
    }

    /// Applies the header that the connection begins with.
    #[cold]
    pub(in crate::net) fn apply_proxy_header(
        &mut self,
        header: &ProxyHeader,
        settings: &Arc<Settings>,
    ) {
        self.preamble = Preamble::Done;
        match header.source {
            Source::Peer => {}
            Source::Client(address) => self.peer = Peer(Some(address)),
            Source::Unix => self.peer = Peer(None),
        }
        // Which peers are trusted is decided by the address after PROXY.
        self.http = http1::Connection::new(self.poller.limits_of(settings, &self.peer).clone());
        self.proxied = Proxied::new(settings, &self.peer);
        self.trace = Trace::new(self.poller.trace.as_ref(), settings, &self.peer);
        if header.is_tls {
            self.proxied.set_tls();
        }
    }

    /// What the proxies in front say of the current request, if anything.
    #[inline]
    pub fn forwarded(&self) -> Option<&Arc<Forwarded>> {
        self.proxied.forwarded()
    }

    /// How the error log names that client.
    pub fn describe_client(&self) -> String {
        self.proxied.describe_client(&self.peer)
    }
}
