//! One client connection: its protocol state, its unparsed bytes, and the request body received so
//! far.
//!
//! A connection has exactly one owner at any time: the poller while it reads, a worker thread while
//! its request runs. So it needs no lock; only its [`WriteHalf`] is shared.

mod client;
mod hand_over;
mod measure;
mod output;
mod receive;
mod stream;
mod traced;
mod upgrade;

use std::sync::Arc;

use super::address::{Local, Peer};
use super::arena::ConnectionId;
use super::body::{Body, Spool};
use super::logged::LoggedExchange;
use super::memory_budget::Reservation;
use super::output_queue::OutputQueue;
pub(super) use super::parsed::{Parsed, Rejection};
use super::poller_link::PollerLink;
use super::proxied::{Preamble, Proxied};
use super::read_half::ReadHalf;
use super::response_spool::ResponseSpool;
use super::tls::Variable;
use super::trace::Trace;
use super::waiting::{Awaited, Waiting};
use super::write_half::WriteHalf;
use crate::config::Settings;
use crate::http1::{self, ResponseHead};
use crate::observe::{Counters, Record};
use crate::sys::clock::Moment;

/// What the poller lends to a worker thread for one request, and gets back with the response.
///
/// With HTTP/1.1 that is the whole connection. HTTP/2 lends one stream, which is a connection of
/// its own with the stream as its transport, while the session stays with the poller. The scheduler
/// and the dispatcher treat it as opaque. `worker::exchange` implements the trait `wsgi::Exchange`
/// for it, which is all that the WSGI layer knows. An exchange consists of these parts of a
/// connection: `http` (the head of the request, the framing of the response), `spool`, `queue` with
/// its `write_half`, `peer`, `local` and `response_spool`.
pub type Lent = Box<Connection>;

/// The connection of one client, boxed because it moves between threads.
#[derive(Debug)]
pub struct Connection {
    /// Its slot in the poller.
    pub(super) id: ConnectionId,
    /// The protocol state of both directions.
    pub http: http1::Connection,
    /// The writing half, shared with the poller.
    pub write_half: Arc<WriteHalf>,
    /// Response bytes that were not passed to the write half yet.
    pub queue: OutputQueue,
    /// The poller that it returns to.
    pub(super) poller: Arc<PollerLink>,
    /// The address of the peer: a client, or a proxy. A header of the PROXY protocol replaces it.
    pub peer: Peer,
    /// Whether such a header comes first.
    pub(super) preamble: Preamble,
    /// What proxies say of the connection and its current request.
    proxied: Proxied,
    /// The trace of the current request.
    trace: Trace,
    /// The server's address that the client connected to.
    pub local: Arc<Local>,
    /// Bytes received but not parsed: the start of a head, or requests sent ahead.
    pub(super) input: Vec<u8>,
    /// The content of the request, as far as it has arrived. Boxed, as most requests have none.
    spool: Option<Box<Spool>>,
    /// Reads the content while the application runs, with `--request-buffering off`.
    pub(super) read_half: Option<Arc<ReadHalf>>,
    /// `--request-buffering`: the content is received before the application runs.
    buffers_content: bool,
    /// The bytes of `http`, `input` and `spool`, as the memory budget counts them.
    reservation: Reservation,
    /// Takes unsent output of the response that does not fit into memory. Most need none.
    response_spool: Option<Box<ResponseSpool>>,
    /// When the request's first byte arrived.
    started_at: Moment,
    /// When the request's head was complete.
    pub(super) head_complete_at: Moment,
    /// When the current wait began: at the end of the previous request, at the first byte of a
    /// head, or at the last bytes of a request. While the connection is lent, its request was
    /// complete then.
    pub(super) waiting_since: Moment,
    /// A request of this connection was answered.
    has_served: bool,
    /// The TLS handshake is not complete.
    pub(super) is_handshaking: bool,
}

