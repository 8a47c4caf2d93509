//! The response in progress, which `start_response`, `write` and the server's own loop share.
//!
//! It holds the exchange while the application runs. Once the exchange is taken out, a late call of
//! the application fails instead of writing to the connection. The lock is held briefly and never
//! while Python code may run: operations that could call back into the application (a `repr`, a
//! destructor) come after its release.
//!
//! The lock also decides who ends a request that has run longer than `--timeout`: the thread that
//! runs it, or the poller, which takes the exchange away from it ([`takeover`]).

mod state;
mod takeover;

pub use takeover::{Ending, ResponseHandle, Takeover};
pub(super) use takeover::{TIMED_OUT, queue_error_page, queue_page};

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyBytes;

use super::exchange::Exchange;
use super::file_wrapper::Extent;
use crate::http1::{BodyTooShort, ResponseHead};
use crate::sync::ignore_poison;
use state::State;

/// The response to the request that a worker thread serves. One object serves many requests.
pub(super) struct Response {
    state: Mutex<State>,
    /// Notified when a flush puts the exchange back.
    exchange_returned: Condvar,
}

/// How much of a block was queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queued {
    /// All of it.
    All,
    /// Nothing, as the response has no content (HEAD, 204, 205, 304). Later blocks have no effect.
    NoContent,
    /// Only what the Content-Length still allowed.
    Excess,
}

/// Why a block was not sent.
#[derive(Debug)]
pub(super) enum SendError {
    /// The application has not called start_response.
    NotStarted,
    /// The client has disconnected, or stopped reading.
    Disconnected(io::Error),
    /// The response has ended.
    Ended,
    /// The request has run longer than `--timeout`, and the poller has ended the response.
    TimedOut,
}

/// Why a call of start_response failed, whatever its arguments.
#[derive(Debug)]
pub(super) enum StartError {
    /// The response has ended.
    Ended,
    /// The request has run longer than `--timeout`, and the poller has ended the response.
    TimedOut,
    /// A second call without `exc_info`.
    Repeated,
    /// A call with `exc_info`, but the head was already sent.
    HeadSent,
}

impl Response {
    pub(super) fn new() -> Response {
        Response { state: Mutex::default(), exchange_returned: Condvar::new() }
    }

    fn state(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        ignore_poison(self.state.lock_py_attached(py))
    }

    /// Locks the state while no thread flushes. If another thread of the application does, waits
    /// for it to put the exchange back. The exchange is missing only after the response has ended.
    fn wait_for_exchange(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        loop {
            let state = self.state(py);
            if !state.flushing {
                return state;
            }
            drop(state);
            py.detach(|| {
                let state = ignore_poison(self.state.lock());
                let state = self.exchange_returned.wait_while(state, |state| {
                    state.has_waiter = state.flushing;
                    state.flushing
                });
                drop(ignore_poison(state));
            });
        }
    }

    /// Starts a response to the request of `exchange`.
    pub(super) fn put_exchange(&self, py: Python<'_>, exchange: Box<dyn Exchange>) {
        let mut state = self.state(py);
        state.started = false;
        state.exceeded_length = false;
        state.detach_to_send = false;
        state.is_ended = false;
        state.taken = None;
        state.exchange = Some(exchange);
    }

    /// Ends the response for the application: late calls fail. Calls `end` with the exchange and
    /// the head of the response. `None` if the poller has taken the exchange.
    pub(super) fn end<T>(
        &self,
        py: Python<'_>,
        end: impl FnOnce(&mut dyn Exchange, &mut ResponseHead) -> T,
    ) -> Option<T> {
        let mut state = self.wait_for_exchange(py);
        state.is_ended = true;
        let State { exchange, head, .. } = &mut *state;
        exchange.as_mut().map(|exchange| end(&mut **exchange, head))
    }

