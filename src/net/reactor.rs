//! The readiness loop: what the kernel reports becomes complete requests, and responses that did not
//! fit into a socket at once are sent on.
//!
//! Whoever calls [`Reactor::turn`] is the poller for that long. A turn waits for events, reads, parses, and
//! hands out the connections whose request is complete. Those are *lent*: their slot only remembers what
//! the kernel says about them until [`Remote::give_back`] brings them home. Readiness is
//! edge-triggered and both directions are registered once, so a kept-alive request costs no
//! registration at all.

use std::io::{self, Read as _};
use std::os::fd::AsRawFd;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use log::{debug, error, info, warn};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::connection::{Connection, Peer, Read, Refusal};
use super::date::{HttpDate, wall_clock};
use super::listener::{Listener, Local};
use super::outlet::{Flush, Outlet};
use super::timers::{Deadline, Key, Timers};
use crate::config::Settings;
use crate::http1::{Next, ResponseHead};
use crate::observe::AccessLog;
use crate::sync::{AtomicBool, Mutex, Ordering};

const WAKE: Token = Token(usize::MAX);
/// Listener `i` has the token `LISTENERS - i`.
const LISTENERS: usize = usize::MAX - 1;
/// Bytes read by one call.
const READ: usize = 64 * 1024;
/// Bytes read from one connection in one turn.
const READ_TURN: usize = 256 * 1024;
/// Connections accepted from one listener in one turn.
const ACCEPT_TURN: usize = 128;
/// How long accepting pauses when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a process without a free thread leaves new connections to its siblings. One of them that is idle
/// takes them at once; if nobody is, waiting in the kernel's queue is no worse than waiting in ours.
const HOLD_OFF: Duration = Duration::from_millis(100);
/// A closing connection with unread input is read on for so long and so far, so that the client gets
/// the response before the reset that closing would cause. [RFC 9112 section 9.6]
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;
/// How long a connection that never made a request may still make one while the server stops.
const LAST_CALL: Duration = Duration::from_secs(1);

/// What a slot's connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Free,
    /// Waiting for a request or the rest of one.
    Reading,
    /// With a worker thread.
    Lent,
    /// The response is complete; part of it waits for the socket.
    Sending,
    /// The response is sent, the sending side is shut; input is discarded, so many bytes at most.
    Lingering(usize),
}

#[derive(Debug)]
struct Slot {
    /// Tells this connection's events from those of the slot's former tenants.
    generation: u32,
    phase: Phase,
    /// At home unless lent.
    connection: Option<Box<Connection>>,
    /// The poller's access to the writing half, also while the connection is lent.
    outlet: Option<Arc<Outlet>>,
    /// The socket may have something to read.
    readable: bool,
    /// The client has shut its sending side: reading ends in EOF and no further edge will come.
    half_closed: bool,
    /// It is in the list of those that go on without a further event.
    again: bool,
    deadline: Deadline,
}

/// What other threads may ask of the reactor.
#[derive(Debug)]
pub struct Remote {
    waker: Waker,
    homecomers: Mutex<Vec<Box<Connection>>>,
    /// Outlets of lent connections with something to be sent.
    held: Mutex<Vec<Arc<Outlet>>>,
    /// The poller is, or is about to be, blocked in the kernel.
    polling: AtomicBool,
    stop: AtomicBool,
    /// Stopping may take its time: see [`Remote::retire`].
    gently: AtomicBool,
}

