//! The poller counts the connections that the end of a shutdown aborts, for the worker's last log
//! line.

use std::time::Duration;

use crate::sync::{AtomicBool, Condvar, Mutex, Ordering, ignore_poison, pause};

/// The connections that a shutdown ends before they are done. Idle ones are not counted: their
/// clients wait for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Requests that have arrived in part.
    pub receiving: usize,
    /// Complete responses that were sent in part.
    pub sending: usize,
    /// Requests that run, or wait for a thread.
    pub lent: usize,
}

/// A question that another thread asks the poller, which answers in its next turn.
#[derive(Debug)]
pub(super) struct Question<T> {
    is_asked: AtomicBool,
    answer: Mutex<Option<T>>,
    answered: Condvar,
}

impl<T> Question<T> {
    pub(super) fn new() -> Question<T> {
        let answer = Mutex::new(None);
        Question { is_asked: AtomicBool::new(false), answer, answered: Condvar::new() }
    }

    /// For the poller: answers the question if it was asked.
    pub(super) fn answer(&self, make: impl FnOnce() -> T) {
        if self.is_asked.load(Ordering::Relaxed) && self.is_asked.swap(false, Ordering::SeqCst) {
            *ignore_poison(self.answer.lock()) = Some(make());
            self.answered.notify_all();
        }
    }

    /// Asks, wakes the poller, and waits for the answer; `None` if it takes longer than `limit`.
    pub(super) fn ask(&self, wake: impl FnOnce(), limit: Duration) -> Option<T> {
        let mut answer = ignore_poison(self.answer.lock());
        *answer = None;
        self.is_asked.store(true, Ordering::SeqCst);
        wake();
        pause(&self.answer, &self.answered, answer, limit).take()
    }
}
