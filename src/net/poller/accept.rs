//! New connections: how many are taken, when they are left to others, and their place in the loop.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use log::warn;
use mio::unix::SourceFd;
use mio::{Interest, Token};

use super::super::connection::{Connection, Peer};
use super::super::listener::Local;
use super::super::timers::{Deadline, Key};
use super::super::write_half::WriteHalf;
use super::{Phase, Poller, Slot};
use crate::observe::Count;

/// Connections accepted from one listener in one turn.
pub(super) const ACCEPT_TURN: usize = 128;
/// How long accepting pauses when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a process without a free thread leaves new connections to its siblings. One of them that is idle
/// takes them at once; if nobody is, waiting in the kernel's queue is no worse than waiting in ours.
const HOLD_OFF: Duration = Duration::from_millis(100);

/// The process, or the system, has no descriptor for another connection. The kernel says so even if nobody
/// waits to be accepted.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

impl Poller {
    /// While draining there is always room: whoever waits in the kernel when the listener closes is
    /// reset, and there are no more of them than the backlog holds.
    pub(super) fn has_room(&self) -> bool {
        self.draining || self.open() < self.settings.worker_connections
    }

    /// Accepts and reads; `ready` also tells how many requests this turn has found for the room there is.
    pub(super) fn accept(&mut self, ready: &mut Vec<Box<Connection>>) {
        if self.accept_pause.is_some_and(|until| self.now < until) {
            return;
        }
        self.accept_pause = None;
        if !self.draining && !self.to_accept.is_empty() && self.must_hold_off(ready.len()) {
            return;
        }
        self.hold_off = None;
        self.has_passed = false;
        for index in std::mem::take(&mut self.to_accept) {
            if !self.to_accept.contains(&index) && self.accept_from(index, ready) {
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
    fn accept_from(&mut self, index: usize, ready: &mut Vec<Box<Connection>>) -> bool {
        let most = match self.room {
            Some(room @ 1..) if !self.draining => room.min(ACCEPT_TURN),
            _ => ACCEPT_TURN,
        };
        let found = ready.len();
        for _ in 0..most {
            // There are requests for all free threads now, one of them by a connection of this turn: the next
            // connection is for another process.
            let is_full = self.room.is_some_and(|room| ready.len() >= room);
            if is_full && ready.len() > found && !self.draining {
                return true;
            }
            let Some((listener, _)) = self.listeners.get(index) else { return false };
            if !self.has_room() {
                // Nobody is closed for the sake of nobody.
                if !listener.has_waiting() {
                    return false;
                }
                if !self.make_room("--worker-connections is reached") {
                    self.pause_without_room();
                    return true;
                }
            }
            let Some((listener, local)) = self.listeners.get(index) else { return false };
            match listener.accept() {
                Ok((socket, peer)) => {
                    let local = local.clone();
                    let key = self.admit(socket, peer, local);
                    self.read(key, ready);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return false,
                    // The client gave up between its connect and our accept.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ if is_out_of_descriptors(&error) && !listener.has_waiting() => return false,
                    _ if is_out_of_descriptors(&error)
                        && self.make_room("no descriptors are left") => {}
                    // Out of descriptors or memory, or the listener is broken: trying again at once
                    // would spin.
                    _ => {
                        if let Some(count) =
                            self.handle.counters.increment_and_take_report(Count::AcceptFailed)
                        {
                            warn!(
                                "accepting is paused: {error} ({} connections are open; {count} times)",
                                self.open()
                            );
                        }
                        self.accept_pause = Some(self.now + ACCEPT_PAUSE);
                        return true;
                    }
                },
            }
        }
        true
    }

    #[cold]
    fn pause_without_room(&mut self) {
        if let Some(count) = self.handle.counters.increment_and_take_report(Count::ConnectionLimit)
        {
            warn!(
                "accepting is paused: all of the {} connections of --worker-connections are busy ({count} \
                 times)",
                self.open()
            );
        }
        self.accept_pause = Some(self.now + ACCEPT_PAUSE);
    }

    /// Gives a connection its place. A client that connects has something to say, as a rule, and often it is
    /// there already: reading it is left to the caller.
    fn admit(&mut self, socket: socket2::Socket, peer: Peer, local: Arc<Local>) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                phase: Phase::Free,
                connection: None,
                write_half: None,
                readable: false,
                half_closed: false,
                lent_at: self.now,
                left: false,
                again: false,
                deadline: Deadline::default(),
            });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1) & 0x7fff_ffff;
        let key = (index, slot.generation);
        let write_half = Arc::new(WriteHalf::new(socket, self.handle.memory_budget.clone()));
        let connection = Connection::new(
            key,
            write_half.clone(),
            self.handle.clone(),
            (peer, local),
            &self.settings,
            self.now,
        );
        slot.phase = Phase::Reading;
        slot.connection = Some(Box::new(connection));
        slot.write_half = Some(write_half);
        slot.readable = true;
        slot.half_closed = false;
        slot.left = false;
        slot.again = false;
        slot.deadline = Deadline::default();
        self.newcomers.push(key);
        key
    }

    /// Before the loop waits, the kernel is asked to tell of those connections that are still there. One
    /// that was answered and closed in the meantime, as is usual for clients that make a single
    /// request, has cost no registration. Readiness from before is reported as well.
    pub(super) fn register(&mut self) {
        while let Some(key) = self.newcomers.pop() {
            if !self.is_current(key) {
                continue;
            }
            let Some(write_half) = &self.slots[key.0].write_half else { continue };
            let token = Token(key.0 | (key.1 as usize) << 32);
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registry = self.poll.registry();
            let fd = write_half.socket().as_raw_fd();
            if let Err(error) = registry.register(&mut SourceFd(&fd), token, interest) {
                warn!("cannot register a connection: {error}");
                match self.slots[key.0].phase {
                    // Its owner learns of it, and it ends when it comes home.
                    Phase::Lent => write_half.fail(),
                    _ => self.close(key),
                }
            }
        }
    }
}
