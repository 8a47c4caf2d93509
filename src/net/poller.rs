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
//! - the steps are [`accept`], [`read`], [`dispatch`], [`mod@write`], [`close`], [`respond`],
//!   [`expire`], [`evict`] and [`reject`]; they share the [`state`] with its [`connections`], which
//!   [`census`] counts for a log line,
//! - the policies [`admission`], [`eviction`] and [`overload`] decide, without I/O or clock,
//! - [`handle`] is the poller as other threads see it; its connections see it as a
//!   [`PollerLink`].

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
mod handle;
mod overload;
mod read;
mod reject;
mod respond;
mod run;
mod state;
#[cfg(test)]
#[cfg(not(shuttle))]
mod tests;
mod wait;
mod write;

pub use handle::PollerHandle;
pub use overload::Verdict;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};

use super::address::Local;
use super::arena::ConnectionId;
use super::connection::Lent;
use super::listener::Listener;
use super::poller_link::PollerLink;
use super::shutdown::Shutdown;
use super::tuning::{LOG_RETRY_INTERVAL, MAX_ACCEPT_PER_TURN, MAX_EVENTS};
use crate::config::Settings;
use crate::observe::{self, AccessLog};
use crate::sys::clock;
use accept::Accepted;
use action::Action;
use connections::Phase;
use run::{proceed, run};
use state::State;

