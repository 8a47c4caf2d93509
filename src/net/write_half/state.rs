//! The state that the lock of a write half protects, and its guard.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use crate::net::output_queue::{Chunk, OutputQueue};
use crate::net::write_pace::{Reading, WritePace};
use crate::sync::{Condvar, CriticalSection, MutexGuard, ignore_poison};
use crate::sys::clock::{self, Moment};

#[derive(Debug)]
pub(super) struct State {
    /// The unsent bytes.
    pub(super) queue: OutputQueue,
    /// The error that ended the connection; later calls fail with it, too, and the queue stays
    /// empty.
    pub(super) failed: Option<io::Error>,
    /// Bytes were discarded since then, so the client has not got all of its response.
    pub(super) has_discarded: bool,
    /// Bytes that are counted although they are not in the queue: it was found empty and they are
    /// being sent, or they are being moved to a file.
    pub(super) taken: usize,
    /// When the socket last took bytes, or the queue began to fill.
    pub(super) progress: Moment,
    /// When the queue began to fill.
    pub(super) waiting_since: Moment,
    /// How long bytes of this response waited in the queue before that.
    pub(super) waited: Duration,
    /// Bytes that the socket has taken since the connection began.
    pub(super) sent: u64,
    /// The same until bytes of this response first waited.
    pub(super) sent_before: u64,
    /// The poller's next turn flushes it.
    pub(super) is_scheduled: bool,
    /// Bytes of the queue that the memory budget counts.
    pub(super) charged: usize,
    /// A producer waits at `drained`. Tracked, because `notify` costs a system call even without
    /// waiters. It also continues below this number of unsent bytes, in memory and in files.
    pub(super) waiter: Option<u64>,
}

/// The locked state. What was sent or dropped under the lock is freed once it is unlocked: a block
/// of Python may make its thread wait for the interpreter, and a large file takes long.
#[derive(Debug)]
pub(super) struct Locked<'a> {
    /// `None` only while the guard is dropped, or waits.
    state: Option<MutexGuard<'a, State>>,
    section: Option<CriticalSection>,
}

impl<'a> Locked<'a> {
    pub(super) fn new(state: MutexGuard<'a, State>) -> Locked<'a> {
        Locked { state: Some(state), section: Some(CriticalSection::enter()) }
    }

    /// Unlocks the state until `condvar` is notified or `time` is over.
    pub(super) fn wait(mut self, condvar: &Condvar, time: Duration) -> Locked<'a> {
        let state = self.state.take().expect("it is locked until it is dropped");
        drop(self);
        Locked::new(ignore_poison(condvar.wait_timeout(state, time)).0)
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state.as_ref().expect("it is locked until it is dropped")
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state.as_mut().expect("it is locked until it is dropped")
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Some(mut state) = self.state.take() {
            let spent = state.queue.take_spent();
            drop(state);
            self.section = None;
            drop(spent);
        }
    }
}

impl State {
    pub(super) fn new(now: Moment) -> State {
        State {
            queue: OutputQueue::default(),
            failed: None,
            has_discarded: false,
            taken: 0,
            progress: now,
            waiting_since: now,
            waited: Duration::ZERO,
            sent: 0,
            sent_before: 0,
            is_scheduled: false,
            charged: 0,
            waiter: None,
        }
    }

    /// Fails with the error that ended the connection.
    pub(super) fn check(&self) -> io::Result<()> {
        self.failed.as_ref().map_or(Ok(()), |error| Err(copy(error)))
    }

    /// Discards the bytes of `queue`, as the connection has failed.
    pub(super) fn discard(&mut self, queue: &mut OutputQueue) {
        self.has_discarded |= !queue.is_empty();
        self.queue.discard(queue);
    }

    /// Takes the end of the queue out, to move it to a file.
    pub(super) fn take_tail(&mut self) -> OutputQueue {
        let tail = self.queue.take_tail();
        self.taken = tail.size();
        tail
    }

    /// Puts the file back in place of `tail`, or `tail` itself if there is no file.
    pub(super) fn put_tail(&mut self, stored: Option<Chunk>, tail: &mut OutputQueue) {
        self.taken = 0;
        self.has_discarded |= self.failed.is_some();
        match stored {
            Some(chunk) if self.failed.is_some() => self.queue.discard_chunk(chunk),
            None if self.failed.is_some() => {}
            Some(chunk) => self.queue.push(chunk),
            None => self.queue.append(tail),
        }
    }

    /// See `WriteHalf::deadline`.
    pub(super) fn deadline(&self, pace: WritePace) -> Option<(Moment, io::ErrorKind)> {
        pace.deadline(Reading {
            since: self.waiting_since,
            progress: self.progress,
            waited: self.waited,
            bytes: self.sent - self.sent_before,
        })
    }

    /// The error of a response that has been read too slowly.
    pub(super) fn overdue(&self, pace: WritePace) -> Option<io::ErrorKind> {
        self.deadline(pace).filter(|(due, _)| *due <= clock::now()).map(|(_, kind)| kind)
    }
}

/// The same error once more; `io::Error` is not `Clone`.
pub(super) fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