/// The origin of a connection.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) peer: Peer,
    pub(super) local: Arc<Local>,
    /// When the poller accepted it.
    pub(super) accepted_at: Moment,
}

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        write_half: Arc<WriteHalf>,
        poller: Arc<PollerLink>,
        origin: Origin,
        settings: &Arc<Settings>,
    ) -> Connection {
        let Origin { peer, local, accepted_at } = origin;
        let is_handshaking = write_half.transport().is_handshaking();
        Connection {
            id,
            http: http1::Connection::new(poller.limits_of(settings, &peer).clone()),
            write_half,
            queue: OutputQueue::default(),
            reservation: Reservation::new(poller.memory_budget.clone()),
            preamble: Preamble::of(settings, &peer),
            proxied: Proxied::new(settings, &peer),
            trace: Trace::new(poller.trace.as_ref(), settings, &peer),
            poller,
            peer,
            input: Vec::new(),
            spool: None,
            read_half: None,
            // A redirect needs no content.
            buffers_content: settings.request_buffering && local.redirect_port.is_none(),
            local,
            response_spool: None,
            started_at: accepted_at,
            head_complete_at: accepted_at,
            waiting_since: accepted_at,
            has_served: false,
            is_handshaking,
        }
    }

    /// Reports the bytes that the connection holds to the memory budget, and rejects a request that
    /// needs more while the budget is exceeded. Most requests have a small head and no content, and
    /// report nothing.
    fn keep_within_budget(&mut self, parsed: &mut Parsed) {
        let is_empty =
            self.input.capacity() == 0 && self.spool.is_none() && self.http.held_bytes() == 0;
        if !(is_empty && self.reservation.is_empty()) {
            self.charge_for(parsed);
        }
    }

    #[cold]
    fn charge_for(&mut self, parsed: &mut Parsed) {
        self.charge();
        if matches!(parsed, Parsed::NeedMore) {
            if self.reservation.is_over_hard_limit() {
                *parsed = Rejection::Memory.into();
            } else if self.reservation.is_over_spool_limit() {
                *parsed = Rejection::SpoolLimit.into();
            }
        }
    }

    /// Drops the content of a rejected request and the input behind it: its client may stay
    /// connected for a while.
    pub(super) fn discard_content(&mut self) {
        self.spool = None;
        self.input = Vec::new();
        self.charge();
    }

    pub(super) fn charge(&mut self) {
        let (memory, stored) =
            self.spool.as_ref().map_or((0, 0), |spool| (spool.memory(), spool.stored()));
        self.reservation.set(self.http.held_bytes() + self.input.capacity() + memory, stored);
    }

    /// Takes the complete content of the request.
    pub fn take_body(&mut self) -> Body {
        self.spool.take().map_or(Body::Empty, |mut spool| spool.take())
    }

    /// True if the client has sent bytes that belong to no request yet.
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// True if a request of the connection was answered.
    pub(super) fn has_served(&self) -> bool {
        self.has_served
    }

    /// True if the connection has answered a request and waits for the first byte of the next one.
    pub(super) fn is_kept_alive(&self) -> bool {
        self.has_served && self.http.is_idle()
    }

    /// What the connection waits for while it reads.
    pub(super) fn waiting(&self) -> Waiting {
        let awaited = if self.http.wants_content() {
            Awaited::Content
        } else if !self.http.is_idle() || self.has_input() {
            Awaited::Head
        } else if self.has_served {
            Awaited::NextRequest
        } else {
            Awaited::FirstRequest
        };
        Waiting { awaited, since: self.waiting_since }
    }

    /// What the application sees of the TLS session; `None` if there is none.
    pub fn tls_variables(&self) -> Option<&Arc<[Variable]>> {
        self.write_half.transport().variables()
    }

    /// How often each limit of the worker was reached.
    pub fn counters(&self) -> &Counters {
        &self.poller.counters
    }

    /// True once the server shuts down: this connection serves no further request.
    pub fn is_server_stopping(&self) -> bool {
        self.poller.is_shutting_down()
    }

    /// Prepares for the next request; returns whether one may follow.
    pub(super) fn start_next(&mut self, now: Moment) -> http1::Next {
        self.spool = None;
        self.proxied.start_next();
        self.trace.start_next();
        self.response_spool = None;
        self.write_half.start_next();
        self.waiting_since = now;
        self.has_served = true;
        let next = self.http.start_next();
        if !self.reservation.is_empty() {
            self.charge();
        }
        next
    }

    /// Logs the request that was just answered: calls `log` with its record.
    pub fn log_access(
        &self,
        response: &ResponseHead,
        environ: &[(String, String)],
        log: impl FnOnce(&Record<'_>),
    ) {
        let Connection { http, peer, proxied, trace, .. } = self;
        let exchange = LoggedExchange { http, peer, proxied, trace, started_at: self.started_at };
        exchange.log(response, environ, log);
    }
}
