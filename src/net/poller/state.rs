//! The state that all steps of the poller share: connections, deadlines, policies, and the time.

use std::sync::Arc;

use super::action::Action;
use super::admission::Admission;
use super::connections::{Connections, Phase, Slot};
use super::eviction::Eviction;
use super::large::LargeResponses;
use super::observed::Observed;
use super::overload::{Overload, is_disconnect};
use super::prepared::StaticFiles;
use super::queue_membership::HandOver;
use crate::config::Settings;
use crate::net::arena::{Arena, ConnectionId};
use crate::net::connection::{Connection, Lent};
use crate::net::date::HttpDate;
use crate::net::loader::Loader;
use crate::net::output_queue::OutputQueue;
use crate::net::poller_link::PollerLink;
use crate::net::read_buffer::ReadBuffer;
use crate::net::shutdown::Shutdown;
use crate::net::timers::Timers;
use crate::net::tls::Challenges;
use crate::net::tuning::MAX_RESPONSE_BUFFERS;
use crate::observe::AccessLog;
use crate::sys::clock::{self, Moment};

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
    /// What sessions of HTTP/2 have found for their streams: the action, or `None` to proceed as
    /// the phase requires.
    pub(super) stream_actions: Vec<(ConnectionId, Option<Action>)>,
    /// How many of the connections are streams of HTTP/2.
    pub(super) streams: usize,
    /// The buffer that reads go to, except for the rest of a body.
    pub(super) read_buffer: ReadBuffer,
    /// The buffer for what a session of HTTP/2 sends.
    pub(super) session_output: Vec<u8>,
    /// Memory for the responses of requests.
    pub(super) response_buffers: ResponseBuffers,
    /// The Date field of the poller's own responses.
    pub(super) date: HttpDate,
    /// The static files, if there are any. Boxed, as it is taken out while it is used.
    pub(super) static_files: Option<Box<StaticFiles>>,
    /// The responses to an authority of ACME, if one is used.
    pub(super) challenges: Option<Arc<Challenges>>,
    /// Waits for disks.
    pub(super) loader: Loader,
    /// The time of this turn.
    pub(super) now: Moment,
    /// When the kernel was last asked for events before `now`.
    pub(super) last_poll: Moment,
    /// The stage of the shutdown that the poller has reached.
    pub(super) shutdown: Shutdown,
    /// Decides when to accept connections.
    pub(super) admission: Admission,
    /// Decides which connections to evict.
    pub(super) eviction: Eviction,
    /// Decides which queued requests to serve, reject or drop.
    pub(super) overload: Overload,
    /// Decides which large responses are written, and which wait.
    pub(super) large: LargeResponses,
    /// Exchanges connections with other workers, if there are any.
    pub(super) hand_over: Option<HandOver>,
    /// Shows to the master what the poller does, with `--metrics`.
    pub(super) observed: Option<Box<Observed>>,
}

impl State {
    pub(super) fn new(
        link: Arc<PollerLink>,
        settings: Arc<Settings>,
        access_log: Option<Arc<AccessLog>>,
    ) -> State {
        let now = clock::now();
        let mut admission = Admission::new(settings.worker_connections);
        if settings.observability.health_path.is_some() {
            admission = admission.accept_health_checks();
        }
        State {
            static_files: None,
            challenges: None,
            loader: Loader::new(link.clone()),
            link,
            access_log,
            connections: Arena::new(),
            timers: Timers::default(),
            run_queue: Vec::new(),
            ready: Vec::new(),
            stream_actions: Vec::new(),
            streams: 0,
            read_buffer: ReadBuffer::default(),
            session_output: Vec::new(),
            response_buffers: ResponseBuffers::default(),
            date: HttpDate::default(),
            now,
            last_poll: now,
            shutdown: Shutdown::Serving,
            admission,
            eviction: Eviction::new(now),
            overload: Overload::new(settings.timeouts.queue, now),
            large: LargeResponses::default(),
            hand_over: None,
            observed: None,
            settings,
        }
    }

    /// Counts a request that the poller has answered.
    pub(super) fn count_answered(&self, connection: &Connection, status: u16) {
        if let Some(observed) = &self.observed {
            observed.count_answered(connection, status);
        }
    }

    /// Takes a connection out of its slot, for a step of the poller or for a worker thread.
    pub(super) fn lend(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        self.connections.get_mut(id)?.lend(self.now)
    }

    /// How many connections are open, without the streams of HTTP/2.
    pub(super) fn sockets(&self) -> usize {
        self.connections.len() - self.streams
    }

    /// Lets the next turn continue with a connection without an event.
    pub(super) fn reschedule(&mut self, id: ConnectionId) {
        if let Some(slot) = self.connections.get_mut(id) {
            slot.reschedule(id, &mut self.run_queue);
        }
    }
}

/// A bounded stack of empty queues, each with a buffer. A small response costs no allocation, and
/// an idle connection holds no memory for one.
#[derive(Debug, Default)]
pub(super) struct ResponseBuffers {
    /// The stack, and behind it queues without memory: to swap two costs less than to drop one.
    queues: Vec<OutputQueue>,
    /// The height of the stack.
    height: usize,
}

impl ResponseBuffers {
    /// Gives the connection a buffer for its next response.
    pub(super) fn give(&mut self, connection: &mut Connection) {
        if self.height > 0 && connection.queue.is_empty() {
            self.height -= 1;
            std::mem::swap(&mut self.queues[self.height], &mut connection.queue);
        }
    }

    /// Takes the buffer of a response that was sent.
    pub(super) fn take_back(&mut self, connection: &mut Connection) {
        if self.height == MAX_RESPONSE_BUFFERS || !connection.queue.is_reusable() {
            connection.queue = OutputQueue::default();
            return;
        }
        if self.height == self.queues.len() {
            self.queues.push(OutputQueue::default());
        }
        std::mem::swap(&mut self.queues[self.height], &mut connection.queue);
        self.height += 1;
    }
}

impl Slot {
    /// Takes the connection out, if the poller owns it.
    pub(super) fn lend(&mut self, now: Moment) -> Option<Box<Connection>> {
        let lent = Phase::Lent { since: now, client_disconnected: false, read_half: None };
        match std::mem::replace(&mut self.phase, lent) {
            Phase::Reading(connection) | Phase::Sending(connection) => Some(connection),
            phase => {
                self.phase = phase;
                None
            }
        }
    }

    /// The client has shut down its sending side. If that means that it has disconnected, a queued
    /// request is marked, and a response that waits for a disk is aborted.
    pub(super) fn on_half_close(&mut self, last_poll: Moment) {
        if std::mem::replace(&mut self.is_half_closed, true) {
            return;
        }
        match &mut self.phase {
            Phase::Lent { since, client_disconnected, .. } => {
                *client_disconnected = is_disconnect(*since, last_poll);
            }
            Phase::Sending(connection)
                if self.is_loading && is_disconnect(connection.head_complete_at, last_poll) =>
            {
                self.write_half.fail();
            }
            _ => {}
        }
    }

    /// Puts the connection into the run queue, once.
    pub(super) fn reschedule(&mut self, id: ConnectionId, run_queue: &mut Vec<ConnectionId>) {
        if !std::mem::replace(&mut self.is_scheduled, true) {
            run_queue.push(id);
        }
    }
}
