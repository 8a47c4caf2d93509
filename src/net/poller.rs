//! The readiness loop: what the kernel reports becomes complete requests, and responses that did not
//! fit into a socket at once are sent on.
//!
//! Whoever calls [`Poller::turn`] is the poller for that long. A turn waits for events, reads, parses, and
//! hands out the connections whose request is complete. Those are *lent*: their slot only remembers what
//! the kernel says about them until [`PollerHandle::return_connection`] brings them home. Readiness is
//! edge-triggered and both directions are registered once, so a kept-alive request costs no
//! registration at all.
//!
//! A connection goes through [`accept`], [`reading`], [`sending`] and [`closing`]. [`answer`] is what the server
//! says by itself; [`ending`] is the end by deadline or stop; [`room`] ends idle connections for the sake of
//! others, [`overload`] requests that wait. [`handle`] is for the threads that do not poll.

mod accept;
mod answer;
mod closing;
mod ending;
mod handle;
mod overload;
mod reading;
mod room;
mod sending;
#[cfg(test)]
#[cfg(not(shuttle))]
mod tests;

pub use handle::PollerHandle;
pub use overload::{SWEEP_INTERVAL, Verdict};
use room::Idle;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};

use super::connection::Connection;
use super::date::HttpDate;
use super::listener::{Listener, Local};
use super::output_queue::Flush;
use super::timers::{Deadline, Key, Timers};
use super::write_half::WriteHalf;
use crate::config::Settings;
use crate::observe::AccessLog;
use crate::sync::{Ordering, ignore_poison};
use crate::sys::clock;

const WAKE: Token = Token(usize::MAX);
/// Listener `i` has the token `LISTENERS - i`.
const LISTENERS: usize = usize::MAX - 1;
/// Bytes read by one call.
const READ: usize = 64 * 1024;

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
    write_half: Option<Arc<WriteHalf>>,
    /// The socket may have something to read.
    readable: bool,
    /// The client has shut its sending side: reading ends in EOF and no further edge will come.
    half_closed: bool,
    /// When its request was complete, if it is lent.
    lent_at: Instant,
    /// Its client has gone since then.
    left: bool,
    /// It is in the list of those that go on without a further event.
    again: bool,
    deadline: Deadline,
}

/// The loop's state. One thread at a time calls it.
#[derive(Debug)]
pub struct Poller {
    poll: Poll,
    events: Events,
    handle: Arc<PollerHandle>,
    settings: Arc<Settings>,
    access_log: Option<Arc<AccessLog>>,
    listeners: Vec<(Listener, Arc<Local>)>,
    /// Listeners that may have more connections waiting.
    to_accept: Vec<usize>,
    /// Accepting is paused until then.
    accept_pause: Option<Instant>,
    /// See [`Poller::set_room`].
    room: Option<usize>,
    /// New connections are left to other processes until then.
    hold_off: Option<Instant>,
    /// The last turn has left new connections to other processes.
    has_passed: bool,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Connections that were accepted since the last wait; see [`Poller::register`].
    newcomers: Vec<Key>,
    timers: Timers,
    /// Candidates for being closed to make room.
    idle: Idle,
    /// When they may be searched for again.
    next_search: Instant,
    /// When responses may be given up again to free memory.
    next_relief: Instant,
    /// Since when memory has been short at each look.
    short_since: Instant,
    /// When requests that wait are to be looked through again.
    next_sweep: Instant,
    /// Connections that gave way to others and go on without a further event.
    again: Vec<Key>,
    scratch: Box<[u8]>,
    date: HttpDate,
    now: Instant,
    /// When the kernel was asked the last time before `now`.
    asked: Instant,
    draining: bool,
    /// Connections that wait for their next request are left alone while draining.
    gentle: bool,
}

impl Poller {
    /// Registers the listeners. Fails as the system does.
    pub fn new(
        listeners: Vec<Listener>,
        settings: Arc<Settings>,
        access_log: Option<Arc<AccessLog>>,
    ) -> io::Result<(Poller, Arc<PollerHandle>)> {
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
        let handle = Arc::new(PollerHandle::new(waker, settings.budget));
        let poller = Poller {
            poll,
            events: Events::with_capacity(256),
            handle: handle.clone(),
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
            newcomers: Vec::new(),
            timers: Timers::default(),
            idle: Idle::new(),
            next_search: clock::now(),
            next_relief: clock::now(),
            short_since: clock::now(),
            next_sweep: clock::now(),
            again: Vec::new(),
            scratch: vec![0; READ].into_boxed_slice(),
            date: HttpDate::default(),
            now: clock::now(),
            asked: clock::now(),
            draining: false,
            gentle: false,
        };
        Ok((poller, handle))
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
        self.asked = self.now;
        self.now = clock::now();
        self.welcome(ready);
        if self.is_finished() {
            // The last connection has just closed: there is nothing left to wait for.
            return Ok(());
        }
        self.wait(if ready.is_empty() { patience } else { Some(Duration::ZERO) })?;
        self.now = clock::now();
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
        let gentle = self.handle.is_gentle();
        if self.handle.is_stopping() && (!self.draining || self.gentle && !gentle) {
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
        self.accept(ready);
        Ok(())
    }

    fn welcome(&mut self, ready: &mut Vec<Box<Connection>>) {
        for connection in self.handle.take() {
            self.come_home(connection, ready);
        }
        // Those that came home have sent theirs.
        let held = std::mem::take(&mut *ignore_poison(self.handle.held.lock()));
        for write_half in held {
            write_half.flush_held();
        }
        if let Some(log) = &self.access_log {
            log.flush();
        }
    }

    fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.register();
        let may_accept =
            !self.to_accept.is_empty() && self.accept_pause.is_none() && self.hold_off.is_none();
        let busy = may_accept || !self.again.is_empty();
        self.handle.polling.store(true, Ordering::SeqCst);
        let timeout = if busy || self.handle.has_homecomers() || self.handle.has_held() {
            Some(Duration::ZERO)
        } else {
            let deadline =
                [self.timers.next(), self.accept_pause, self.hold_off].into_iter().flatten().min();
            // Rounded up, or the loop would turn idly during a deadline's last millisecond.
            let until = deadline
                .map(|at| at.saturating_duration_since(clock::now()) + Duration::from_millis(1));
            [until, patience].into_iter().flatten().min()
        };
        let polled = wait_for_events(&mut self.poll, &mut self.events, timeout);
        self.handle.polling.store(false, Ordering::SeqCst);
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
        if event.is_read_closed() && !slot.half_closed {
            slot.half_closed = true;
            slot.left = Poller::has_given_up(slot.lent_at, self.asked);
        }
        slot.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        if slot.phase == Phase::Lent {
            if event.is_error() || (event.is_write_closed() && event.is_read_closed()) {
                if let Some(write_half) = &slot.write_half {
                    write_half.fail();
                }
            } else if event.is_writable() {
                self.flush_lent(key);
            }
            return;
        }
        self.proceed(key, ready);
    }

    /// Sends on for a response in the making. Always asks the write_half itself: what it mirrors may be stale
    /// while another thread is in the middle of sending, and this edge would be lost.
    fn flush_lent(&mut self, key: Key) {
        if let Some(write_half) = &self.slots[key.0].write_half
            && write_half.flush().is_ok_and(|flush| flush == Flush::More)
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
                if let Some(write_half) = &self.slots[key.0].write_half
                    && write_half.has_waiting()
                    && write_half.flush().is_err()
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
