//! The reading half of a connection while the application runs, with `--request-buffering off`: the
//! application reads the content of its request as it arrives.
//!
//! The thread that reads takes the bytes from the socket itself, without blocking. If there are
//! none, it waits here until the poller reports that the socket is readable, or the client is too
//! slow. The lock is held only around non-blocking calls, never while a thread waits. So the poller
//! and the thread that responds can end a read at any time: [`ReadHalf::end`] takes the
//! connection's part back, and fails the read.
//!
//! Nothing is stored in a file: beyond [`READ_AHEAD`] the flow control of the kernel, or that of
//! HTTP/2, holds the client back.

mod state;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use log::debug;

use super::http2;
use super::limit_options::exceeded_limit;
use super::memory_budget::Reservation;
use super::output_queue::OutputQueue;
use super::poller_link::PollerLink;
use super::tuning::{READ_AHEAD, READ_BUFFER};
use super::write_half::WriteHalf;
use crate::config::{Settings, Timeouts};
use crate::http1::{ContentDecoder, Limits};
use crate::observe::Count;
use crate::sync::{Condvar, Mutex, MutexGuard, ignore_poison};
use crate::sys::clock;
use state::State;
pub use state::{ReadError, Until};

/// The reading half of a connection whose request runs.
#[derive(Debug)]
pub struct ReadHalf {
    /// Has the socket; sends the `100 Continue`.
    write_half: Arc<WriteHalf>,
    link: Arc<PollerLink>,
    limits: Limits,
    timeouts: Timeouts,
    state: Mutex<State>,
    /// Notified when the socket is readable, or `failed` is set.
    readable: Condvar,
}

/// What is known about content that no read has taken yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There is content to read.
    Content,
    /// The content has ended.
    End,
    /// The rest has not arrived.
    Blocked,
}

impl ReadHalf {
    pub(super) fn new(
        write_half: Arc<WriteHalf>,
        link: Arc<PollerLink>,
        settings: &Settings,
        (decoder, input): (ContentDecoder, Vec<u8>),
        expect_continue: bool,
    ) -> ReadHalf {
        let state = State {
            decoder: Some(decoder),
            // A client that sends its content without waiting needs no 100.
            owes_continue: expect_continue && input.is_empty(),
            input,
            content: Vec::new(),
            start: 0,
            reservation: Reservation::new(link.memory_budget.clone()),
            is_readable: true,
            waiting: 0,
            waited: Duration::ZERO,
            waited_since_content: Duration::ZERO,
            failed: None,
        };
        let half = ReadHalf {
            write_half,
            link,
            limits: settings.limits,
            timeouts: settings.timeouts,
            state: Mutex::new(state),
            readable: Condvar::new(),
        };
        half.lock().charge();
        half
    }

    /// Reads up to `limit` bytes of content without waiting, and without a system call. `None` if
    /// that is not possible.
    pub fn read_buffered(&self, limit: usize, until: Until) -> Option<Vec<u8>> {
        let mut state = self.state.try_lock().ok()?;
        if let Err(error) = state.decode(&self.limits) {
            // The content before it can still be read. Then the call that may wait fails.
            self.fail(&mut state, ReadError::Protocol(error));
        }
        let is_enough = match until {
            Until::Any => state.unread() > 0,
            Until::Full => state.unread() >= limit,
            Until::Line => state.unread() >= limit || state.has_line(),
        };
        if !is_enough && !state.is_complete() {
            return None;
        }
        let mut taken = Vec::new();
        state.take(&mut taken, limit, until);
        Some(taken)
    }

    /// Reads up to `limit` bytes of content; less only at the end of the content, or as `until`
    /// says. Waits for the client. Fails if the content cannot be read to its end.
    pub fn read(&self, limit: usize, until: Until) -> Result<Vec<u8>, ReadError> {
        let mut taken = Vec::new();
        let mut state = self.lock();
        while !state.take(&mut taken, limit, until) {
            match self.advance(&mut state)? {
                Progress::Content => {}
                Progress::End => break,
                Progress::Blocked => state = self.wait(state)?,
            }
        }
        Ok(taken)
    }

    /// Before the response begins: no `100 Continue` may follow it. Looks whether the rest of the
    /// content has arrived, up to [`READ_AHEAD`], and returns whether the content is complete. If
    /// not, the connection must close after the response.
    pub fn is_complete_at_response(&self) -> bool {
        let mut state = self.lock();
        state.owes_continue = false;
        while state.unread() < READ_AHEAD {
            match self.receive(&mut state) {
                Ok(Progress::Content) => {}
                Ok(Progress::End) => return true,
                Ok(Progress::Blocked) | Err(_) => return false,
            }
        }
        state.is_complete()
    }

    /// True if the content is complete. Looks whether the rest has arrived, unless its client waits
    /// for a `100 Continue`.
    pub fn is_complete(&self) -> bool {
        let state = self.lock();
        if state.owes_continue {
            return state.is_complete();
        }
        drop(state);
        self.is_complete_at_response()
    }

    /// The error that ended the content, if it could not be read to its end.
    pub fn error(&self) -> Option<ReadError> {
        self.lock().failed
    }

