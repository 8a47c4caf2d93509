//! A listening socket of the master and its connections: those of the metrics address, or those of
//! the control socket.
//!
//! A turn never waits. All that clients can use is bounded: connections, and the time of one turn.
//! When all places are taken, a new connection replaces one that waits.

use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use log::debug;
use rustix::event::PollFlags;
use socket2::Socket;

use crate::net::Listener;
use crate::supervisor::sockets::Sockets;

/// Connections that are open at a time.
const MAX_CLIENTS: usize = 64;
/// Connections that are accepted in one turn.
const MAX_ACCEPT_PER_TURN: usize = 8;
/// How long each of the two parts of a turn, clients and accepting, may take before signals and
/// messages are handled again: 4 ms for the two endpoints together.
const TURN_BUDGET: Duration = Duration::from_millis(1);
/// How long accepting pauses without descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection.
pub(super) trait Client {
    /// The descriptor, and the events to wait for.
    fn interest(&self) -> (BorrowedFd<'_>, PollFlags);

    /// When the connection is closed if its client makes no progress.
    fn deadline(&self) -> Option<Instant>;

    /// Which client is closed first for a new one: the smallest. One that waits for nothing first,
    /// the oldest among its equals.
    fn rank(&self) -> (u8, Instant);

    /// True if a complete request may have arrived that no event will report.
    fn has_input(&self) -> bool;
}

/// How a connection was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    Open,
    /// It stays open, and has used up this part of the turn.
    Last,
    Closed,
}

impl Served {
    /// Open, unless the connection has ended.
    pub(super) fn of<E>(served: Result<(), E>) -> Served {
        served.map_or(Served::Closed, |()| Served::Open)
    }
}

/// The listener and its connections.
#[derive(Debug)]
pub(super) struct Endpoint<C> {
    /// One socket.
    sockets: Sockets,
    pub(super) clients: Vec<C>,
    /// Until when nothing is accepted.
    paused_until: Option<Instant>,
    /// The last turn has left something to do.
    has_more: bool,
}

/// The result of accepting.
#[derive(PartialEq, Eq)]
enum Accepted {
    /// No connection is left.
    All,
    /// More may be waiting.
    Some,
    /// The system refuses, for lack of descriptors perhaps.
    Failed,
}

/// A connection has ended: its owner drops it.
#[derive(Debug)]
pub(super) struct Ended;

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Ended {
        Ended
    }
}

/// Whether a call on a connection would have to wait.
pub(super) fn is_not_ready(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl<C: Client> Endpoint<C> {
    pub(super) fn new(sockets: Sockets) -> Endpoint<C> {
        Endpoint { sockets, clients: Vec::new(), paused_until: None, has_more: false }
    }

    /// The socket, for a new master and for the end of this one.
    pub(super) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    fn listener(&self) -> Option<&Listener> {
        self.sockets.listeners().next()
    }

    /// The descriptors to wait for. Without `accepts`, another master accepts.
    pub(super) fn interests(
        &self,
        accepts: bool,
    ) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listener = self.listener().filter(|_| accepts && self.paused_until.is_none());
        let listener = listener.map(|listener| (listener.fd(), PollFlags::IN));
        listener.into_iter().chain(self.clients.iter().map(C::interest))
    }

    /// When the next turn is due, even without an event.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let now = self.has_more.then(Instant::now);
        let clients = self.clients.iter().filter_map(C::deadline);
        clients.chain(now).chain(self.paused_until).min()
    }

    /// Serves the clients, and accepts new ones.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        accepts: bool,
        make: impl Fn(Socket) -> C,
        mut serve: impl FnMut(&mut C) -> Served,
    ) {
        self.paused_until = self.paused_until.filter(|until| *until > now);
        let (mut done, mut is_over) = (0, false);
        self.clients.retain_mut(|client| {
            if is_over || now.elapsed() > TURN_BUDGET {
                return true;
            }
            let served = serve(client);
            is_over = served == Served::Last;
            done += usize::from(served != Served::Closed);
            served != Served::Closed
        });
        self.has_more = done < self.clients.len();
        // The next turn begins with those that are left.
        self.clients.rotate_left(done);
        if accepts && self.paused_until.is_none() {
            let accepted = self.accept(make, serve);
            self.has_more |= accepted == Accepted::Some;
            if accepted == Accepted::Failed {
                self.paused_until = Some(now + ACCEPT_PAUSE);
            }
        }
        self.has_more |= self.clients.iter().any(C::has_input);
    }

    /// Accepts connections, and serves each at once: among many clients that send nothing, one that
    /// has sent its request gets its response before its place is needed.
    fn accept(
        &mut self,
        make: impl Fn(Socket) -> C,
        mut serve: impl FnMut(&mut C) -> Served,
    ) -> Accepted {
        let began = Instant::now();
        for _ in 0..MAX_ACCEPT_PER_TURN {
            let Some(listener) = self.listener().filter(|_| began.elapsed() <= TURN_BUDGET) else {
                break;
            };
            match listener.accept_socket() {
                Ok(socket) => {
                    let mut client = make(socket);
                    let served = serve(&mut client);
                    if served != Served::Closed {
                        if self.clients.len() >= MAX_CLIENTS {
                            self.evict();
                        }
                        self.clients.push(client);
                    }
                    if served == Served::Last {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Accepted::All,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    debug!("Cannot accept a connection of the master: {error}");
                    self.evict();
                    return Accepted::Failed;
                }
            }
        }
        Accepted::Some
    }

    /// Closes the connection that is needed least.
    fn evict(&mut self) {
        let ranked = self.clients.iter().enumerate().min_by_key(|(_, client)| client.rank());
        if let Some((index, _)) = ranked {
            self.clients.swap_remove(index);
        }
    }
}
