//! The state that all steps of the poller share: connections, deadlines, policies, and the time.

use std::sync::Arc;
use std::time::Instant;

use super::admission::Admission;
use super::connections::{Connections, Phase, Slot};
use super::eviction::Eviction;
use super::overload::Overload;
use crate::config::Settings;
use crate::net::arena::{Arena, ConnectionId};
use crate::net::connection::{Connection, Lent};
use crate::net::date::HttpDate;
use crate::net::poller_link::PollerLink;
use crate::net::shutdown::Shutdown;
use crate::net::timers::Timers;
use crate::net::tuning::READ_BUFFER;
use crate::observe::AccessLog;
use crate::sys::clock;

/// The state of the poller, without what it polls.
#[derive(Debug)]
pub(super) struct State {
    /// The state that connections and other threads share with the poller.
    pub(super) link: Arc<PollerLink>,
    /// The settings of the worker.
    pub(super) settings: Arc<Settings>,
    /// The access log, if there is one.
    pub(super) access_log: Option<Arc<AccessLog>>,
    /// All open connections, lent ones included.
    pub(super) connections: Connections,
    /// Their deadlines.
    pub(super) timers: Timers,
    /// Connections that have used up their share of a turn and continue in the next one, without an
    /// event.
    pub(super) run_queue: Vec<ConnectionId>,
    /// Connections whose request has become complete in this turn.
    pub(super) ready: Vec<Lent>,
    /// The buffer that every read goes to first.
    pub(super) read_buffer: Box<[u8]>,
    /// The Date field of the poller's own responses.
    pub(super) date: HttpDate,
    /// The time of this turn.
    pub(super) now: Instant,
    /// When the kernel was last asked for events before `now`.
    pub(super) last_poll: Instant,
    /// The stage of the shutdown that the poller has reached.
    pub(super) shutdown: Shutdown,
    /// Decides when to accept connections.
    pub(super) admission: Admission,
    /// Decides which connections to evict.
    pub(super) eviction: Eviction,
    /// Decides which queued requests to serve, reject or drop.
    pub(super) overload: Overload,
}

impl State {
    pub(super) fn new(
        link: Arc<PollerLink>,
        settings: Arc<Settings>,
        access_log: Option<Arc<AccessLog>>,
    ) -> State {
        let now = clock::now();
        State {
            link,
            access_log,
            connections: Arena::new(),
            timers: Timers::default(),
            run_queue: Vec::new(),
            ready: Vec::new(),
            read_buffer: vec![0; READ_BUFFER].into_boxed_slice(),
            date: HttpDate::default(),
            now,
            last_poll: now,
            shutdown: Shutdown::Serving,
            admission: Admission::new(settings.worker_connections),
            eviction: Eviction::new(now),
            overload: Overload::new(settings.timeouts.queue, now),
            settings,
        }
    }

    /// Takes a connection out of its slot, for a step of the poller or for a worker thread.
    pub(super) fn lend(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        self.connections.get_mut(id)?.lend(self.now)
    }

    /// Lets the next turn continue with a connection without an event.
    pub(super) fn reschedule(&mut self, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id) {
            slot.reschedule(id, &mut self.run_queue);
        }
    }
}

impl Slot {
    /// Takes the connection out, if the poller owns it.
    pub(super) fn lend(&mut self, now: Instant) -> Option<Box<Connection>> {
        let lent = Phase::Lent { since: now, client_disconnected: false, read_half: None };
        match std::mem::replace(&mut self.phase, lent) {
            Phase::Reading(connection) | Phase::Sending(connection) => Some(connection),
            phase => {
                self.phase = phase;
                None
            }
        }
    }

    /// Puts the connection into the run queue, once.
    pub(super) fn reschedule(&mut self, id: ConnectionId, run_queue: &mut Vec<ConnectionId>) {
        if !std::mem::replace(&mut self.is_scheduled, true) {
            run_queue.push(id);
        }
    }
}
