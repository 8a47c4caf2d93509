//! The event loop: turns readiness events into complete requests, and sends the rest of responses
//! that the socket did not accept at once.
//!
//! The thread that calls [`Poller::poll_once`] is the poller for one *turn*. A turn waits for
//! events, reads, parses, and returns the connections whose request is complete. These are *lent*
//! to worker threads. Meanwhile a connection's slot only records the events that the kernel
//! reports, until [`PollerHandle::return_connection`]. Readiness is edge-triggered and both
//! directions are registered once, so a kept-alive request costs no registration at all.
//!
//! Each file has one task:
//!
//! - this one is the loop: it polls, accepts and shuts down; [`mod@run`] carries out the [`action`]
//!   that each step returns,
//! - the steps are [`accept`], [`readiness`], [`mod@proxy_header`], [`handshake`], [`read`],
//!   [`dispatch`], [`mod@write`], [`close`], [`respond`], [`redirect`], [`health`],
//!   [`static_files`] (with what it has [`prepared`]), [`load`], [`loaded`], [`expire`], [`evict`],
//!   [`reject`], [`relay`], [`mod@hand_over`] and [`mod@http2`], whose sessions are
//!   [`multiplexed`]; they share the [`state`] with its [`connections`], which [`census`] counts,
//! - the policies [`admission`], [`eviction`], [`overload`] and [`large`] decide, without I/O or
//!   clock,
//! - [`queue_membership`] is the state of [`mod@hand_over`]; [`setup`] makes it,
//! - [`observed`] shows the master what the poller does,
//! - [`queued`] is the poller for the dispatcher, [`handle`] for other threads; its connections see
//!   it as a [`PollerLink`].

mod accept;
mod action;
mod admission;
mod census;
mod close;
mod connections;
mod dispatch;
mod evict;
mod eviction;
mod expire;
mod hand_over;
mod handle;
mod handshake;
mod health;
mod http2;
mod large;
mod load;
mod loaded;
mod multiplexed;
mod observed;
mod overload;
mod prepared;
mod proxy_header;
mod queue_membership;
mod queued;
mod read;
mod readiness;
mod redirect;
mod reject;
mod relay;
mod respond;
mod run;
mod setup;
mod state;
mod static_files;
#[cfg(test)]
#[cfg(not(shuttle))]
mod tests;
mod wait;
mod write;

pub use handle::PollerHandle;
pub use overload::Verdict;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token, Waker};

use super::address::Local;
use super::arena::ConnectionId;
use super::connection::Lent;
use super::listener::Listener;
use super::poller_link::PollerLink;
use super::shutdown::Shutdown;
use super::tuning::{MAX_ACCEPT_PER_TURN, MAX_EVENTS};
use crate::config::Settings;
use crate::observe::{self, AccessLog};
use crate::sys::clock::{self, Moment};
use accept::Accepted;
use action::Action;
use connections::Phase;
use handle::Returned;
use queue_membership::HandOver;
use run::{drive_sessions, end_sessions, proceed, run, write_waiting};
use state::State;

/// The token of the waker.
const WAKE: Token = Token(usize::MAX);
/// Listener `i` has the token `LISTENERS - i`.
const LISTENERS: usize = usize::MAX - 1;
/// The token of the queue between workers. No listener and no connection has it.
const HAND_OVER: Token = Token(usize::MAX / 2 + 1);