/// The token of the waker.
const WAKE: Token = Token(usize::MAX);
/// Listener `i` has the token `LISTENERS - i`.
const LISTENERS: usize = usize::MAX - 1;

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
    /// An empty vector, kept for its memory.
    returned: Vec<Lent>,
    /// See [`Poller::check_at`].
    check_at: Option<Instant>,
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
        let link = Arc::new(PollerLink::new(waker, settings.budget));
        let handle = Arc::new(PollerHandle::new(link.clone()));
        let poller = Poller {
            poll,
            events: Events::with_capacity(MAX_EVENTS),
            handle: handle.clone(),
            // Connections that were waiting before a listener was registered cause no event.
            to_accept: (0..registered.len()).collect(),
            listeners: registered,
            unregistered: Vec::new(),
            returned: Vec::new(),
            check_at: None,
            state: State::new(link, settings, access_log),
        };
        Ok((poller, handle))
    }

    /// True once the server shuts down and no connection is left.
    pub fn is_finished(&self) -> bool {
        self.state.shutdown != Shutdown::Serving && self.open() == 0
    }

    /// How many connections are open, lent ones included.
    pub fn open(&self) -> usize {
        self.state.connections.len()
    }

    /// Sets the number of free threads, or `None` if no other process accepts from the same
    /// sockets. With a number, a turn accepts at most one connection for each free thread; if none
    /// is free, it leaves connections to the other processes for a moment. The listener's readiness
    /// is kept, so no connection is lost if all processes are busy.
    pub fn set_free_threads(&mut self, free_threads: Option<usize>) {
        self.state.admission.set_free_threads(free_threads);
    }

    /// Sets a number that changes whenever a thread begins a request.
    pub fn set_jobs_taken(&mut self, jobs_taken: u64) {
        self.state.admission.set_jobs_taken(jobs_taken);
    }

    /// Waits for events, for `timeout` at most, handles them, and returns the connections whose
    /// request is complete.
    pub fn poll_once(&mut self, timeout: Option<Duration>) -> io::Result<Vec<Lent>> {
        // Responses first: worker threads leave them to the poller, which sends them without the
        // interpreter.
        self.state.last_poll = self.state.now;
        self.state.now = clock::now();
        self.process_returned();
        if self.is_finished() {
            // The last connection has just closed: there is nothing left to wait for.
            return Ok(std::mem::take(&mut self.state.ready));
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
        self.process_returned();
        while let Some(id) = expire::next_due(&mut self.state) {
            let action = expire::on_deadline(&mut self.state, id);
            run(&mut self.state, id, action);
        }
        self.accept();
        Ok(std::mem::take(&mut self.state.ready))
    }

    fn process_returned(&mut self) {
        self.handle.take_returned(&mut self.returned);
        if !self.returned.is_empty() {
            for connection in self.returned.drain(..) {
                let id = connection.id;
                let action = write::on_returned(&mut self.state, connection);
                run(&mut self.state, id, action);
            }
        }
        // Returned connections have flushed theirs already.
        for write_half in self.state.link.take_scheduled() {
            if write_half.flush_scheduled() {
                self.state.link.schedule_flush(&write_half);
            }
        }
        if let Some(log) = &self.state.access_log {
            log.flush();
        }
        observe::flush();
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.register();
        let State { link, admission, run_queue, timers, .. } = &self.state;
        let is_busy = !run_queue.is_empty() || !self.to_accept.is_empty() && admission.is_open();
        link.set_blocked(true);
        let timeout = if is_busy || self.handle.has_returned() || link.has_scheduled() {
            Some(Duration::ZERO)
        } else {
            let deadlines = [timers.next(), admission.wakes_at(), self.check_at];
            let deadline = deadlines.into_iter().flatten().min();
            // Rounded up: otherwise the loop would spin in the last millisecond before a deadline.
            let until = deadline
                .map(|at| at.saturating_duration_since(clock::now()) + Duration::from_millis(1));
            [until, timeout, self.log_retry()].into_iter().flatten().min()
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

    /// When to write logs again that their readers have not taken: no event reports that they read.
    fn log_retry(&self) -> Option<Duration> {
        let access_log = self.state.access_log.as_ref();
        let has_backlog = observe::has_backlog() || access_log.is_some_and(|log| log.has_backlog());
        has_backlog.then_some(LOG_RETRY_INTERVAL)
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
                Token(token) if token > first_listener => self.to_accept.push(LISTENERS - token),
                Token(token) => self.on_event(ConnectionId::from_token(token), event),
            }
        }
        self.events = events;
    }

    /// Records an event of a connection, and continues with the connection unless it is lent.
    fn on_event(&mut self, id: ConnectionId, event: &Event) {
        let Some(slot) = self.state.connections.get_mut(id) else { return };
        if event.is_read_closed() && !slot.is_half_closed {
            slot.is_half_closed = true;
            if let Phase::Lent { since, client_disconnected, .. } = &mut slot.phase {
                *client_disconnected = overload::is_disconnect(*since, self.state.last_poll);
            }
        }
        let is_readable = event.is_readable() || event.is_read_closed() || event.is_error();
        slot.is_readable |= is_readable;
        if is_readable && let Phase::Lent { read_half: Some(read_half), .. } = &slot.phase {
            read_half.on_readable();
        }
        if !matches!(slot.phase, Phase::Lent { .. }) {
            proceed(&mut self.state, id);
        } else if event.is_error() || (event.is_write_closed() && event.is_read_closed()) {
            slot.write_half.fail();
        } else if event.is_writable() {
            proceed(&mut self.state, id);
        }
    }

    /// Accepts what the admission policy allows.
    fn accept(&mut self) {
        let State { admission, ready, now, .. } = &mut self.state;
        if !admission.admits(ready.len(), !self.to_accept.is_empty(), *now) {
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
            if let Some(slot) = self.state.connections.get_mut(id)
                && let Phase::Reading(_) = slot.phase
            {
                // A request may have arrived that no event has reported yet.
                slot.is_readable = true;
                run(&mut self.state, id, Action::Read);
            }
        }
    }

    /// Sets whether all threads are lost, or occupied by requests that have run too long. Meanwhile
    /// nothing is accepted: new clients wait in the accept queue, for one of the threads or for
    /// another process. A queued request is rejected once the server shuts down.
    pub fn set_stalled(&mut self, is_stalled: bool) {
        self.state.admission.set_stalled(is_stalled);
    }

    /// Ends waits for events at this time.
    pub fn check_at(&mut self, at: Option<Instant>) {
        self.check_at = at;
    }

    /// True once the time of [`Poller::check_at`] has come.
    pub fn is_check_due(&self) -> bool {
        self.check_at.is_some_and(|at| at <= self.state.now)
    }

    /// True if it is time to check the queued requests with [`Poller::verdict`].
    pub fn is_sweep_due(&mut self) -> bool {
        self.state.overload.is_sweep_due(self.state.now)
    }

    /// The verdict on the request of a lent connection that waits in the queue.
    pub fn verdict(&self, connection: &Lent) -> Verdict {
        reject::verdict(&self.state, connection)
    }

    /// Takes back a connection whose request will not run, and rejects or drops it.
    #[cold]
    pub fn reject_queued(&mut self, connection: Lent) {
        let id = connection.id;
        let action = reject::reject_queued(&mut self.state, connection);
        run(&mut self.state, id, action);
    }
}
