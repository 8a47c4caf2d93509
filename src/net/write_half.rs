//! The writing half of a connection. It is the one part of a connection that two threads may touch: the
//! one that runs the application hands blocks in, the one that polls sends what the socket did
//! not take at once. So it has a lock, held only around non-blocking calls. What waits is a
//! [`OutputQueue`].
//!
//! A client that reads slowly costs no thread: what it is owed waits here. Only a producer that
//! outruns [`HIGH_WATER`] waits, in [`WriteHalf::wait`], until the poller has brought it below again.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::memory_budget::MemoryBudget;
use super::output_queue::{Flush, OutputQueue, Then};
use crate::sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering, ignore_poison};
use crate::sys::clock;

/// A producer waits while more than this many bytes of memory are unsent.
const HIGH_WATER: usize = 256 * 1024;
/// The same while the worker's memory is short.
const LOW_WATER: usize = 32 * 1024;
/// One call of the poller sends at most this much, so that one fast reader does not keep the loop from the others.
const TURN: u64 = 1 << 20;
/// So much is sent at once, instead of waiting for more.
const SOON: usize = 64 * 1024;

/// What fails if it is the request that takes too long, which is no stall of its client. `send` has no such
/// error on a connected socket. [POSIX, send()]
pub(super) const TAKES_TOO_LONG: io::ErrorKind = io::ErrorKind::ConnectionAborted;

/// A socket's writing half and what is waiting for it.
#[derive(Debug)]
pub struct WriteHalf {
    socket: Socket,
    state: Mutex<State>,
    /// Mirrors whether the queue holds anything, so that the poller need not lock to know.
    waiting: AtomicBool,
    /// Told when the queue falls below the high-water mark, or the socket fails.
    drained: Condvar,
    /// The worker's account.
    memory_budget: Arc<MemoryBudget>,
}

#[derive(Debug)]
struct State {
    queue: OutputQueue,
    /// Why nothing more can be sent, which whoever asks later is told as well; everything handed in is
    /// dropped.
    failed: Option<io::Error>,
    /// When bytes last went out.
    progress: Instant,
    /// It is on the list of those that the next turn flushes.
    held: bool,
    /// So many bytes of the queue are in the worker's account.
    charged: usize,
    /// A producer waits. To tell a condition variable costs a system call even if nobody listens.
    awaited: bool,
}

/// What is to be done with what an write_half holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enqueued {
    /// It is so much that it should be sent now.
    FlushNow,
    /// The next turn sends it.
    Scheduled,
    /// The next turn must be told of it.
    Unscheduled,
}

impl WriteHalf {
    /// Takes a connected, non-blocking socket.
    pub(super) fn new(socket: Socket, memory_budget: Arc<MemoryBudget>) -> WriteHalf {
        let state = State {
            queue: OutputQueue::default(),
            failed: None,
            progress: clock::now(),
            held: false,
            charged: 0,
            awaited: false,
        };
        WriteHalf {
            socket,
            state: Mutex::new(state),
            waiting: AtomicBool::new(false),
            drained: Condvar::new(),
            memory_budget,
        }
    }

    /// Has the account follow the queue.
    fn account(&self, state: &mut State) {
        let size = state.queue.size();
        if size != state.charged {
            self.memory_budget.change_memory(state.charged, size);
            state.charged = size;
        }
    }

    /// A producer waits while more than so many bytes are unsent.
    fn high_water(&self) -> usize {
        if self.memory_budget.is_tight() { LOW_WATER } else { HIGH_WATER }
    }

    /// The socket, for reading.
    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// True while bytes wait for the socket.
    pub fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// For the poller: sends what `queue` holds behind what is waiting already, a turn's worth at most and
    /// without blocking; what the socket does not take stays here. Fails once the client is gone.
    pub(super) fn send(&self, queue: &mut OutputQueue) -> io::Result<Flush> {
        self.send_within(queue, TURN, Then::Open)
    }

    /// As [`WriteHalf::send`], for the last bytes of a connection: the caller shuts the socket's sending side as
    /// soon as they are out. Then the last bytes and the end are one packet, and the client is woken
    /// once.
    pub(super) fn send_last(&self, queue: &mut OutputQueue) -> io::Result<Flush> {
        self.send_within(queue, TURN, Then::End)
    }

    /// For the thread that makes the response: the same, but until the socket is full, as nobody else would go
    /// on while it still takes bytes.
    pub fn send_all(&self, queue: &mut OutputQueue) -> io::Result<()> {
        self.send_within(queue, u64::MAX, Then::Open).map(drop)
    }

    fn send_within(&self, queue: &mut OutputQueue, budget: u64, then: Then) -> io::Result<Flush> {
        let mut state = self.lock();
        if let Some(error) = &state.failed {
            *queue = OutputQueue::default();
            return Err(again(error));
        }
        if state.queue.is_empty() {
            match queue.send(&self.socket, budget, then) {
                Ok((Flush::Done, _)) => return Ok(Flush::Done),
                Ok((flush, _)) => {
                    state.queue.append(queue);
                    self.account(&mut state);
                    state.progress = clock::now();
                    self.waiting.store(true, Ordering::Release);
                    return Ok(flush);
                }
                Err(error) => {
                    *queue = OutputQueue::default();
                    return Err(self.fail_locked(&mut state, error));
                }
            }
        }
        state.queue.append(queue);
        self.flush_locked(&mut state, budget)
    }

