//! Connections that applications have taken, for requests that ask for `Upgrade`.
//!
//! The application gets a copy of the client's descriptor, and the poller forgets the connection.
//! If the server holds bytes that it has received or not sent yet, they would be lost, and records
//! of TLS are of no use to the application. In these cases it gets one end of a socket pair, and
//! the poller relays between the other end and the client: see [`relay`](super::relay).

use std::net::SocketAddr;
use std::sync::Arc;

use socket2::Socket;

use super::address::Peer;
use super::logged::LoggedExchange;
use super::poller_link::PollerLink;
use super::proxied::Proxied;
use super::tls::Variable;
use super::trace::Trace;
use crate::http1::{self, ResponseHead};
use crate::observe::{Counters, Record, RequestId};
use crate::proxies::Forwarded;
use crate::sys::clock::Moment;

/// How the application has taken a connection.
#[derive(Debug)]
pub enum Taken {
    /// It has a copy of the descriptor: the poller closes its own.
    Descriptor,
    /// It has the other end of this socket: the poller relays.
    Relay(Socket),
}

/// What the server keeps of a request whose connection the application has taken.
#[derive(Debug)]
pub struct UpgradedRequest {
    /// The protocol state: the head of the request.
    pub http: http1::Connection,
    /// The address of the peer: a client, or a proxy.
    pub peer: Peer,
    /// The index of the listener that has accepted the connection.
    pub listener: usize,
    pub(super) tls_variables: Option<Arc<[Variable]>>,
    pub(super) proxied: Proxied,
    pub(super) trace: Trace,
    pub(super) started_at: Moment,
    pub(super) poller: Arc<PollerLink>,
}

impl UpgradedRequest {
    /// The address of the peer, unless it is a unix socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer.0
    }

    /// What the proxies in front say of the request, if anything.
    pub fn forwarded(&self) -> Option<&Arc<Forwarded>> {
        self.proxied.forwarded()
    }

    /// What the application sees of the TLS session; `None` if there is none.
    pub fn tls_variables(&self) -> Option<&Arc<[Variable]>> {
        self.tls_variables.as_ref()
    }

    /// The id of the request, if it has one.
    pub fn request_id(&self) -> Option<&RequestId> {
        self.trace.id()
    }

    /// The counters of the worker.
    pub fn counters(&self) -> &Counters {
        &self.poller.counters
    }

    /// Logs the request, which ends now: calls `log` with its record.
    pub fn log_access(
        &self,
        response: &ResponseHead,
        environ: &[(String, String)],
        log: impl FnOnce(&Record<'_>),
    ) {
        let UpgradedRequest { http, peer, proxied, trace, .. } = self;
        let exchange = LoggedExchange { http, peer, proxied, trace, started_at: self.started_at };
        exchange.log(response, environ, log);
    }
}
