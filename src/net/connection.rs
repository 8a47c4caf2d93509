//! One client: its protocol state, the bytes it sent ahead, the content gathered so far.
//!
//! A connection has exactly one owner at any time: the poller while it reads, a worker thread while its
//! request runs. So it needs no lock; only its [`WriteHalf`] is shared.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::body::{Body, LITTLE, Spool};
use super::listener::Local;
use super::memory_budget::Reservation;
use super::output_queue::{Flush, OutputQueue};
use super::poller::PollerHandle;
use super::write_half::{Enqueued, WriteHalf};
use crate::config::{Settings, Timeouts};
use crate::http1::{self, Event, ResponseHead};
use crate::observe::{AccessLog, Record};
use crate::sys::clock;
use crate::sys::clock::wall_clock;

/// The client's address; a unix socket's client has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub Option<SocketAddr>);

impl Peer {
    /// The address without port or brackets; empty on a unix socket.
    pub fn address(&self) -> String {
        self.0.map_or_else(String::new, |address| address.ip().to_canonical().to_string())
    }
}

/// One client's connection, boxed because it moves between threads.
#[derive(Debug)]
pub struct Connection {
    /// Its place in the poller.
    pub(super) key: (usize, u32),
    /// The protocol state of both directions.
    pub http: http1::Connection,
    /// The writing half.
    pub write_half: Arc<WriteHalf>,
    /// Response bytes not handed to the write_half yet.
    pub queue: OutputQueue,
    /// Where connections come home to.
    handle: Arc<PollerHandle>,
    /// The client's address.
    pub peer: Peer,
    /// The address it connected to.
    pub local: Arc<Local>,
    /// Received but not parsed: the start of a head, or requests sent ahead.
    pub(super) input: Vec<u8>,
    /// The request's content, once it is complete.
    pub body: Body,
    /// The content while it arrives.
    spool: Spool,
    /// What of this the worker's account knows.
    reservation: Reservation,
    /// How long the client may take nothing of what it is owed.
    pub write_timeout: Duration,
    /// When the request's first byte came, by the wall clock, for the access log.
    started: SystemTime,
    /// The same, by the steady clock.
    since: Instant,
    /// When its head was complete.
    content_since: Instant,
    /// When the first byte of the head, or the last byte of content, came.
    pub(super) mark: Instant,
    /// How many requests came before this one.
    pub(super) served: u64,
}

/// What reading came to.
#[derive(Debug)]
pub(super) enum Read {
    /// More bytes are needed.
    NeedMore,
    /// The request is complete.
    Ready,
    /// The request is refused.
    Refused(Refusal),
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It breaks the protocol or a limit.
    Protocol(http1::Error),
    /// Its content could not be stored.
    Spool(io::Error),
    /// All connections together have stored as much as they may.
    SpoolLimit,
    /// All connections together hold as much memory as they may.
    Memory,
}

impl Connection {
    pub(super) fn new(
        key: (usize, u32),
        write_half: Arc<WriteHalf>,
        handle: Arc<PollerHandle>,
        ends: (Peer, Arc<Local>),
        settings: &Settings,
        now: Instant,
    ) -> Connection {
        let (peer, local) = ends;
        Connection {
            key,
            http: http1::Connection::new(settings.limits),
            write_half,
            queue: OutputQueue::default(),
            reservation: Reservation::new(handle.memory_budget.clone()),
            handle,
            peer,
            local,
            input: Vec::new(),
            body: Body::Empty,
            spool: Spool::default(),
            write_timeout: settings.timeouts.write,
            started: SystemTime::UNIX_EPOCH,
            since: now,
            content_since: now,
            mark: now,
            served: 0,
        }
    }

    /// Takes bytes from the socket. What belongs to the future is kept.
    pub(super) fn feed(&mut self, bytes: &[u8], memory: usize, now: Instant) -> Read {
        if self.input.is_empty() {
            let (used, mut read) = self.parse(bytes, memory, now);
            self.input.extend_from_slice(&bytes[used..]);
            self.keep_within_budget(&mut read);
            read
        } else {
            self.input.extend_from_slice(bytes);
            self.resume(memory, now)
        }
    }

    /// Parses what is at hand already, as when a further request was sent ahead.
    pub(super) fn resume(&mut self, memory: usize, now: Instant) -> Read {
        let input = std::mem::take(&mut self.input);
        let (used, mut read) = self.parse(&input, memory, now);
        self.input = input;
        if used == self.input.len() {
            // An idle connection keeps no buffer.
            self.input = Vec::new();
        } else {
            self.input.drain(..used);
        }
        self.keep_within_budget(&mut read);
        read
    }

    /// Tells the worker's account what is held now. A request that needs more while there is none is
    /// refused. Most hold nothing, and nobody has to be told.
    fn keep_within_budget(&mut self, read: &mut Read) {
        let nothing =
            matches!(self.body, Body::Empty) && self.input.capacity() == 0 && self.spool.is_new();
        if !(nothing && self.reservation.is_nothing()) {
            self.charge_for(read);
        }
    }

    #[cold]
    fn charge_for(&mut self, read: &mut Read) {
        self.account();
        if matches!(read, Read::NeedMore) {
            if self.reservation.is_over() {
                *read = Read::Refused(Refusal::Memory);
            } else if self.reservation.is_spool_over() {
                *read = Read::Refused(Refusal::SpoolLimit);
            }
        }
    }

    /// Gives up what was sent of a request that is refused: its client may stay for a while.
    pub(super) fn discard(&mut self) {
        self.body = Body::Empty;
        self.spool = Spool::default();
        self.account();
    }

