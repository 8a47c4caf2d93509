//! Handing a connection with a complete request over to another worker, which has a free thread.
//! docs/decisions/0006-hand-over.md has the reasons.
//!
//! The master makes a [`HandOver`] for its workers, and each of them gets a [`Membership`]:
//!
//! - [`queue`] is the socket pair whose kernel buffer holds the messages,
//! - [`message`] is what is sent along with the descriptor of a connection.
//!
//! The steps of the poller are in `poller/hand_over.rs`.

mod message;
mod queue;

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

pub(super) use message::{MAX_MESSAGE, Message, Times};
pub(super) use queue::{Queue, Received, SpareDescriptor};

use super::address::Local;
use super::forked::{self, Descriptors};
use crate::sys::worker_table::WorkerTable;

/// What the workers that may hand requests over to each other share.
#[derive(Debug)]
pub struct HandOver {
    queue: Queue,
    /// What each worker shows to the others.
    workers: WorkerTable,
    /// The addresses that all these workers serve, by the index of the listener.
    locals: Vec<Local>,
}

impl HandOver {
    /// For workers that listen at these addresses.
    ///
    /// # Errors
    /// As the system does; not all systems have such sockets.
    pub fn new(locals: Vec<Local>) -> io::Result<HandOver> {
        Ok(HandOver { queue: Queue::new()?, workers: WorkerTable::new()?, locals })
    }

    /// True if it is for workers that listen at these addresses.
    pub fn is_for(&self, locals: &[Local]) -> bool {
        self.locals == locals
    }

    #[cfg(all(test, not(shuttle)))]
    pub(super) fn queue_for_tests(&self) -> &Queue {
        &self.queue
    }

    /// For the master: makes a membership for a worker that is about to be forked. `None` if the
    /// table of workers is full.
    pub fn add_worker(self: &Arc<HandOver>) -> Option<Membership> {
        Some(Membership { row: self.workers.add()?, hand_over: self.clone() })
    }

    /// Closes the queue in processes that the application forks from now on.
    fn close_in_children(&self) {
        self.queue.descriptors().for_each(forked::close_in_children);
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        self.queue.descriptors().for_each(forked::keep_in_children);
    }
}

/// One worker's part in the hand-over. Both the worker and the master have it after the fork.
#[derive(Debug)]
pub struct Membership {
    hand_over: Arc<HandOver>,
    /// The worker's row in the table of workers.
    row: usize,
}

impl Membership {
    /// For the master: the worker has ended, or was not forked. Dropping the value does not say so:
    /// a new worker drops its copies of those of the others.
    pub fn remove_worker(&self) {
        self.hand_over.workers.remove(self.row);
    }

    /// Closes the queue in processes that the application forks from now on.
    pub fn close_in_children(&self) {
        self.hand_over.close_in_children();
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.hand_over.queue
    }

    /// The addresses of the workers' listeners.
    pub(super) fn locals(&self) -> &[Local] {
        &self.hand_over.locals
    }

    /// Shows to the other workers how many more requests would find a free thread here.
    pub(super) fn show_free_threads(&self, free_threads: usize) {
        self.hand_over.workers.set_free_threads(self.row, free_threads);
    }

    /// True if there are other workers.
    pub(super) fn has_others(&self) -> bool {
        self.hand_over.workers.has_others(self.row)
    }

    /// True if another worker shows a free thread.
    pub(super) fn has_free_thread(&self) -> bool {
        self.hand_over.workers.has_free_thread(self.row)
    }

    /// Reserves a free thread of another worker for one message. False if none is free.
    pub(super) fn reserve_thread(&self) -> bool {
        self.hand_over.workers.reserve_thread(self.row)
    }
}

impl Queue {
    fn descriptors(&self) -> impl Iterator<Item = Descriptors> {
        self.ends().map(|end| Descriptors { own: end.as_raw_fd(), passed: None }).into_iter()
    }
}