    /// Takes what `queue` holds without sending it. Fails once the client is gone.
    pub(super) fn enqueue(&self, queue: &mut OutputQueue) -> io::Result<Enqueued> {
        let mut state = self.lock();
        if let Some(error) = &state.failed {
            *queue = OutputQueue::default();
            return Err(again(error));
        }
        if state.queue.is_empty() {
            state.progress = clock::now();
        }
        state.queue.append(queue);
        self.account(&mut state);
        self.waiting.store(true, Ordering::Release);
        let much = state.queue.size() >= SOON;
        Ok(match much || std::mem::replace(&mut state.held, true) {
            true if much => Enqueued::FlushNow,
            true => Enqueued::Scheduled,
            false => Enqueued::Unscheduled,
        })
    }

    /// Sends what was held, now that it is this write_half's turn.
    pub(super) fn flush_held(&self) {
        let mut state = self.lock();
        state.held = false;
        drop(state);
        // A failure shows when the connection comes home. What is left of a turn's worth would be told
        // by no event.
        while matches!(self.flush(), Ok(Flush::More)) {}
    }

    /// Sends what is waiting, a turn's worth at most and without blocking. The lock is part of its
    /// meaning: the kernel may report room for more before the `sendmsg` of another thread has
    /// returned, and that report comes once.
    pub(super) fn flush(&self) -> io::Result<Flush> {
        let mut state = self.lock();
        if let Some(error) = &state.failed {
            return Err(again(error));
        }
        if state.queue.is_empty() {
            return Ok(Flush::Done);
        }
        self.flush_locked(&mut state, TURN)
    }

    fn flush_locked(&self, state: &mut State, budget: u64) -> io::Result<Flush> {
        match state.queue.send(&self.socket, budget, Then::Open) {
            Ok((flush, sent)) => {
                if sent > 0 {
                    state.progress = clock::now();
                }
                self.waiting.store(flush != Flush::Done, Ordering::Release);
                self.account(state);
                if state.awaited && state.queue.size() <= self.high_water() {
                    self.drained.notify_all();
                }
                Ok(flush)
            }
            Err(error) => Err(self.fail_locked(state, error)),
        }
    }

    /// Blocks the producer while too much is waiting. Fails when the client is gone, or has taken nothing
    /// for `stall`.
    pub fn wait(&self, stall: Duration) -> io::Result<()> {
        let mut state = self.lock();
        while state.queue.size() > self.high_water() && state.failed.is_none() {
            let progress = state.progress;
            let waited = clock::now().saturating_duration_since(progress);
            let Some(left) = stall.checked_sub(waited).filter(|left| !left.is_zero()) else {
                // It may have made room that nobody was told of: see `progress`.
                self.flush_locked(&mut state, u64::MAX)?;
                if state.progress == progress {
                    return Err(self.fail_locked(&mut state, io::ErrorKind::TimedOut.into()));
                }
                continue;
            };
            // A year stands for "no limit", which the clock's arithmetic could not bear.
            let left = left.min(Duration::from_secs(365 * 86_400));
            state.awaited = true;
            state = ignore_poison(self.drained.wait_timeout(state, left)).0;
            state.awaited = false;
        }
        state.failed.as_ref().map_or(Ok(()), |error| Err(again(error)))
    }

    /// True if a producer would have to wait.
    pub fn is_full(&self) -> bool {
        self.has_waiting() && self.lock().queue.size() > self.high_water()
    }

    /// Bytes in memory that wait for the socket.
    pub(super) fn held(&self) -> usize {
        if self.has_waiting() { self.lock().queue.size() } else { 0 }
    }

    /// When bytes last went out. The kernel tells of room only once there is a lot of it, a third of a buffer
    /// of megabytes, and until then a client that reads slowly looks like one that does not read. So who
    /// means to give one up calls [`WriteHalf::flush`] first, which finds what room there is.
    pub(super) fn progress(&self) -> Instant {
        self.lock().progress
    }

    /// Drops what is waiting and refuses more: the client is gone.
    pub(super) fn fail(&self) {
        self.fail_locked(&mut self.lock(), io::ErrorKind::BrokenPipe.into());
    }

    /// Fails it if a producer waits for the client; returns whether one did. For whoever finds that the
    /// request takes too long: of all that it may be at, this wait alone can be ended from here. The error is
    /// [`TAKES_TOO_LONG`].
    pub fn end_wait(&self) -> bool {
        let mut state = self.lock();
        let waits = state.awaited && state.failed.is_none();
        if waits {
            self.fail_locked(&mut state, TAKES_TOO_LONG.into());
        }
        waits
    }

    /// Fails what is sent from now on, whoever waits or not; the error is [`TAKES_TOO_LONG`].
    pub fn break_off(&self) {
        self.fail_locked(&mut self.lock(), TAKES_TOO_LONG.into());
    }

    fn fail_locked(&self, state: &mut State, error: io::Error) -> io::Error {
        state.failed.get_or_insert_with(|| again(&error));
        state.queue = OutputQueue::default();
        self.account(state);
        self.waiting.store(false, Ordering::Release);
        self.drained.notify_all();
        error
    }

    /// Asks the kernel whether the client has shut its side down or the connection is lost. A client that
    /// only shut its sending side is taken for gone: there is no other sign to tell them by.
    pub fn peer_has_left(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        let ends = PollFlags::RDHUP;
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
        let ends = PollFlags::HUP;
        let mut ask = [PollFd::new(&self.socket, ends)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut ask, Some(&at_once)), Ok(1..)) && !ask[0].revents().is_empty()
    }

    /// True once the client is known to be gone.
    pub fn has_failed(&self) -> bool {
        self.lock().failed.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; if something did, the queue is still a queue.
        ignore_poison(self.state.lock())
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        let charged = ignore_poison(self.state.get_mut()).charged;
        self.memory_budget.change_memory(charged, 0);
    }
}

/// The same error once more.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