    fn account(&mut self) {
        let (memory, stored) = self.body.size();
        self.reservation.set(
            self.input.capacity() + self.spool.memory() + memory,
            self.spool.stored() + stored,
        );
    }

    fn parse(&mut self, bytes: &[u8], memory: usize, now: Instant) -> (usize, Read) {
        let mut used = 0;
        loop {
            let was_idle = self.http.is_idle();
            let (took, event) = match self.http.receive(&bytes[used..]) {
                Ok(step) => step,
                Err(error) => {
                    if was_idle {
                        (self.started, self.since) = (wall_clock(), now);
                    }
                    return (used, Read::Refused(Refusal::Protocol(error)));
                }
            };
            if was_idle && !self.http.is_idle() {
                self.started = wall_clock();
                self.since = now;
                self.mark = now;
            }
            let from = used;
            used += took;
            match event {
                Event::NeedMore => return (used, Read::NeedMore),
                Event::Head => {
                    self.content_since = now;
                    self.mark = now;
                    let head = self.http.head();
                    if let http1::Framing::Length(length) = head.framing()
                        && length > memory as u64
                        && self.reservation.memory_budget().never_fits(length)
                    {
                        return (
                            used,
                            Read::Refused(Refusal::Protocol(http1::Error::BodyTooLarge)),
                        );
                    }
                    let content = head.framing() != http1::Framing::Empty;
                    // Whoever sends content without waiting does not need to be told to.
                    if head.expect_continue() && content && used == bytes.len() {
                        self.queue
                            .gather(|out| out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
                    }
                }
                Event::Content(range) => {
                    self.mark = now;
                    let expected = match self.http.head().framing() {
                        http1::Framing::Length(length) => length,
                        _ => 0,
                    };
                    // From half of what there is on, only what is really small stays in memory.
                    let tight = self.reservation.memory_budget().is_tight();
                    let memory = if tight { memory.min(LITTLE) } else { memory };
                    let block = &bytes[from + range.start..from + range.end];
                    if let Err(error) = self.spool.push(block, expected, memory) {
                        return (used, Read::Refused(Refusal::Spool(error)));
                    }
                }
                Event::End => {
                    return match self.spool.finish() {
                        Ok(body) => {
                            self.body = body;
                            (used, Read::Ready)
                        }
                        Err(error) => (used, Read::Refused(Refusal::Spool(error))),
                    };
                }
            }
        }
    }

    /// True if the client has sent bytes that no request has used.
    pub(super) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// True once the server was told to stop: no further request is taken on this connection.
    pub fn is_server_stopping(&self) -> bool {
        self.handle.is_stopping()
    }

    /// Leaves what is queued to whoever polls next, which is the thread that runs this request when it
    /// is done with others as well, or another one within a tick if it is not done by then. So the
    /// responses of a batch go out together, after the interpreter was let go, and so do the blocks of a
    /// generator that makes them faster than that. Fails if the client is gone.
    pub fn send_soon(&mut self) -> io::Result<()> {
        if self.queue.is_empty() {
            return Ok(());
        }
        let at_hand = match self.write_half.enqueue(&mut self.queue)? {
            Enqueued::FlushNow => false,
            Enqueued::Scheduled => !self.handle.is_blocked(),
            Enqueued::Unscheduled => self.handle.hold(&self.write_half),
        };
        // What is left of a turn's worth would be told by no event.
        while !at_hand && self.write_half.flush()? == Flush::More {}
        Ok(())
    }

    /// For the poller: sends what is queued, a turn's worth at most. What follows is up to
    /// [`Connection::start_next`], at once if all is sent.
    pub(super) fn send(&mut self) -> io::Result<Flush> {
        if self.http.is_finished() {
            self.write_half.send_last(&mut self.queue)
        } else {
            self.write_half.send(&mut self.queue)
        }
    }

    /// Makes ready for the next request; returns whether there may be one.
    pub(super) fn start_next(&mut self, now: Instant) -> http1::Next {
        self.body = Body::Empty;
        if !self.reservation.is_nothing() {
            self.account();
        }
        self.mark = now;
        self.served += 1;
        self.http.start_next()
    }

    /// Writes the access log's line for the exchange that just ended.
    pub fn log_access(
        &self,
        log: &AccessLog,
        response: &ResponseHead,
        environ: &[(String, String)],
    ) {
        let head = self.http.head();
        let (method, target) = (head.method(), head.raw_target());
        log.log(&Record {
            remote: &self.peer.address(),
            method,
            target,
            version: head.version().as_str(),
            status: response.status(),
            sent: self.http.sent_bytes(),
            started: self.started,
            elapsed: clock::now().saturating_duration_since(self.since),
            request_field: &|name| head.field(name.as_bytes()),
            response_field: &|name| response.field(name.as_bytes()),
            environ,
        });
    }

    /// When this connection is overdue, if nothing more comes, while it reads.
    pub(super) fn read_deadline(&self, timeouts: &Timeouts) -> Option<Instant> {
        if self.http.wants_content() {
            let idle = self.mark.checked_add(timeouts.body);
            let rate = match timeouts.body_min_rate {
                0 => None,
                rate => {
                    let earned =
                        Duration::from_secs_f64(self.http.received_bytes() as f64 / rate as f64);
                    timeouts
                        .body
                        .checked_add(earned)
                        .and_then(|due| self.content_since.checked_add(due))
                }
            };
            return match (idle, rate) {
                (Some(idle), Some(rate)) => Some(idle.min(rate)),
                (idle, rate) => idle.or(rate),
            };
        }
        let idle = self.http.is_idle() && self.served > 0;
        self.mark.checked_add(if idle { timeouts.keep_alive } else { timeouts.header })
    }
}
