//! The state of the poller's part in the hand-over between workers; `hand_over` has the steps.

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::net::address::Local;
use crate::net::hand_over::{Membership, SpareDescriptor};
use crate::sys::clock::Moment;

/// The part of the poller that exchanges connections with other workers.
#[derive(Debug)]
pub(super) struct HandOver {
    pub(super) membership: Membership,
    /// The addresses of this worker's listeners, also when these are closed.
    pub(super) locals: Vec<Arc<Local>>,
    /// How many requests would have found a free thread when this turn began.
    pub(super) free_threads: usize,
    /// There may be messages: no event reports again those that were left in the queue.
    pub(super) has_messages: bool,
    /// Since when there may have been messages for which no thread was free here, and how many
    /// requests the threads had begun by then.
    pub(super) waiting_since: Option<(Moment, u64)>,
    /// There may be a message that this worker has sent.
    pub(super) has_sent: bool,
    /// The queue was empty at the end, after everything that this worker has sent to it.
    pub(super) is_done: bool,
    pub(super) spare_descriptor: SpareDescriptor,
    /// Holds the message that is sent or received.
    pub(super) buffer: Vec<u8>,
}

impl HandOver {
    /// Registers the queue for readiness events.
    pub(super) fn join(
        membership: Membership,
        registry: &Registry,
        token: Token,
    ) -> io::Result<HandOver> {
        let fd = membership.queue().taking_end().as_raw_fd();
        registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        Ok(HandOver {
            locals: membership.locals().iter().cloned().map(Arc::new).collect(),
            membership,
            free_threads: 0,
            has_messages: true,
            waiting_since: None,
            has_sent: false,
            is_done: false,
            spare_descriptor: SpareDescriptor::new(),
            buffer: Vec::new(),
        })
    }

    /// The kernel reports messages.
    pub(super) fn on_event(&mut self) {
        self.has_messages = true;
    }

    pub(super) fn set_free_threads(&mut self, free_threads: usize) {
        self.free_threads = free_threads;
    }

    pub(super) fn membership(&self) -> &Membership {
        &self.membership
    }
}
