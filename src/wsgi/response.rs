//! The response in progress, which `start_response`, `write` and the server's own loop share.
//!
//! It holds the exchange while the application runs. Once the exchange is taken out, a late call of
//! the application fails instead of writing to the connection. The lock is held briefly and never
//! while Python code may run: operations that could call back into the application (a `repr`, a
//! destructor) come after its release.
//!
//! The lock also decides who ends a request that has run longer than `--timeout`: the thread that
//! runs it, or the poller, which takes the exchange away from it ([`takeover`]).

mod hints;
mod named_file;
mod sending;
mod state;
mod takeover;
mod upgrade;

use takeover::queue_unavailable_page;
pub use takeover::{Ending, ResponseHandle, Takeover};
pub(super) use takeover::{TIMED_OUT, queue_error_page, queue_page};
pub(super) use upgrade::{TakeError, Upgrade};

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyBytes;

use super::exchange::{Client, Exchange};
use super::file_wrapper::Extent;
use crate::http1::{BodyTooShort, ResponseHead};
use crate::static_files::SendfileRoots;
use crate::sync::{ignore_poison, try_lock};
use named_file::OpenedFile;
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

/// How the content of a response that has ended compares with its Content-Length.
#[derive(Debug)]
pub(super) struct Length {
    /// The application sent more, which was dropped.
    pub(super) is_exceeded: bool,
    /// The application sent less, and the response was aborted.
    pub(super) missing: Result<(), BodyTooShort>,
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
    /// `sendfile` are the directories of `--sendfile-root`.
    pub(super) fn new(sendfile: Option<Arc<SendfileRoots>>) -> Response {
        let state = State { sendfile, ..State::default() };
        Response { state: Mutex::new(state), exchange_returned: Condvar::new() }
    }

    #[inline]
    fn state(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        try_lock(&self.state).unwrap_or_else(|| self.wait_for_lock(py))
    }

    /// Detaches from the interpreter to wait, as the thread that has the lock may need it.
    #[cold]
    fn wait_for_lock(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        ignore_poison(self.state.lock_py_attached(py))
    }

    /// Locks the state while no thread flushes. If another thread of the application does, waits
    /// for it to put the exchange back. The exchange is missing only after the response has ended.
    #[inline]
    fn wait_for_exchange(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        let state = self.state(py);
        if !state.flushing {
            return state;
        }
        drop(state);
        self.wait_for_flush(py)
    }

    #[cold]
    fn wait_for_flush(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        loop {
            py.detach(|| {
                let state = ignore_poison(self.state.lock());
                let state = self.exchange_returned.wait_while(state, |state| {
                    state.has_waiter = state.flushing;
                    state.flushing
                });
                drop(ignore_poison(state));
            });
            let state = self.state(py);
            if !state.flushing {
                return state;
            }
        }
    }

    /// The same, before content is queued: opens the file that the response names instead of it,
    /// detached from the interpreter.
    #[inline]
    fn wait_to_queue(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        let state = self.wait_for_exchange(py);
        if state.names_file() { self.open_named_file(py, state) } else { state }
    }

    #[cold]
    fn open_named_file<'a>(
        &'a self,
        py: Python<'_>,
        state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        let Some((roots, path)) = state.file_to_open() else { return state };
        drop(state);
        let opened = py.detach(|| OpenedFile::open(&roots, path));
        let mut state = self.wait_for_exchange(py);
        state.opened_file = Some(opened);
        state
    }

    /// Starts a response to the request of `exchange`.
    pub(super) fn put_exchange(&self, py: Python<'_>, exchange: Box<dyn Exchange>) {
        let mut state = self.state(py);
        state.started = false;
        state.exceeded_length = false;
        state.detach_to_send = false;
        state.is_ended = false;
        state.is_replaced = false;
        state.upgrade = Upgrade::None;
        state.opened_file = None;
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

    /// The client of the request. `None` if there is no request.
    pub(super) fn client(&self, py: Python<'_>) -> Option<Weak<dyn Client>> {
        let state = self.state(py);
        match (&state.exchange, &state.taken) {
            (Some(exchange), _) => Some(exchange.client()),
            (None, Some(taken)) => Some(taken.client.clone()),
            (None, None) => state.client_being_sent_to.clone(),
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
        if state.upgrade != Upgrade::None {
            drop(state);
            self.note_unsent(py, parse);
            return Ok(Ok(()));
        }
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
        let mut state = self.wait_to_queue(py);
        if state.exchange()?.is_full() {
            drop(state);
            self.run_unlocked(py, true, |exchange| exchange.make_room())?;
            state = self.wait_for_exchange(py);
        }
        let queued = state.queue(block, length)?;
        self.flush_soon_locked(py, state)?;
        Ok(queued)
    }

    /// Queues all blocks of a response whose length is their sum, and ends it.
    pub(super) fn queue_all(
        &self,
        py: Python<'_>,
        blocks: &[&Bound<'_, PyBytes>],
    ) -> Result<Length, SendError> {
        let total = blocks.iter().map(|block| block.as_bytes().len() as u64).sum();
        let mut state = self.wait_to_queue(py);
        for block in blocks {
            if !block.as_bytes().is_empty() && state.queue(block, Some(total))? != Queued::All {
                break;
            }
        }
        state.finish()
    }

    /// Queues a part of a file.
    pub(super) fn queue_file(&self, py: Python<'_>, extent: Extent) -> Result<(), SendError> {
        let mut state = self.wait_to_queue(py);
        state.detach_to_send = true;
        let exchange = state.begin(Some(extent.length))?;
        let length = usize::try_from(extent.length).unwrap_or(usize::MAX);
        let frame = exchange.http().frame(length);
        exchange.queue_copy(frame.prefix());
        if frame.take > 0 {
            exchange.queue_file(Arc::new(extent.file), extent.offset, frame.take as u64);
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
        self.flush_soon_locked(py, self.wait_for_exchange(py))
    }

    fn flush_soon_locked(
        &self,
        py: Python<'_>,
        mut state: MutexGuard<'_, State>,
    ) -> Result<(), SendError> {
        if state.detach_to_send {
            drop(state);
            return self.flush(py);
        }
        state.exchange()?.flush_soon().map_err(SendError::Disconnected)
    }

    /// Ends the response. Its content is empty if no block was sent.
    pub(super) fn finish(&self, py: Python<'_>) -> Result<Length, SendError> {
        self.wait_to_queue(py).finish()
    }
}