/// The loop. One thread at a time calls it.
#[derive(Debug)]
pub struct Poller {
    /// The kernel's readiness queue.
    poll: Poll,
    /// The events of the last wait.
    events: Events,
    /// The interface for other threads, which return connections here.
    handle: Arc<PollerHandle>,
    /// The listeners, each with the address that its connections show; none once the server shuts
    /// down.
    listeners: Vec<(Listener, Arc<Local>)>,
    /// Indices of listeners that may have connections waiting.
    to_accept: Vec<usize>,
    /// Connections that were accepted since the last wait: see [`Poller::register`].
    unregistered: Vec<ConnectionId>,
    /// Empty vectors, kept for their memory.
    returned: Returned,
    /// See [`Poller::check_at`].
    check_at: Option<Moment>,
    /// The state that the steps share.
    state: State,
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
            let token = Token(LISTENERS - i);
            poll.registry().register(listener.source(), token, Interest::READABLE)?;
            let local = Arc::new(listener.local(i));
            registered.push((listener, local));
        }
        let link = Arc::new(PollerLink::new(waker, &settings));
        let handle = Arc::new(PollerHandle::new(link.clone()));
        let poller = Poller {
            poll,
            events: Events::with_capacity(MAX_EVENTS),
            handle: handle.clone(),
            // Connections that were waiting before a listener was registered cause no event.
            to_accept: (0..registered.len()).collect(),
            listeners: registered,
            unregistered: Vec::new(),
            returned: Returned::default(),
            check_at: None,
            state: State::new(link, settings, access_log),
        };
        Ok((poller, handle))
    }

    /// True once the server shuts down and no connection is left, neither here nor in the queue
    /// between workers.
    pub fn is_finished(&self) -> bool {
        self.is_ending() && hand_over::is_done(&self.state)
    }

    /// True once the server shuts down and no connection is left here.
    fn is_ending(&self) -> bool {
        self.state.shutdown != Shutdown::Serving && self.open() == 0
    }

    /// How many connections are open, lent ones included.
    pub fn open(&self) -> usize {
        self.state.connections.len()
    }

    /// Waits for events, for `timeout` at most, handles them, and appends the connections with a
    /// complete request to `ready`.
    pub fn poll_once(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut Vec<Lent>,
    ) -> io::Result<()> {
        self.turn(timeout).map(|()| ready.append(&mut self.state.ready))
    }

    fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        // Responses first: worker threads leave them to the poller, which sends them without the
        // interpreter.
        self.state.last_poll = self.state.now;
        self.state.now = clock::now();
        self.process_returned();
        if self.is_finished() {
            // The last connection has just closed: there is nothing left to wait for.
            return Ok(());
        }
        self.wait(if self.state.ready.is_empty() { timeout } else { Some(Duration::ZERO) })?;
        self.handle.count_turn();
        self.state.now = clock::now();
        // The run queue comes after the events, once a turn.
        let run_queue = std::mem::take(&mut self.state.run_queue);
        for id in &run_queue {
            if let Some(slot) = self.state.connections.get_mut(*id) {
                slot.is_scheduled = false;
            }
        }
        self.process_events();
        let shutdown = self.handle.shutdown();
        if shutdown > self.state.shutdown {
            self.shut_down(shutdown);
        }
        self.state.link.census.answer(|| census::take(&self.state));
        for id in run_queue {
            proceed(&mut self.state, id);
        }
        loaded::on_loaded(&mut self.state);
        self.process_returned();
        while let Some(id) = expire::next_due(&mut self.state) {
            let action = expire::on_deadline(&mut self.state, id);
            run(&mut self.state, id, action);
        }
        hand_over::take(&mut self.state, &mut self.unregistered);
        self.accept();
        if let Some(files) = &mut self.state.static_files {
            files.end_turn();
        }
        hand_over::show_free_threads(&self.state);
        census::show(&mut self.state);
        Ok(())
    }

    fn process_returned(&mut self) {
        // A response that was returned later follows GOAWAY.
        if self.state.link.take_end_of_sessions() {
            end_sessions(&mut self.state);
        }
        if self.handle.has_returned() {
            self.run_returned();
        }
        write_waiting(&mut self.state);
        // Returned connections have flushed theirs already.
        self.state.link.flush_scheduled();
        drive_sessions(&mut self.state);
        if let Some(log) = &self.state.access_log {
            log.flush();
        }
        observe::flush();
    }

    fn run_returned(&mut self) {
        self.handle.take_returned(&mut self.returned);
        // Costs less than `drain` for the one connection that there mostly is.
        self.returned.connections.reverse();
        while let Some(connection) = self.returned.connections.pop() {
            let id = connection.id;
            let action = write::on_returned(&mut self.state, connection);
            run(&mut self.state, id, action);
        }
        if !self.returned.taken.is_empty() {
            self.relay_taken();
        }
    }

    #[cold]
    fn relay_taken(&mut self) {
        for (connection, taken) in self.returned.taken.drain(..) {
            let id = connection.id;
            let registry = self.poll.registry();
            let action = relay::on_taken(&mut self.state, registry, connection, taken);
            run(&mut self.state, id, action);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.register();
        hand_over::show_free_threads(&self.state);
        let State { link, admission, run_queue, .. } = &self.state;
        let is_busy = !run_queue.is_empty()
            || !self.to_accept.is_empty() && admission.is_open()
            || hand_over::must_take(&self.state);
        link.set_blocked(true);
        let timeout = if is_busy || self.handle.has_returned() || link.has_scheduled() {
            Some(Duration::ZERO)
        } else {
            wait::time_to_wait(&self.state, self.check_at, timeout)
        };
        let polled = wait::wait_for_events(&mut self.poll, &mut self.events, timeout);
        link.set_blocked(false);
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            polled => polled,
        }
    }

    /// Registers the connections of the last turn that are still open. A client that makes a single
    /// request is often answered and closed within one turn, and costs no registration.
    fn register(&mut self) {
        while let Some(id) = self.unregistered.pop() {
            accept::register(&mut self.state, id, self.poll.registry());
        }
    }

    fn process_events(&mut self) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let first_listener = LISTENERS - self.listeners.len().max(1);
        for event in &events {
            match event.token() {
                WAKE => {}
                HAND_OVER => self.state.hand_over.iter_mut().for_each(HandOver::on_event),
                Token(token) if token > first_listener => self.to_accept.push(LISTENERS - token),
                Token(token) => readiness::on_event(&mut self.state, token, event),
            }
        }
        self.events = events;
    }

    /// Accepts what the admission policy allows.
    fn accept(&mut self) {
        let State { admission, ready, now, .. } = &mut self.state;
        if !admission.admits(ready.len(), !self.to_accept.is_empty(), *now) {
            return;
        }
        if self.to_accept.is_empty() {
            return;
        }
        for index in std::mem::take(&mut self.to_accept) {
            if !self.to_accept.contains(&index) && self.accept_from(index) {
                self.to_accept.push(index);
            }
        }
    }

    /// Accepts and reads connections of one listener; true if more may be waiting.
    fn accept_from(&mut self, index: usize) -> bool {
        let before = self.state.ready.len();
        for _ in 0..self.state.admission.batch_size() {
            if self.state.admission.is_satisfied(before, self.state.ready.len()) {
                return true;
            }
            let Some((listener, local)) = self.listeners.get(index) else { return false };
            match accept::accept_one(&mut self.state, listener, local) {
                Accepted::Connection(id) => {
                    self.unregistered.push(id);
                    run(&mut self.state, id, Action::Read);
                }
                Accepted::Aborted => {}
                Accepted::Empty => return false,
                Accepted::Paused => return true,
            }
        }
        true
    }

    /// Moves to a later stage of the shutdown. Accepts the connections in the accept queues, unless
    /// they are left to a successor, then closes the listeners. In the last two stages, closes idle
    /// connections as well.
    #[cold]
    fn shut_down(&mut self, stage: Shutdown) {
        self.state.shutdown = stage;
        self.state.admission.drain();
        self.to_accept = match stage {
            Shutdown::Yielding => Vec::new(),
            // Another process serves them.
            Shutdown::Retiring if self.state.admission.is_stalled() => Vec::new(),
            _ => (0..self.listeners.len()).collect(),
        };
        // No more than the accept queue holds: further clients could keep the server from ending.
        for _ in 0..=self.state.settings.backlog as usize / MAX_ACCEPT_PER_TURN {
            if !self.state.admission.is_paused() && !self.to_accept.is_empty() {
                self.accept();
            }
        }
        for (listener, _) in &mut self.listeners {
            let _ = self.poll.registry().deregister(listener.source());
        }
        self.listeners.clear();
        self.to_accept.clear();
        self.state.admission.resume();
        for id in self.state.connections.ids() {
            close::shorten_linger(&mut self.state, id);
            let Some(slot) = self.state.connections.get_mut(id) else { continue };
            let action = match slot.phase {
                Phase::Reading(_) => Action::Read,
                Phase::Http2(_) => Action::DriveHttp2,
                _ => continue,
            };
            // A request may have arrived that no event has reported yet.
            slot.is_readable = true;
            run(&mut self.state, id, action);
        }
    }
}
