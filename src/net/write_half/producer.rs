//! The side of the thread that makes a response, the producer. While its unsent output exceeds the
//! high-water mark, the producer waits for a client that reads fast, moves the output of any other
//! to a file, and waits if it cannot.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::WriteHalf;
use super::state::{Locked, State};
use crate::net::output_queue::{Flush, OutputQueue};
use crate::net::poller_link::PollerLink;
use crate::net::response_spool::ResponseSpool;
use crate::net::transport::Then;
use crate::net::tuning::{
    FAST_CLIENT_BYTES, FAST_CLIENT_WAIT, MAX_WRITE_PER_TURN, SPOOL_RETRY_INTERVAL,
};
use crate::net::write_pace::WritePace;
use crate::sys::clock;

impl WriteHalf {
    /// Sends the unsent bytes and then `queue` until the socket is full. Most of what is in a file
    /// is left to the poller.
    pub(in crate::net) fn send_all(
        self: &Arc<Self>,
        queue: &mut OutputQueue,
        link: &PollerLink,
    ) -> io::Result<()> {
        let mut state = self.lock();
        let budget = state.budget_of_producer(queue);
        let flush = self.send_locked(&mut state, queue, budget, Then::Open)?;
        self.leave_rest_to_poller(&mut state, flush, link);
        Ok(())
    }

    /// Sends the unsent bytes until the socket is full. Most of what is in a file is left to the
    /// poller.
    pub(in crate::net) fn flush_all(self: &Arc<Self>, link: &PollerLink) -> io::Result<()> {
        let mut state = self.lock();
        state.check()?;
        self.flush_from_producer(&mut state, link)
    }

    fn flush_from_producer(
        self: &Arc<Self>,
        state: &mut State,
        link: &PollerLink,
    ) -> io::Result<()> {
        let budget = state.budget_of_producer(&OutputQueue::default());
        let flush = self.flush_locked(state, budget)?;
        self.leave_rest_to_poller(state, flush, link);
        Ok(())
    }

    /// While the socket has room no event makes the poller continue.
    fn leave_rest_to_poller(self: &Arc<Self>, state: &mut State, flush: Flush, link: &PollerLink) {
        if flush == Flush::More {
            state.is_scheduled = true;
            if !link.schedule_flush(self) {
                link.wake();
            }
        }
    }

    /// Returns once the unsent bytes in memory are no more than the high-water mark. Until then it
    /// blocks on the client or on a file: call it detached from the interpreter, without a lock.
    /// Fails when the client has disconnected, or reads more slowly than `pace` allows.
    pub(in crate::net) fn make_room(
        self: &Arc<Self>,
        spool: &mut ResponseSpool,
        pace: WritePace,
        link: &PollerLink,
    ) -> io::Result<()> {
        let mut state = self.lock();
        while state.check().is_ok() && state.queue.size() > self.high_water_mark() {
            self.fail_if_overdue(&mut state, pace, link)?;
            let is_patient = spool.limit() > 0 && !self.memory_budget.is_over_soft_limit();
            if is_patient && spool.may_be_fast(state.sent) {
                state = self.wait_for_fast_client(state, spool, link)?;
            } else if spool.reserve(state.queue.tail_size(), state.queue.spooled(), link) {
                let tail = state.take_tail();
                drop(state);
                self.spool(tail, spool, link)?;
                state = self.lock();
            } else {
                state = self.wait_for_room(state, spool.limit(), pace);
            }
        }
        state.check()
    }

    /// Moves the end of the queue, which was taken out, to a file. Meanwhile the poller may send
    /// what is in front of it. Nothing else is added to the queue, as only this thread makes the
    /// response.
    fn spool(
        self: &Arc<Self>,
        mut tail: OutputQueue,
        spool: &mut ResponseSpool,
        link: &PollerLink,
    ) -> io::Result<()> {
        let stored = spool.store(&tail, link);
        let mut state = self.lock();
        if !self.has_waiting() && state.failed.is_none() {
            // The client has read all that was in front meanwhile: it waits only from now on.
            self.begin_to_fill(&mut state);
        }
        state.put_tail(stored, &mut tail);
        self.charge(&mut state);
        state.check()?;
        // The poller may have found the queue empty, and no event makes it continue.
        self.flush_from_producer(&mut state, link)?;
        // Freeing the tail may take long.
        drop(state);
        drop(tail);
        Ok(())
    }

    /// Blocks while the client reads fast. Most clients are as fast as the application, and a
    /// response that they read in a moment should not be written to the disk.
    fn wait_for_fast_client<'a>(
        self: &'a Arc<Self>,
        mut state: Locked<'a>,
        spool: &mut ResponseSpool,
        link: &PollerLink,
    ) -> io::Result<Locked<'a>> {
        let (began, sent_before) = (clock::now(), state.sent);
        let min_rate = FAST_CLIENT_BYTES as f64 / FAST_CLIENT_WAIT.as_secs_f64();
        while state.check().is_ok() && state.queue.size() > self.high_water_mark() {
            let waited = clock::now().saturating_duration_since(began);
            if waited >= FAST_CLIENT_WAIT {
                // The client may have read without an event: see `progress`.
                self.flush_from_producer(&mut state, link)?;
                if ((state.sent - sent_before) as f64) < min_rate * waited.as_secs_f64() {
                    spool.set_slow(state.sent);
                    break;
                }
            }
            state = self.pause(state, 0, FAST_CLIENT_WAIT);
        }
        Ok(state)
    }

    /// Blocks until there may be room, or it is time to look again. `limit` is the number of unsent
    /// bytes, in memory and in files, below which output can be moved to a file.
    fn wait_for_room<'a>(&'a self, state: Locked<'a>, limit: u64, pace: WritePace) -> Locked<'a> {
        let now = clock::now();
        let due = state.deadline(pace).map(|(due, _)| due.saturating_duration_since(now));
        // Other responses free the space of their files without notice.
        let time = due.map_or(SPOOL_RETRY_INTERVAL, |due| due.min(SPOOL_RETRY_INTERVAL));
        self.pause(state, limit, time)
    }

    fn pause<'a>(&'a self, mut state: Locked<'a>, limit: u64, time: Duration) -> Locked<'a> {
        if state.queue.has_spent() {
            // Freed before the wait; the caller looks again.
            drop(state);
            return self.lock();
        }
        state.waiter = Some(limit);
        let mut state = state.wait(&self.drained, time);
        state.waiter = None;
        state
    }

    /// Fails the connection if its client reads more slowly than `pace` allows.
    fn fail_if_overdue(
        self: &Arc<Self>,
        state: &mut State,
        pace: WritePace,
        link: &PollerLink,
    ) -> io::Result<()> {
        self.excuse_wait(state);
        if state.overdue(pace).is_some() {
            // The client may have read without an event: see `progress`.
            self.flush_from_producer(state, link)?;
            if let Some(kind) = state.overdue(pace) {
                return Err(self.fail_locked(state, kind.into()));
            }
        }
        Ok(())
    }
}

impl State {
    /// Bytes that the producer sends at once, `queue` included. It holds the lock meanwhile: with a
    /// file, which may be large and on a slow disk, it would block the poller.
    pub(super) fn budget_of_producer(&self, queue: &OutputQueue) -> u64 {
        let has_file = self.queue.has_file() || queue.has_file();
        if has_file { MAX_WRITE_PER_TURN } else { u64::MAX }
    }
}