    /// The error as clients and logs see it: its status, reason phrase and text.
    pub fn describe(&self, error: ReadError) -> (u16, &'static str, String) {
        let (status, reason) = match error {
            ReadError::Protocol(error) => error.status(),
            ReadError::Timeout => (408, "Request Timeout"),
            ReadError::Disconnected | ReadError::Ended => (400, "Bad Request"),
        };
        let limit = match error {
            ReadError::Protocol(error) => exceeded_limit(error, &self.limits),
            _ => None,
        };
        let over = limit.map(|(option, limit)| format!(" (over {option} {limit})"));
        (status, reason, format!("{error}{}", over.unwrap_or_default()))
    }

    /// For the poller: the socket may have something to read.
    pub(super) fn on_readable(&self) {
        let mut state = self.lock();
        state.is_readable = true;
        if state.waiting > 0 {
            self.readable.notify_all();
        }
    }

    /// Fails all later reads, and those that wait.
    pub(super) fn disconnect(&self) {
        self.fail(&mut self.lock(), ReadError::Disconnected);
    }

    /// Ends the reading: takes the connection's part back, which is the decoder and the bytes that
    /// follow the content. Later reads fail. `None` if it was taken before.
    pub(super) fn end(&self) -> Option<(ContentDecoder, Vec<u8>)> {
        let mut state = self.lock();
        let _ = state.decode(&self.limits);
        self.fail(&mut state, ReadError::Ended);
        let decoder = state.decoder.take()?;
        let mut input = std::mem::take(&mut state.input);
        if !decoder.is_complete() {
            input = Vec::new();
        }
        state.content = Vec::new();
        state.start = 0;
        state.charge();
        Some((decoder, input))
    }

    /// Receives more content if all that has arrived was read.
    fn advance(&self, state: &mut State) -> Result<Progress, ReadError> {
        if state.unread() > 0 {
            return Ok(Progress::Content);
        }
        self.receive(state)
    }

    /// Decodes what was received, then what the socket has; waits for nothing.
    fn receive(&self, state: &mut State) -> Result<Progress, ReadError> {
        if let Some(error) = state.failed {
            return Err(error);
        }
        let before = state.unread();
        loop {
            let decoded = state.decode(&self.limits);
            let decoded = decoded.map_err(|error| self.fail(state, ReadError::Protocol(error)));
            if state.unread() > before {
                // Content before an error can be read; the next call fails.
                state.waited_since_content = Duration::ZERO;
                return Ok(Progress::Content);
            }
            decoded?;
            if state.is_complete() {
                return Ok(Progress::End);
            }
            state.is_readable = false;
            state.input.resize(READ_BUFFER, 0);
            let read = self.write_half.transport().read(&mut state.input);
            state.input.truncate(*read.as_ref().unwrap_or(&0));
            state.charge();
            match read {
                // The end of its stream ends the content of HTTP/2.
                Ok(0) if self.write_half.transport().stream().is_some() => state.end(),
                Ok(0) => return Err(self.fail(state, ReadError::Disconnected)),
                // It did not wait for the 100.
                Ok(_) => state.owes_continue = false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // A client that waits for its 100 Continue may take long: hold no buffer.
                    state.input = Vec::new();
                    state.charge();
                    return Ok(Progress::Blocked);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    debug!("cannot read the content of a request: {error}");
                    return Err(self.fail(state, ReadError::Disconnected));
                }
            }
        }
    }

    /// Waits until the socket is readable. Fails if the client is too slow.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, ReadError> {
        if std::mem::take(&mut state.owes_continue) && self.send_continue().is_err() {
            return Err(self.fail(&mut state, ReadError::Disconnected));
        }
        while !state.is_readable {
            if let Some(error) = state.failed {
                return Err(error);
            }
            let left = state.time_left(&self.timeouts);
            if left.is_zero() {
                // An event may be late, as in a process that was suspended: read once more.
                return match self.receive(&mut state)? {
                    Progress::Blocked => Err(self.fail(&mut state, ReadError::Timeout)),
                    Progress::Content | Progress::End => Ok(state),
                };
            }
            // A year stands for "no limit", which would overflow the clock's arithmetic.
            let left = left.min(Duration::from_secs(365 * 86_400));
            let start = clock::now();
            state.waiting += 1;
            state = ignore_poison(self.readable.wait_timeout(state, left)).0;
            state.waiting -= 1;
            let waited = clock::now().saturating_duration_since(start);
            state.waited += waited;
            state.waited_since_content += waited;
        }
        Ok(state)
    }

    fn send_continue(&self) -> io::Result<()> {
        const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        if let Some(stream) = self.write_half.transport().stream() {
            stream.send_interim(http2::interim(CONTINUE));
            return Ok(());
        }
        let mut queue = OutputQueue::default();
        queue.gather(|out| out.extend_from_slice(CONTINUE));
        self.write_half.send_all(&mut queue, &self.link)
    }

    /// Ends the content with an error, which is counted; the first one stays.
    fn fail(&self, state: &mut State, error: ReadError) -> ReadError {
        if let Some(first) = state.failed {
            return first;
        }
        state.failed = Some(error);
        let count = match error {
            ReadError::Protocol(error) if matches!(error.status().0, 413 | 431) => {
                Some(Count::OverLimit)
            }
            ReadError::Protocol(_) => Some(Count::Malformed),
            ReadError::Timeout => Some(Count::BodyTimeout),
            ReadError::Disconnected | ReadError::Ended => None,
        };
        if let Some(count) = count {
            self.link.counters.increment_and_take_report(count);
        }
        if state.waiting > 0 {
            self.readable.notify_all();
        }
        error
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        ignore_poison(self.state.lock())
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests;