    /// The head of the response, and how many bytes of content were sent after it.
    pub(super) fn sent(&self, py: Python<'_>) -> (ResponseHead, u64) {
        let mut state = self.wait_for_exchange(py);
        let State { exchange, head, taken, .. } = &mut *state;
        let sent_bytes = match (exchange, taken) {
            (Some(exchange), _) => exchange.http().sent_bytes(),
            (None, taken) => taken.as_ref().map_or(0, |taken| taken.sent_bytes),
        };
        (head.clone(), sent_bytes)
    }

    /// Takes the exchange out, so that late calls of the application fail, and swaps the head of
    /// the response into `head`. `None` if the poller has taken the exchange.
    pub(super) fn take_exchange(
        &self,
        py: Python<'_>,
        head: &mut ResponseHead,
    ) -> Option<Box<dyn Exchange>> {
        let mut state = self.wait_for_exchange(py);
        std::mem::swap(&mut state.head, head);
        let mut exchange = state.exchange.take()?;
        if !exchange.http().has_ended() {
            // The step that should have ended it has panicked.
            exchange.http().abort();
        }
        Some(exchange)
    }

    /// The request as the error log names it. `None` if there is none.
    pub(super) fn describe_request(&self, py: Python<'_>) -> Option<String> {
        let mut state = self.state(py);
        let State { exchange, taken, .. } = &mut *state;
        match (exchange, taken) {
            (Some(exchange), _) => Some(exchange.http().head().to_string()),
            (None, Some(taken)) => Some(taken.request.clone()),
            // A flush takes microseconds, so a request in this state waits for a slow client.
            (None, None) => {
                let request = state.request_being_sent.as_ref();
                request.map(|request| format!("{request} (waiting for its client to read)"))
            }
        }
    }

    /// True once start_response was called successfully.
    pub(super) fn is_started(&self, py: Python<'_>) -> bool {
        self.state(py).started
    }

    /// The Content-Length that the application declared.
    pub(super) fn declared_length(&self, py: Python<'_>) -> Option<u64> {
        self.state(py).head.content_length()
    }

    /// Returns whether the application sent more content than it declared, and resets the flag.
    pub(super) fn take_exceeded_length(&self, py: Python<'_>) -> bool {
        std::mem::take(&mut self.state(py).exceeded_length)
    }

    /// Sets status and headers. `parse` writes them into a head; if it fails, nothing changes.
    /// `exc_info` says whether the call has one.
    pub(super) fn start<E>(
        &self,
        py: Python<'_>,
        exc_info: bool,
        parse: impl FnOnce(&mut ResponseHead) -> Result<(), E>,
    ) -> Result<Result<(), E>, StartError> {
        let mut state = self.wait_for_exchange(py);
        state.check_start(exc_info)?;
        if !cfg!(Py_GIL_DISABLED) {
            let parsed = parse(&mut state.draft);
            state.accept_draft(parsed.is_ok());
            return Ok(parsed);
        }
        // Without a GIL another thread may change the list of headers at the same time. Then the
        // parser drops the last reference to an item, whose destructor must not run under the lock.
        let mut draft = std::mem::take(&mut state.draft);
        drop(state);
        let parsed = parse(&mut draft);
        let mut state = self.wait_for_exchange(py);
        state.draft = draft;
        state.check_start(exc_info)?;
        state.accept_draft(parsed.is_ok());
        Ok(parsed)
    }

    /// Queues a block, after the head if it is the first, and schedules a flush.
    ///
    /// Back-pressure: makes room first if unsent output exceeds the high-water mark, which may
    /// block. It does so before queueing, so that the thread does not wait after the last block.
    /// `length` is the length of the whole content in bytes, if the caller knows it.
    pub(super) fn send(
        &self,
        block: &Bound<'_, PyBytes>,
        length: Option<u64>,
    ) -> Result<Queued, SendError> {
        let py = block.py();
        let mut state = self.wait_for_exchange(py);
        if state.exchange()?.is_full() {
            drop(state);
            self.run_unlocked(py, true, |exchange| exchange.make_room())?;
            state = self.wait_for_exchange(py);
        }
        let queued = state.queue(block, length)?;
        drop(state);
        self.flush_soon(py)?;
        Ok(queued)
    }

