//! The place of a worker thread in the scheduler, which knows threads by the numbers of their
//! seats.
//!
//! A thread keeps its seat until a request takes its connection. Then the thread leaves the seat to
//! a new thread, and ends with its request. So the scheduler always has `--threads` threads, and
//! knows nothing of upgrades.

use std::sync::atomic::{AtomicBool, Ordering};

/// The seat of one worker thread.
#[derive(Debug)]
pub struct Seat {
    thread: usize,
    /// The thread has left it.
    is_left: AtomicBool,
}

impl Seat {
    /// The seat of worker thread `thread`.
    pub fn new(thread: usize) -> Seat {
        Seat { thread, is_left: AtomicBool::new(false) }
    }

    /// The number by which the scheduler knows the thread.
    pub fn thread(&self) -> usize {
        self.thread
    }

    /// True once the thread has left it.
    pub fn is_left(&self) -> bool {
        self.is_left.load(Ordering::Acquire)
    }

    /// Leaves it; false if that was done before.
    pub(super) fn leave(&self) -> bool {
        !self.is_left.swap(true, Ordering::AcqRel)
    }

    /// Takes it again: the thread that had it has gone.
    pub fn take_back(&self) {
        self.is_left.store(false, Ordering::Release);
    }
}