impl Remote {
    /// Brings a connection home whose request has been answered, or whose response was aborted. What is in
    /// its queue is sent by the poller's next turn, which [`Remote::nudge`] brings about.
    pub fn give_back(&self, connection: Box<Connection>) {
        self.homecomers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    /// Has the next turn send what waits in an outlet. Returns false if whoever polls is blocked and would not
    /// see to it.
    pub(super) fn hold(&self, outlet: &Arc<Outlet>) -> bool {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(outlet.clone());
        !self.is_blocked()
    }

    /// True if the poller is blocked in the kernel, or about to be.
    pub(super) fn is_blocked(&self) -> bool {
        self.polling.load(Ordering::SeqCst)
    }

    /// Wakes the poller up if connections wait for it to turn.
    pub fn nudge(&self) {
        if self.is_blocked() && self.has_homecomers() {
            self.wake();
        }
    }

    /// Stops accepting and lets the connections run out.
    pub fn stop(&self) {
        self.gently.store(false, Ordering::SeqCst);
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// As [`Remote::stop`], for a process that others replace: a connection that waits for its next
    /// request is not closed under a client that may be sending it just now. It ends with the response to
    /// that request, or when it has been idle for as long as it may.
    pub fn retire(&self) {
        self.gently.store(true, Ordering::SeqCst);
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    fn is_gentle(&self) -> bool {
        self.gently.load(Ordering::SeqCst)
    }

    /// True once [`Remote::stop`] was called.
    pub fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Ends the current or the next wait of [`Reactor::turn`].
    pub fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            warn!("cannot wake the poller: {error}");
        }
        #[cfg(all(test, shuttle))]
        crate::sync::kernel::changed();
    }

    fn take(&self) -> Vec<Box<Connection>> {
        std::mem::take(&mut *self.homecomers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn has_homecomers(&self) -> bool {
        !self.homecomers.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn has_held(&self) -> bool {
        !self.held.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// The loop's state. One thread at a time calls it.
#[derive(Debug)]
pub struct Reactor {
    poll: Poll,
    events: Events,
    remote: Arc<Remote>,
    settings: Arc<Settings>,
    access_log: Option<Arc<AccessLog>>,
    listeners: Vec<(Listener, Arc<Local>)>,
    /// Listeners that may have more connections waiting.
    to_accept: Vec<usize>,
    /// Accepting is paused until then.
    accept_pause: Option<Instant>,
    /// See [`Reactor::set_room`].
    room: Option<usize>,
    /// New connections are left to other processes until then.
    hold_off: Option<Instant>,
    /// The last turn has left new connections to other processes.
    has_passed: bool,
    slots: Vec<Slot>,
    free: Vec<usize>,
    timers: Timers,
    /// Connections that gave way to others and go on without a further event.
    again: Vec<Key>,
    scratch: Box<[u8]>,
    date: HttpDate,
    now: Instant,
    draining: bool,
    /// Connections that wait for their next request are left alone while draining.
    gentle: bool,
}

impl Reactor {
    /// Registers the listeners. Fails as the system does.
    pub fn new(
        listeners: Vec<Listener>,
        settings: Arc<Settings>,
        access_log: Option<Arc<AccessLog>>,
    ) -> io::Result<(Reactor, Arc<Remote>)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let mut registered = Vec::new();
        for (i, mut listener) in listeners.into_iter().enumerate() {
            poll.registry().register(
                listener.source(),
                Token(LISTENERS - i),
                Interest::READABLE,
            )?;
            let local = Arc::new(listener.local(i));
            registered.push((listener, local));
        }
        let remote = Arc::new(Remote {
            waker,
            homecomers: Mutex::default(),
            held: Mutex::default(),
            polling: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            gently: AtomicBool::new(false),
        });
        let reactor = Reactor {
            poll,
            events: Events::with_capacity(256),
            remote: remote.clone(),
            settings,
            access_log,
            // A listener that had clients waiting before it was registered reports no edge for them.
            to_accept: (0..registered.len()).collect(),
            listeners: registered,
            accept_pause: None,
            room: None,
            hold_off: None,
            has_passed: false,
            slots: Vec::new(),
            free: Vec::new(),
            timers: Timers::default(),
            again: Vec::new(),
            scratch: vec![0; READ].into_boxed_slice(),
            date: HttpDate::default(),
            now: Instant::now(),
            draining: false,
            gentle: false,
        };
        Ok((reactor, remote))
    }

    /// True once the server was told to stop and no connection is left.
    pub fn is_finished(&self) -> bool {
        self.draining && self.open() == 0
    }

    /// Connections that are open, lent ones included.
    pub fn open(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many requests would find a free thread, if other processes accept from the same sockets. Then no
    /// more connections are accepted in one turn than there is room for, and without room they are left
    /// to the others for a moment. The readiness that was reported is kept, so that nothing is lost
    /// should all be busy.
    pub fn set_room(&mut self, room: Option<usize>) {
        self.room = room;
        if room != Some(0) {
            self.hold_off = None;
        }
    }

    /// Waits for events at most `patience` long, deals with them, and appends the connections whose
    /// request is complete to `ready`.
    pub fn turn(
        &mut self,
        patience: Option<Duration>,
        ready: &mut Vec<Box<Connection>>,
    ) -> io::Result<()> {
        // Responses first: whoever ran their requests left them to be sent without the interpreter.
        self.now = Instant::now();
        self.welcome(ready);
        if self.is_finished() {
            // The last connection has just closed: there is nothing left to wait for.
            return Ok(());
        }
        self.wait(if ready.is_empty() { patience } else { Some(Duration::ZERO) })?;
        self.now = Instant::now();
        // Those that gave way go on behind the others, and once a turn.
        let again = std::mem::take(&mut self.again);
        for key in &again {
            self.slots[key.0].again = false;
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            match event.token() {
                WAKE => {}
                Token(token)
                    if token > LISTENERS - self.listeners.len().max(1) && token <= LISTENERS =>
                {
                    self.to_accept.push(LISTENERS - token);
                }
                Token(token) => self.note(token, event, ready),
            }
        }
        self.events = events;
        let gentle = self.remote.is_gentle();
        if self.remote.is_stopping() && (!self.draining || self.gentle && !gentle) {
            self.gentle = gentle;
            self.drain(ready);
        }
        for key in again {
            if self.is_current(key) {
                self.proceed(key, ready);
            }
        }
        self.welcome(ready);
        self.expire(ready);
        self.accept(ready.len());
        Ok(())
    }

    fn welcome(&mut self, ready: &mut Vec<Box<Connection>>) {
        for connection in self.remote.take() {
            self.come_home(connection, ready);
        }
        // Those that came home have sent theirs.
        let held =
            std::mem::take(&mut *self.remote.held.lock().unwrap_or_else(PoisonError::into_inner));
        for outlet in held {
            outlet.flush_held();
        }
        if let Some(log) = &self.access_log {
            log.flush();
        }
    }

    fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let may_accept = !self.to_accept.is_empty()
            && self.accept_pause.is_none()
            && self.hold_off.is_none()
            && self.has_room();
        let busy = may_accept || !self.again.is_empty();
        self.remote.polling.store(true, Ordering::SeqCst);
        let timeout = if busy || self.remote.has_homecomers() || self.remote.has_held() {
            Some(Duration::ZERO)
        } else {
            let deadline =
                [self.timers.next(), self.accept_pause, self.hold_off].into_iter().flatten().min();
            // Rounded up, or the loop would turn idly during a deadline's last millisecond.
            let until = deadline
                .map(|at| at.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
            [until, patience].into_iter().flatten().min()
        };
        let polled = wait_for_events(&mut self.poll, &mut self.events, timeout);
        self.remote.polling.store(false, Ordering::SeqCst);
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            polled => polled,
        }
    }

    /// Remembers what the kernel reports about a connection, and acts on it if it is at home.
    fn note(&mut self, token: usize, event: &mio::event::Event, ready: &mut Vec<Box<Connection>>) {
        let key = (token & 0xffff_ffff, (token >> 32) as u32);
        if !self.is_current(key) {
            return;
        }
        let slot = &mut self.slots[key.0];
        slot.half_closed |= event.is_read_closed();
        slot.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        if slot.phase == Phase::Lent {
            if event.is_error() || (event.is_write_closed() && event.is_read_closed()) {
                if let Some(outlet) = &slot.outlet {
                    outlet.fail();
                }
            } else if event.is_writable() {
                self.flush_lent(key);
            }
            return;
        }
        self.proceed(key, ready);
    }

    /// Sends on for a response in the making. Always asks the outlet itself: what it mirrors may be stale
    /// while another thread is in the middle of sending, and this edge would be lost.
    fn flush_lent(&mut self, key: Key) {
        if let Some(outlet) = &self.slots[key.0].outlet
            && outlet.flush().is_ok_and(|flush| flush == Flush::More)
        {
            self.go_on_later(key);
        }
    }

    fn go_on_later(&mut self, key: Key) {
        let slot = &mut self.slots[key.0];
        if !std::mem::replace(&mut slot.again, true) {
            self.again.push(key);
        }
    }

    fn is_current(&self, key: Key) -> bool {
        self.slots
            .get(key.0)
            .is_some_and(|slot| slot.generation == key.1 && slot.phase != Phase::Free)
    }

    /// Does whatever the connection's phase calls for.
    fn proceed(&mut self, key: Key, ready: &mut Vec<Box<Connection>>) {
        match self.slots[key.0].phase {
            Phase::Reading => {
                // A 100 Continue that the socket did not take.
                if let Some(outlet) = &self.slots[key.0].outlet
                    && outlet.has_waiting()
                    && outlet.flush().is_err()
                {
                    return self.reset(key);
                }
                self.read(key, ready);
            }
            Phase::Sending => self.send_on(key, ready),
            Phase::Lingering(left) => self.linger_on(key, left),
            Phase::Lent => self.flush_lent(key),
            Phase::Free => {}
        }
    }

    // Accepting

    /// While draining there is always room: whoever waits in the kernel when the listener closes is
    /// reset, and there are no more of them than the backlog holds.
    fn has_room(&self) -> bool {
        self.draining || self.open() < self.settings.worker_connections
    }

    /// `found` is how many requests this turn has found for the room there is.
    fn accept(&mut self, found: usize) {
        if self.accept_pause.is_some_and(|until| self.now < until) {
            return;
        }
        self.accept_pause = None;
        if !self.draining && !self.to_accept.is_empty() && self.must_hold_off(found) {
            return;
        }
        self.hold_off = None;
        self.has_passed = false;
        for index in std::mem::take(&mut self.to_accept) {
            if !self.to_accept.contains(&index) && self.accept_from(index) {
                self.to_accept.push(index);
            }
        }
    }

    /// True while new connections are left to other processes: for a moment if no thread is free, for one
    /// turn if those that are have something to do now, as that may be short.
    fn must_hold_off(&mut self, found: usize) -> bool {
        match self.room {
            Some(0) => self.now < *self.hold_off.get_or_insert(self.now + HOLD_OFF),
            Some(room) if found >= room => !std::mem::replace(&mut self.has_passed, true),
            _ => false,
        }
    }

    /// Accepts what is waiting at one listener; true if there may be more.
    fn accept_from(&mut self, index: usize) -> bool {
        let most = match self.room {
            Some(room @ 1..) if !self.draining => room.min(ACCEPT_TURN),
            _ => ACCEPT_TURN,
        };
        for _ in 0..most {
            if !self.has_room() {
                return true;
            }
            let Some((listener, local)) = self.listeners.get(index) else { return false };
            match listener.accept() {
                Ok((socket, peer)) => {
                    let local = local.clone();
                    if let Err(error) = self.admit(socket, peer, local) {
                        warn!("cannot register a connection: {error}");
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return false,
                    // The client gave up between its connect and our accept.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    // Out of descriptors or memory, or the listener is broken: trying again at once
                    // would spin.
                    _ => {
                        warn!(
                            "accepting is paused: {error} ({} connections are open)",
                            self.open()
                        );
                        self.accept_pause = Some(self.now + ACCEPT_PAUSE);
                        return true;
                    }
                },
            }
        }
        true
    }

    fn admit(&mut self, socket: socket2::Socket, peer: Peer, local: Arc<Local>) -> io::Result<()> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                phase: Phase::Free,
                connection: None,
                outlet: None,
                readable: false,
                half_closed: false,
                again: false,
                deadline: Deadline::default(),
            });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1) & 0x7fff_ffff;
        let key = (index, slot.generation);
        let token = Token(index | (key.1 as usize) << 32);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) =
            self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), token, interest)
        {
            self.free.push(index);
            return Err(error);
        }
        let outlet = Arc::new(Outlet::new(socket));
        let connection = Connection::new(
            key,
            outlet.clone(),
            self.remote.clone(),
            (peer, local),
            &self.settings,
            self.now,
        );
        let due = connection.read_deadline(&self.settings.timeouts);
        slot.phase = Phase::Reading;
        slot.connection = Some(Box::new(connection));
        slot.outlet = Some(outlet);
        slot.readable = false;
        slot.half_closed = false;
        slot.again = false;
        slot.deadline = Deadline::default();
        self.timers.set(key, &mut slot.deadline, due);
        Ok(())
    }

    // Reading

    fn read(&mut self, key: Key, ready: &mut Vec<Box<Connection>>) {
        let mut total = 0;
        while self.slots[key.0].readable {
            let slot = &mut self.slots[key.0];
            let (Some(connection), Some(outlet)) = (&mut slot.connection, &slot.outlet) else {
                return;
            };
            let count = match outlet.socket().read(&mut self.scratch) {
                Ok(0) => {
                    if !connection.http.is_idle() || connection.has_input() {
                        debug!("{} left in the middle of a request", connection.peer.address());
                    }
                    return self.close(key);
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    slot.readable = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    debug!("{}: {error}", connection.peer.address());
                    return self.close(key);
                }
            };
            // A short read has emptied the socket: the next byte will make a new edge.
            slot.readable = count == self.scratch.len() || slot.half_closed;
            let read = connection.feed(&self.scratch[..count], self.settings.body_buffer, self.now);
            if !self.digest(key, read, ready) {
                return;
            }
            total += count;
            if total >= READ_TURN && self.slots[key.0].readable {
                self.go_on_later(key);
                break;
            }
        }
        self.set_read_deadline(key);
    }

    /// Acts on what was parsed; true if the connection wants to read more.
    fn digest(&mut self, key: Key, read: Read, ready: &mut Vec<Box<Connection>>) -> bool {
        match read {
            Read::NeedMore => {
                let Some(connection) = &mut self.slots[key.0].connection else { return false };
                // A 100 Continue, if anything.
                if !connection.queue.is_empty()
                    && connection.outlet.send(&mut connection.queue).is_err()
                {
                    self.close(key);
                    return false;
                }
                true
            }
            Read::Ready => {
                self.lend(key, ready);
                false
            }
            Read::Refused(refusal) => {
                self.refuse(key, &refusal, ready);
                false
            }
        }
    }

    fn lend(&mut self, key: Key, ready: &mut Vec<Box<Connection>>) {
        let slot = &mut self.slots[key.0];
        if let Some(mut connection) = slot.connection.take() {
            if self.draining || self.settings.timeouts.keep_alive.is_zero() {
                connection.http.close_after_response();
            }
            slot.phase = Phase::Lent;
            self.timers.set(key, &mut slot.deadline, None);
            ready.push(connection);
        }
    }

    fn set_read_deadline(&mut self, key: Key) {
        let slot = &mut self.slots[key.0];
        if let Some(connection) = &slot.connection {
            let mut due = connection.read_deadline(&self.settings.timeouts);
            if self.draining && !self.gentle && connection.http.is_idle() {
                let last_call = self.now + LAST_CALL;
                due = Some(due.map_or(last_call, |due| due.min(last_call)));
            }
            self.timers.set(key, &mut slot.deadline, due);
        }
    }

    // Answering without the application

    fn refuse(&mut self, key: Key, refusal: &Refusal, ready: &mut Vec<Box<Connection>>) {
        let (status, reason, detail) = match refusal {
            Refusal::Protocol(error) => {
                let (status, reason) = error.status();
                (status, reason, error.to_string())
            }
            Refusal::Spool(error) => {
                log::error!("cannot store a request body in a temporary file: {error}");
                (507, "Insufficient Storage", "the request content cannot be stored".to_owned())
            }
        };
        self.answer(key, status, reason, &detail, ready);
    }

    /// Sends a complete, small response and closes.
    fn answer(
        &mut self,
        key: Key,
        status: u16,
        reason: &str,
        detail: &str,
        ready: &mut Vec<Box<Connection>>,
    ) {
        let slot = &mut self.slots[key.0];
        let Some(connection) = &mut slot.connection else { return };
        info!("refused a request from {:?}: {status} {detail}", connection.peer.address());
        connection.http.refuse();
        let response = error_response(status, reason);
        let page = format!("{status} {reason}: {detail}\n");
        let date = self.date.at(wall_clock());
        let Connection { http, queue, .. } = &mut **connection;
        queue.gather(|out| {
            http.begin(&response, Some(page.len() as u64), date, out);
            if http.frame(page.len()).take > 0 {
                out.extend_from_slice(page.as_bytes());
            }
            let _ = http.finish(out);
        });
        if let Some(log) = &self.access_log {
            connection.log_access(log, &response, &[]);
            log.flush();
        }
        let sent = connection.outlet.send(&mut connection.queue);
        slot.phase = Phase::Sending;
        self.follow_up(key, sent, ready);
    }

    // Sending and what follows

    fn come_home(&mut self, mut connection: Box<Connection>, ready: &mut Vec<Box<Connection>>) {
        let key = connection.key;
        let sent = connection.outlet.send(&mut connection.queue);
        let slot = &mut self.slots[key.0];
        slot.connection = Some(connection);
        slot.phase = Phase::Sending;
        self.follow_up(key, sent, ready);
    }

    fn send_on(&mut self, key: Key, ready: &mut Vec<Box<Connection>>) {
        let Some(outlet) = &self.slots[key.0].outlet else { return };
        let sent = outlet.flush();
        self.follow_up(key, sent, ready);
    }

    /// What becomes of a connection that was sent a response, or part of it.
    fn follow_up(&mut self, key: Key, sent: io::Result<Flush>, ready: &mut Vec<Box<Connection>>) {
        let slot = &mut self.slots[key.0];
        let (Some(outlet), Some(connection)) = (&slot.outlet, &slot.connection) else { return };
        match sent {
            Ok(Flush::Done) => self.settle(key, ready),
            Ok(flush) => {
                let due = outlet.progress().checked_add(self.settings.timeouts.write);
                self.timers.set(key, &mut slot.deadline, due);
                if flush == Flush::More {
                    self.go_on_later(key);
                }
            }
            Err(error) => {
                let peer = connection.peer.address();
                match error.kind() {
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        info!("{peer} left before its response was complete")
                    }
                    io::ErrorKind::TimedOut => info!("{peer} does not read its response: closed"),
                    _ => error!("a response to {peer} broke off: {error}"),
                }
                self.reset(key);
            }
        }
    }

    /// The response is with the kernel: the next request, or the end.
    fn settle(&mut self, key: Key, ready: &mut Vec<Box<Connection>>) {
        let draining = self.draining && !self.gentle;
        let slot = &mut self.slots[key.0];
        let Some(connection) = &mut slot.connection else { return };
        match connection.start_next(self.now) {
            Next::Request if draining && !connection.has_input() => self.linger(key),
            Next::Request => {
                slot.phase = Phase::Reading;
                if connection.has_input() {
                    let read = connection.resume(self.settings.body_buffer, self.now);
                    if !self.digest(key, read, ready) {
                        return;
                    }
                }
                self.read(key, ready);
            }
            Next::Close => {
                // A client that asked for the end has nothing more to say, as a rule.
                let done = connection.http.client_closes() && !connection.has_input();
                if done && !self.has_unread(key) { self.close(key) } else { self.linger(key) }
            }
            Next::Reset => self.reset(key),
        }
    }

    /// True if the client has sent more, which is thrown away.
    fn has_unread(&mut self, key: Key) -> bool {
        let Some(outlet) = &self.slots[key.0].outlet else { return false };
        matches!(outlet.socket().read(&mut self.scratch), Ok(1..))
    }

    // Closing

    fn linger(&mut self, key: Key) {
        let slot = &mut self.slots[key.0];
        let shut =
            slot.outlet.as_ref().map(|outlet| outlet.socket().shutdown(std::net::Shutdown::Write));
        if !matches!(shut, Some(Ok(()))) {
            return self.close(key);
        }
        slot.phase = Phase::Lingering(LINGER_BYTES);
        let due = self.now + LINGER;
        self.timers.set(key, &mut slot.deadline, Some(due));
        self.linger_on(key, LINGER_BYTES);
    }

    fn linger_on(&mut self, key: Key, mut left: usize) {
        let slot = &mut self.slots[key.0];
        let Some(outlet) = &slot.outlet else { return };
        loop {
            match outlet.socket().read(&mut self.scratch) {
                Ok(count) if count > 0 && count < left => left -= count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    slot.phase = Phase::Lingering(left);
                    return;
                }
                _ => return self.close(key),
            }
        }
    }

    /// Closes so that the client sees an error: its response broke off, and its end would look like
    /// the end of what had no length.
    fn reset(&mut self, key: Key) {
        if let Some(outlet) = &self.slots[key.0].outlet {
            let _ = outlet.socket().set_linger(Some(Duration::ZERO));
            // As for `close`, others may hold the descriptor. On Linux this is what resets at once;
            // see connect(2) on AF_UNSPEC. A unix socket knows no resets and is shut down.
            if rustix::net::connect_unspec(outlet.socket()).is_err() {
                let _ = outlet.socket().shutdown(std::net::Shutdown::Both);
            }
        }
        self.release(key);
    }

    fn close(&mut self, key: Key) {
        // Dropping the descriptor is not enough: an application that has forked holds another.
        if let Some(outlet) = &self.slots[key.0].outlet {
            let _ = outlet.socket().shutdown(std::net::Shutdown::Both);
        }
        self.release(key);
    }

    fn release(&mut self, key: Key) {
        let slot = &mut self.slots[key.0];
        slot.phase = Phase::Free;
        slot.connection = None;
        // The last reference to the socket goes here, which also takes it out of the poll set.
        slot.outlet = None;
        slot.deadline = Deadline::default();
        self.free.push(key.0);
        let slots = &self.slots;
        self.timers.tidy(slots.len(), |(due, key)| {
            let slot = &slots[key.0];
            slot.generation == key.1 && slot.deadline.is_filed_under(*due)
        });
    }

    // Time and the end

    fn expire(&mut self, ready: &mut Vec<Box<Connection>>) {
        while let Some(entry) = self.timers.pop(self.now) {
            let key = entry.1;
            if !self.is_current(key) {
                continue;
            }
            let slot = &mut self.slots[key.0];
            if !self.timers.is_due(entry, &mut slot.deadline, self.now) {
                continue;
            }
            match (slot.phase, &slot.connection) {
                (Phase::Reading, Some(connection)) if !connection.http.is_idle() => {
                    let what = if connection.http.wants_content() { "content" } else { "head" };
                    let detail = format!("the request {what} did not arrive in time");
                    self.answer(key, 408, "Request Timeout", &detail, ready);
                }
                (Phase::Sending, Some(connection)) => {
                    // The stall is counted from the last byte that went out.
                    let due =
                        connection.outlet.progress().checked_add(self.settings.timeouts.write);
                    if due.is_some_and(|due| due > self.now) {
                        self.timers.set(key, &mut slot.deadline, due);
                        continue;
                    }
                    info!("{} does not read its response: closed", connection.peer.address());
                    self.reset(key);
                }
                (Phase::Lent, _) => {}
                _ => self.close(key),
            }
        }
    }

    /// Stops accepting. What the kernel has accepted on our behalf is served; idle connections close.
    fn drain(&mut self, ready: &mut Vec<Box<Connection>>) {
        self.draining = true;
        self.to_accept = (0..self.listeners.len()).collect();
        while self.accept_pause.is_none() && !self.to_accept.is_empty() {
            self.accept(0);
        }
        for (listener, _) in &mut self.listeners {
            let _ = self.poll.registry().deregister(listener.source());
        }
        self.listeners.clear();
        self.to_accept.clear();
        self.accept_pause = None;
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let key = (index, slot.generation);
            if slot.phase != Phase::Reading {
                continue;
            }
            // A request may have come that no event has told of yet.
            self.slots[index].readable = true;
            self.read(key, ready);
            let slot = &self.slots[index];
            if slot.phase == Phase::Reading
                && !self.gentle
                && slot.connection.as_ref().is_some_and(|c| c.http.is_idle() && c.served > 0)
            {
                self.close(key);
            }
        }
    }
}

#[cfg(not(all(test, shuttle)))]
fn wait_for_events(
    poll: &mut Poll,
    events: &mut Events,
    timeout: Option<Duration>,
) -> io::Result<()> {
    poll.poll(events, timeout)
}

/// In a model the kernel is asked for real, but a thread that would block there blocks where the checker
/// sees it. No deadline ever comes.
#[cfg(all(test, shuttle))]
fn wait_for_events(
    poll: &mut Poll,
    events: &mut Events,
    timeout: Option<Duration>,
) -> io::Result<()> {
    use crate::sync::kernel;
    // What this turn has sent until now, others may wait for.
    kernel::changed();
    loop {
        let seen = kernel::changes();
        poll.poll(events, Some(Duration::ZERO))?;
        if !events.is_empty() || timeout == Some(Duration::ZERO) {
            return Ok(());
        }
        kernel::wait(seen);
    }
}

/// The head of a response that the server gives by itself.
fn error_response(status: u16, reason: &str) -> ResponseHead {
    let mut head = ResponseHead::default();
    let built = head
        .start(format!("{status} {reason}").as_bytes())
        .and_then(|()| head.field(b"Content-Type", b"text/plain; charset=utf-8"));
    debug_assert!(built.is_ok());
    head
}
