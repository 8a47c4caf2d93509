//! One client connection: its protocol state, its unparsed bytes, and the request body received so
//! far.
//!
//! A connection has exactly one owner at any time: the poller while it reads, a worker thread while
//! its request runs. So it needs no lock; only its [`WriteHalf`] is shared.

mod output;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::address::{Local, Peer};
use super::arena::ConnectionId;
use super::body::{Body, Spool};
use super::memory_budget::Reservation;
use super::output_queue::OutputQueue;
pub(super) use super::parsed::{Parsed, Rejection};
use super::poller_link::PollerLink;
use super::response_spool::ResponseSpool;
use super::tuning::{MIN_INPUT_BUFFER, SMALL_BODY};
use super::waiting::{Awaited, Waiting};
use super::write_half::WriteHalf;
use super::write_pace::WritePace;
use crate::config::{Settings, Timeouts};
use crate::http1::{self, Event, Limits, ResponseHead, Underscores};
use crate::observe::Record;
use crate::sys::clock::{self, wall_clock};

/// What the poller lends to a worker thread for one request, and gets back with the response.
///
/// With HTTP/1.1 that is the whole connection. HTTP/2 will lend one stream while the connection
/// stays with the poller: this becomes an enum of the two then. The scheduler and the dispatcher
/// treat it as opaque. `worker::exchange` implements the trait `wsgi::Exchange` for it, which is
/// all that the WSGI layer knows. An exchange consists of these parts of a connection: `http` (the
/// head of the request, the framing of the response), `body`, `queue` with its `write_half`,
/// `peer`, `local`, `response_spool` and `write_pace`.
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
    poller: Arc<PollerLink>,
    /// The client's address.
    pub peer: Peer,
    /// The server's address that the client connected to.
    pub local: Arc<Local>,
    /// Bytes received but not parsed: the start of a head, or requests sent ahead.
    input: Vec<u8>,
    /// The content of the request, once it is complete.
    pub body: Body,
    /// The content while it arrives.
    spool: Spool,
    /// The bytes of `http`, `input`, `body` and `spool`, as the memory budget counts them.
    reservation: Reservation,
    /// Takes unsent output of the response that does not fit into memory.
    response_spool: ResponseSpool,
    /// How slowly the client may read its response.
    write_pace: WritePace,
    /// Wall clock time of the request's first byte, for the access log.
    started: SystemTime,
    /// Steady clock time of the same.
    started_at: Instant,
    /// When the request's head was complete.
    head_complete_at: Instant,
    /// When the current wait began: at the end of the previous request, at the first byte of a
    /// head, or at the last byte of content received.
    waiting_since: Instant,
    /// Requests of this connection that were answered.
    served: u64,
}

/// The origin of a connection.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) peer: Peer,
    pub(super) local: Arc<Local>,
    /// When the poller accepted it.
    pub(super) accepted_at: Instant,
}