    /// Queues all blocks of a response whose length is their sum, and ends it.
    pub(super) fn queue_all(
        &self,
        py: Python<'_>,
        blocks: &[&Bound<'_, PyBytes>],
    ) -> Result<Result<(), BodyTooShort>, SendError> {
        let total = blocks.iter().map(|block| block.as_bytes().len() as u64).sum();
        let mut state = self.wait_for_exchange(py);
        for block in blocks {
            if !block.as_bytes().is_empty() && state.queue(block, Some(total))? != Queued::All {
                break;
            }
        }
        Ok(state.begin(Some(0))?.finish())
    }

    /// Queues a part of a file.
    pub(super) fn queue_file(&self, py: Python<'_>, extent: Extent) -> Result<(), SendError> {
        let mut state = self.wait_for_exchange(py);
        state.detach_to_send = true;
        let exchange = state.begin(Some(extent.length))?;
        let length = usize::try_from(extent.length).unwrap_or(usize::MAX);
        let frame = exchange.http().frame(length);
        exchange.queue_copy(frame.prefix());
        if frame.take > 0 {
            exchange.queue_file(extent.file, extent.offset, frame.take as u64);
        }
        exchange.queue_copy(frame.suffix);
        Ok(())
    }

    /// Writes the queue to the socket, and leaves the rest to the poller.
    pub(super) fn flush(&self, py: Python<'_>) -> Result<(), SendError> {
        let detach_to_send = std::mem::take(&mut self.wait_for_exchange(py).detach_to_send);
        self.run_unlocked(py, detach_to_send, |exchange| exchange.flush())
    }

    /// Schedules a flush for when this thread leaves the application, or for a few milliseconds
    /// later, whichever comes first. A large block or a file is flushed at once. A server must
    /// "guarantee that it will continue transmission even while the application is producing its
    /// next block". [PEP 3333, "Buffering and Streaming"]
    pub(super) fn flush_soon(&self, py: Python<'_>) -> Result<(), SendError> {
        let mut state = self.wait_for_exchange(py);
        if state.detach_to_send {
            drop(state);
            return self.flush(py);
        }
        state.exchange()?.flush_soon().map_err(SendError::Disconnected)
    }

    /// Takes the exchange out and calls `call` with it while the state is unlocked; if `detached`,
    /// detached from the interpreter.
    fn run_unlocked(
        &self,
        py: Python<'_>,
        detached: bool,
        call: impl FnOnce(&mut dyn Exchange) -> io::Result<()> + Send,
    ) -> Result<(), SendError> {
        let mut state = self.wait_for_exchange(py);
        state.exchange()?;
        let mut exchange = state.exchange.take().ok_or(SendError::Ended)?;
        state.flushing = true;
        state.request_being_sent = detached.then(|| exchange.http().head().to_string());
        drop(state);
        // The exchange must be put back even after a panic: it owns the connection.
        let call = AssertUnwindSafe(|| call(&mut *exchange));
        let called = if detached { py.detach(|| catch_unwind(call)) } else { catch_unwind(call) };
        let mut state = self.state(py);
        state.exchange = Some(exchange);
        state.flushing = false;
        state.request_being_sent = None;
        let has_waiter = std::mem::take(&mut state.has_waiter);
        drop(state);
        if has_waiter {
            self.exchange_returned.notify_all();
        }
        let called = called.unwrap_or_else(|_| Err(io::Error::other("panic while sending")));
        called.map_err(SendError::Disconnected)
    }

    /// Ends the response. Its content is empty if no block was sent.
    pub(super) fn finish(&self, py: Python<'_>) -> Result<Result<(), BodyTooShort>, SendError> {
        Ok(self.wait_for_exchange(py).begin(Some(0))?.finish())
    }
}
