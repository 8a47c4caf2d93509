//! The writing half of a connection, the only part that two threads share: a worker thread adds
//! blocks, and the poller sends what the socket did not accept at once. Its lock is held only
//! around non-blocking calls. Unsent bytes are in an [`OutputQueue`].
//!
//! A client that reads slowly costs no thread: its response waits here. What an application streams
//! past the high-water mark goes to a file, by the [`producer`] of the response.

mod http2;
mod producer;
mod state;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::memory_budget::MemoryBudget;
use super::output_queue::{FilePart, Flush, OutputQueue};
use super::transport::{Then, Transport};
use super::tuning::{
    FLUSH_THRESHOLD, HIGH_WATER_MARK, MAX_WRITE_PER_TURN, REDUCED_HIGH_WATER_MARK,
};
use super::write_pace::WritePace;
use crate::sync::{AtomicBool, Condvar, Mutex, Ordering, ignore_poison};
use crate::sys::clock::{self, Moment};
use state::{Locked, State, copy};

/// The error of a response whose request was aborted because it ran too long. `send` never returns
/// it on a connected socket, so it cannot be mistaken for a disconnect. [POSIX, send()]
pub(super) const REQUEST_ABORTED: io::ErrorKind = io::ErrorKind::ConnectionAborted;
/// The writing half of a connection, with its unsent bytes.
#[derive(Debug)]
pub struct WriteHalf {
    /// The socket.
    transport: Transport,
    /// The unsent bytes, and the state of sending them.
    state: Mutex<State>,
    /// Mirrors whether the queue is not empty, so that the poller can check it without locking.
    waiting: AtomicBool,
    /// No byte of this response has waited yet.
    is_new_response: AtomicBool,
    /// Notified when the queue falls below the high-water mark, or the socket fails.
    drained: Condvar,
    /// The totals of the worker.
    memory_budget: Arc<MemoryBudget>,
}

/// The result of [`WriteHalf::enqueue`]: what the caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enqueued {
    /// Flush now: the queue has reached [`FLUSH_THRESHOLD`].
    FlushNow,
    /// Nothing: the poller's next turn flushes it.
    Scheduled,
    /// Have the poller's next turn flush it.
    Unscheduled,
}

impl WriteHalf {
    pub(super) fn new(transport: Transport, memory_budget: Arc<MemoryBudget>) -> WriteHalf {
        WriteHalf {
            transport,
            state: Mutex::new(State::new(clock::now())),
            waiting: AtomicBool::new(false),
            is_new_response: AtomicBool::new(true),
            drained: Condvar::new(),
            memory_budget,
        }
    }

    /// Reports the size of the queue to the memory budget.
    fn charge(&self, state: &mut State) {
        let size = state.queue.size() + state.taken;
        if size != state.charged {
            self.memory_budget.change_memory(state.charged, size);
            state.charged = size;
        }
    }

    /// The number of unsent bytes above which a producer waits.
    fn high_water_mark(&self) -> usize {
        let short = self.memory_budget.is_over_soft_limit();
        if short { REDUCED_HIGH_WATER_MARK } else { HIGH_WATER_MARK }
    }

    /// All of the response was sent: the client is judged anew by how it reads the next one.
    pub(super) fn start_next(&self) {
        self.is_new_response.store(true, Ordering::Relaxed);
    }

    /// The queue, which is empty, begins to fill: the client has to read.
    fn begin_to_fill(&self, state: &mut State) {
        state.progress = clock::now();
        state.waiting_since = state.progress;
        if self.is_new_response.swap(false, Ordering::Relaxed) {
            state.waited = Duration::ZERO;
            state.sent_before = state.sent;
        }
    }