/// The limits for a client. For a trusted proxy, the parser keeps fields with an underscore even if
/// they are refused: `dispatch` refuses those that the proxy may not set.
fn limits(settings: &Settings, peer: &Peer) -> Limits {
    let mut limits = settings.limits;
    if limits.underscores == Underscores::Refuse
        && settings.trusts(peer.0.map(|address| address.ip()))
    {
        limits.underscores = Underscores::Drop;
    }
    limits
}

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        write_half: Arc<WriteHalf>,
        poller: Arc<PollerLink>,
        origin: Origin,
        settings: &Settings,
    ) -> Connection {
        let Origin { peer, local, accepted_at: now } = origin;
        Connection {
            id,
            http: http1::Connection::new(limits(settings, &peer)),
            write_half,
            queue: OutputQueue::default(),
            reservation: Reservation::new(poller.memory_budget.clone()),
            poller,
            peer,
            local,
            input: Vec::new(),
            body: Body::Empty,
            spool: Spool::default(),
            response_spool: ResponseSpool::new(settings.response_spool),
            write_pace: WritePace::from(&settings.timeouts),
            started: SystemTime::UNIX_EPOCH,
            started_at: now,
            head_complete_at: now,
            waiting_since: now,
            served: 0,
        }
    }

    /// Parses bytes from the socket, and keeps those behind the request for later. Content longer
    /// than `body_buffer` bytes goes to a file.
    pub(super) fn feed(&mut self, bytes: &[u8], body_buffer: usize, now: Instant) -> Parsed {
        if self.input.is_empty() {
            let (used, mut parsed) = self.parse(bytes, body_buffer, now);
            self.input.extend_from_slice(&bytes[used..]);
            self.keep_within_budget(&mut parsed);
            parsed
        } else {
            self.input.extend_from_slice(bytes);
            self.resume(body_buffer, now)
        }
    }

    /// Parses bytes that were received earlier, such as a pipelined request.
    pub(super) fn resume(&mut self, body_buffer: usize, now: Instant) -> Parsed {
        let input = std::mem::take(&mut self.input);
        let (used, mut parsed) = self.parse(&input, body_buffer, now);
        self.input = input;
        if used == self.input.len() {
            // An idle connection keeps no buffer.
            self.input = Vec::new();
        } else {
            self.input.drain(..used);
            // A few bytes behind a large head would hold the buffer of that head.
            if self.input.capacity() / 4 > self.input.len() + MIN_INPUT_BUFFER {
                self.input.shrink_to_fit();
            }
        }
        self.keep_within_budget(&mut parsed);
        parsed
    }

    /// Reports the bytes that the connection holds to the memory budget, and rejects a request that
    /// needs more while the budget is exceeded. Most requests have a small head and no content, and
    /// report nothing.
    fn keep_within_budget(&mut self, parsed: &mut Parsed) {
        let is_empty = matches!(self.body, Body::Empty)
            && self.input.capacity() == 0
            && self.spool.is_new()
            && self.http.held_bytes() == 0;
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
        self.body = Body::Empty;
        self.spool = Spool::default();
        self.input = Vec::new();
        self.charge();
    }

    fn charge(&mut self) {
        let (memory, stored) = self.body.size();
        self.reservation.set(
            self.http.held_bytes() + self.input.capacity() + self.spool.memory() + memory,
            self.spool.stored() + stored,
        );
    }

    fn parse(&mut self, bytes: &[u8], body_buffer: usize, now: Instant) -> (usize, Parsed) {
        let mut used = 0;
        loop {
            let was_idle = self.http.is_idle();
            let (took, event) = match self.http.receive(&bytes[used..]) {
                Ok(step) => step,
                Err(error) => {
                    if was_idle {
                        (self.started, self.started_at) = (wall_clock(), now);
                    }
                    return (used, Rejection::Protocol(error).into());
                }
            };
            if was_idle && !self.http.is_idle() {
                self.started = wall_clock();
                self.started_at = now;
                self.waiting_since = now;
            }
            let from = used;
            used += took;
            match event {
                Event::NeedMore => return (used, Parsed::NeedMore),
                Event::Head => {
                    self.head_complete_at = now;
                    self.waiting_since = now;
                    let head = self.http.head();
                    if let http1::Framing::Length(length) = head.framing()
                        && length > body_buffer as u64
                        && self.reservation.memory_budget().never_fits(length)
                    {
                        return (used, Rejection::NeverSpooled.into());
                    }
                    let content = head.framing() != http1::Framing::Empty;
                    // A client that sends its content without waiting needs no 100.
                    if head.expect_continue() && content && used == bytes.len() {
                        self.queue
                            .gather(|out| out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
                    }
                }
                Event::Content(range) => {
                    self.waiting_since = now;
                    let expected = match self.http.head().framing() {
                        http1::Framing::Length(length) => length,
                        _ => 0,
                    };
                    let short = self.reservation.memory_budget().is_over_soft_limit();
                    let in_memory = if short { body_buffer.min(SMALL_BODY) } else { body_buffer };
                    let block = &bytes[from + range.start..from + range.end];
                    if let Err(error) = self.spool.push(block, expected, in_memory) {
                        return (used, Rejection::Spool(error).into());
                    }
                }
                Event::End => {
                    return match self.spool.finish() {
                        Ok(body) => {
                            self.body = body;
                            (used, Parsed::Complete)
                        }
                        Err(error) => (used, Rejection::Spool(error).into()),
                    };
                }
            }
        }
    }

    /// True if the client has sent bytes that belong to no request yet.
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// True if the connection has answered a request and waits for the first byte of the next one.
    pub(super) fn is_kept_alive(&self) -> bool {
        self.served > 0 && self.http.is_idle()
    }

    /// What the connection waits for while it reads.
    pub(super) fn waiting(&self) -> Waiting {
        let awaited = if self.http.wants_content() {
            Awaited::Content
        } else if !self.http.is_idle() || self.has_input() {
            Awaited::Head
        } else if self.served > 0 {
            Awaited::NextRequest
        } else {
            Awaited::FirstRequest
        };
        Waiting { awaited, since: self.waiting_since }
    }

    /// True once the server shuts down: this connection serves no further request.
    pub fn is_server_stopping(&self) -> bool {
        self.poller.is_shutting_down()
    }

    /// Prepares for the next request; returns whether one may follow.
    pub(super) fn start_next(&mut self, now: Instant) -> http1::Next {
        self.body = Body::Empty;
        self.response_spool.start_next();
        self.write_half.start_next();
        self.waiting_since = now;
        self.served += 1;
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
        let head = self.http.head();
        let (method, target) = (head.method(), head.raw_target());
        log(&Record {
            remote: &self.peer.address(),
            method,
            target,
            version: head.version().as_str(),
            status: response.status(),
            sent: self.http.sent_bytes(),
            started: self.started,
            elapsed: clock::now().saturating_duration_since(self.started_at),
            request_field: &|name| head.field(name.as_bytes()),
            response_field: &|name| response.field(name.as_bytes()),
            environ,
        });
    }

    /// When the connection times out unless more bytes come, while it reads.
    pub(super) fn read_deadline(&self, timeouts: &Timeouts) -> Option<Instant> {
        if self.http.wants_content() {
            let idle = self.waiting_since.checked_add(timeouts.body);
            let rate = match timeouts.body_min_rate {
                0 => None,
                rate => {
                    let earned =
                        Duration::from_secs_f64(self.http.received_bytes() as f64 / rate as f64);
                    timeouts
                        .body
                        .checked_add(earned)
                        .and_then(|due| self.head_complete_at.checked_add(due))
                }
            };
            return match (idle, rate) {
                (Some(idle), Some(rate)) => Some(idle.min(rate)),
                (idle, rate) => idle.or(rate),
            };
        }
        let timeout = if self.is_kept_alive() { timeouts.keep_alive } else { timeouts.header };
        self.waiting_since.checked_add(timeout)
    }
}