    /// The transport, for reading and closing.
    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// True while bytes wait for the socket.
    pub fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) || self.transport.has_unsent()
    }

    /// For the poller: sends the unsent bytes and then `queue`, at most [`MAX_WRITE_PER_TURN`]
    /// bytes and without blocking; the rest stays here. Fails once the client has disconnected.
    pub(super) fn send(&self, queue: &mut OutputQueue) -> io::Result<Flush> {
        self.send_within(queue, MAX_WRITE_PER_TURN, Then::Open)
    }

    /// As [`WriteHalf::send`], for the last bytes of a connection: the caller shuts the sending
    /// side as soon as they are out. Then the last bytes and the FIN share a packet, and the client
    /// wakes up once.
    pub(super) fn send_last(&self, queue: &mut OutputQueue) -> io::Result<Flush> {
        self.send_within(queue, MAX_WRITE_PER_TURN, Then::End)
    }

    fn send_within(&self, queue: &mut OutputQueue, budget: u64, then: Then) -> io::Result<Flush> {
        let mut state = self.lock();
        let is_cold = state.queue.has_cold_part(budget) || queue.has_cold_part(budget);
        if is_cold && state.failed.is_none() {
            if state.queue.is_empty() {
                self.begin_to_fill(&mut state);
            }
            state.queue.append(queue);
            self.charge(&mut state);
            self.waiting.store(true, Ordering::Release);
            return Ok(Flush::Cold);
        }
        self.send_locked(&mut state, queue, budget, then)
    }

    /// The part of a file that waits for its disk, after [`Flush::Cold`].
    pub(super) fn cold_part(&self) -> Option<FilePart> {
        self.lock().queue.cold_part(MAX_WRITE_PER_TURN)
    }

    fn send_locked(
        &self,
        state: &mut State,
        queue: &mut OutputQueue,
        budget: u64,
        then: Then,
    ) -> io::Result<Flush> {
        state.check().inspect_err(|_| state.discard(queue))?;
        if state.queue.is_empty() {
            // A large response counts from its first byte on, not from the time that the socket is
            // full: its client may have read much of it by then.
            if queue.size() >= FLUSH_THRESHOLD {
                state.taken = queue.size();
                self.charge(state);
            }
            let sent = queue.send(&self.transport, budget, then);
            state.taken = 0;
            match sent {
                Ok((flush, sent)) => {
                    state.sent += sent;
                    if flush == Flush::Done {
                        state.queue.adopt_spent(queue);
                        self.charge(state);
                        return Ok(flush);
                    }
                    self.begin_to_fill(state);
                    state.queue.append(queue);
                    self.charge(state);
                    self.waiting.store(true, Ordering::Release);
                    return Ok(flush);
                }
                Err(error) => {
                    state.discard(queue);
                    return Err(self.fail_locked(state, error));
                }
            }
        }
        state.queue.append(queue);
        self.flush_locked(state, budget)
    }

    /// Moves the bytes of `queue` here without sending them. Fails once the client has
    /// disconnected.
    pub(super) fn enqueue(&self, queue: &mut OutputQueue) -> io::Result<Enqueued> {
        let mut state = self.lock();
        state.check().inspect_err(|_| state.discard(queue))?;
        if state.queue.is_empty() {
            self.begin_to_fill(&mut state);
        }
        state.queue.append(queue);
        self.charge(&mut state);
        self.waiting.store(true, Ordering::Release);
        if state.queue.size() >= FLUSH_THRESHOLD {
            return Ok(Enqueued::FlushNow);
        }
        Ok(match std::mem::replace(&mut state.is_scheduled, true) {
            true => Enqueued::Scheduled,
            false => Enqueued::Unscheduled,
        })
    }

    /// For the poller: sends what [`WriteHalf::enqueue`] left for this turn. Returns whether the
    /// next turn continues: while the socket has room no event does.
    pub(super) fn flush_scheduled(&self) -> bool {
        let mut state = self.lock();
        state.is_scheduled = false;
        if state.failed.is_none() && !state.queue.is_empty() {
            // A failure shows when the connection is returned.
            let flush = self.flush_locked(&mut state, MAX_WRITE_PER_TURN);
            state.is_scheduled = matches!(flush, Ok(Flush::More));
        }
        state.is_scheduled
    }

    /// Sends unsent bytes, at most [`MAX_WRITE_PER_TURN`] and without blocking. It takes the lock
    /// rather than checking `waiting`: the kernel may report writability before another thread's
    /// `sendmsg` has returned, and reports it only once.
    pub(super) fn flush(&self) -> io::Result<Flush> {
        let mut state = self.lock();
        state.check()?;
        if state.queue.is_empty() && !self.transport.has_unsent() {
            return Ok(Flush::Done);
        }
        self.flush_locked(&mut state, MAX_WRITE_PER_TURN)
    }

    /// As [`WriteHalf::flush`], for a complete response: does not wait for the disk of a file.
    pub(super) fn flush_resident(&self) -> io::Result<Flush> {
        if self.cold_part().is_some() { Ok(Flush::Cold) } else { self.flush() }
    }

    fn flush_locked(&self, state: &mut State, budget: u64) -> io::Result<Flush> {
        match state.queue.send(&self.transport, budget, Then::Open) {
            Ok((flush, sent)) => {
                // This queue gathers nothing, and an idle connection keeps no buffer.
                drop(state.queue.take_spare());
                if sent > 0 {
                    state.progress = clock::now();
                    state.sent += sent;
                    if flush == Flush::Done {
                        state.waited +=
                            state.progress.saturating_duration_since(state.waiting_since);
                    }
                }
                self.waiting.store(flush != Flush::Done, Ordering::Release);
                self.charge(state);
                if let Some(limit) = state.waiter
                    && (state.queue.size() <= self.high_water_mark()
                        || state.queue.size() as u64 + state.queue.spooled() <= limit)
                {
                    self.drained.notify_all();
                }
                Ok(flush)
            }
            Err(error) => Err(self.fail_locked(state, error)),
        }
    }

    /// True if the unsent bytes in memory exceed the high-water mark.
    pub fn is_full(&self) -> bool {
        self.has_waiting() && self.lock().queue.size() > self.high_water_mark()
    }

    /// Unsent bytes in memory.
    pub(super) fn unsent_bytes(&self) -> usize {
        let queued = if self.has_waiting() { self.lock().queue.size() } else { 0 };
        queued + self.transport.unsent_bytes()
    }

    /// When the socket last took bytes. The kernel reports writability only once a third of its
    /// send buffer, which may have megabytes, is free. Until then a slow reader looks like one that
    /// does not read. So a caller that is about to drop a client calls [`WriteHalf::flush`] first.
    pub(super) fn progress(&self) -> Moment {
        self.lock().progress
    }

    /// When the client has read its response too slowly, and the error that it then fails with. See
    /// [`WriteHalf::progress`].
    pub(super) fn deadline(&self, pace: WritePace) -> Option<(Moment, io::ErrorKind)> {
        let mut state = self.lock();
        self.excuse_wait(&mut state);
        state.deadline(pace)
    }

    /// Does not count the time in which a stream of HTTP/2 waits for the others, or for the socket.
    /// The client may read all the time, if slowly. One that reads nothing is found by the session.
    fn excuse_wait(&self, state: &mut State) {
        if self.transport.stream().is_some_and(|stream| stream.waits_for_others()) {
            state.progress = clock::now();
            state.waiting_since = state.progress;
        }
    }

    /// Drops the unsent bytes and fails all later sends: the client has disconnected.
    pub(super) fn fail(&self) {
        self.fail_locked(&mut self.lock(), io::ErrorKind::BrokenPipe.into());
    }

    /// Aborts the response if a producer waits for the client; returns whether one did. For the
    /// request timeout: of all calls that may block a request, only this one can be ended by
    /// another thread. The error is [`REQUEST_ABORTED`].
    pub fn abort_if_waiting(&self) -> bool {
        let mut state = self.lock();
        let is_waiting = state.waiter.is_some() && state.failed.is_none();
        if is_waiting {
            self.fail_locked(&mut state, REQUEST_ABORTED.into());
        }
        is_waiting
    }

    /// Aborts the response: fails all later sends, whether a producer waits or not. The error is
    /// [`REQUEST_ABORTED`].
    pub fn abort(&self) {
        self.fail_locked(&mut self.lock(), REQUEST_ABORTED.into());
    }

    /// The same, and lets the client see it at once, although another thread owns the connection.
    pub fn reset(&self) {
        self.abort();
        self.transport.reset();
    }

    fn fail_locked(&self, state: &mut State, error: io::Error) -> io::Error {
        state.failed.get_or_insert_with(|| copy(&error));
        let mut dropped = std::mem::take(&mut state.queue);
        state.discard(&mut dropped);
        self.charge(state);
        self.waiting.store(false, Ordering::Release);
        self.drained.notify_all();
        error
    }

    /// True if the client has shut down its side, or the connection is lost. Asks the kernel. A
    /// client that only shut down its sending side counts as disconnected: the kernel cannot
    /// distinguish the two.
    pub fn is_peer_disconnected(&self) -> bool {
        self.transport.is_peer_disconnected()
    }

    /// True once the client is known to have disconnected.
    pub fn has_failed(&self) -> bool {
        self.lock().failed.is_some()
    }

    /// True if bytes of the response were discarded because the connection has failed. Otherwise
    /// the client has disconnected after the last byte.
    pub(super) fn has_discarded(&self) -> bool {
        self.lock().has_discarded
    }

    fn lock(&self) -> Locked<'_> {
        // Nothing panics while the lock is held. Even after a panic the queue would be consistent.
        Locked::new(ignore_poison(self.state.lock()))
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        let charged = ignore_poison(self.state.get_mut()).charged;
        self.memory_budget.change_memory(charged, 0);
    }
}

#[cfg(test)]
#[cfg(all(debug_assertions, not(shuttle)))]
mod tests;
