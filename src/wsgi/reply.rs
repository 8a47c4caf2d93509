//! One response while it is being made: what `start_response`, `write` and the server's own loop share.
//!
//! It holds the exchange while the application runs, so that a call that comes too late finds
//! nothing and reaches nobody's socket. Its lock is held for moments only, and never while Python code
//! may run: what could call back into an application (a `repr`, a destructor) waits until it is free.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyBytes;

use super::block;
use super::exchange::Exchange;
use super::file_wrapper::Extent;
use crate::http1::{ResponseHead, TooShort};
use crate::sync::ignore_poison;

/// Blocks of at least this many bytes are sent from where Python keeps them.
const SHARE: usize = 16 * 1024;
/// Blocks of at least this many bytes are sent while other Python threads run. A smaller one is with the
/// kernel sooner than another thread could have the interpreter.
const DETACH: usize = 64 * 1024;

/// The state of one response after another.
pub(super) struct Reply {
    state: Mutex<State>,
    /// Told when a flush puts the exchange back.
    returned: Condvar,
}

#[derive(Default)]
struct State {
    /// The exchange, unless a thread is flushing it.
    exchange: Option<Box<dyn Exchange>>,
    /// A thread has taken the exchange and will put it back.
    flushing: bool,
    /// A thread waits for that.
    awaited: bool,
    /// The exchange's request, while the thread that has it lets others run.
    away: Option<String>,
    /// What the last successful start_response said.
    head: ResponseHead,
    /// Where the next one is put together, so that one that fails changes nothing.
    draft: ResponseHead,
    /// start_response was called successfully.
    started: bool,
    /// The application gave more than its Content-Length allows.
    excess: bool,
    /// So much is queued, or a file, that other threads should run while it is sent.
    bulky: bool,
}

/// What came of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queued {
    /// All of it is on its way.
    All,
    /// The response has no content: HEAD, 204, 205, 304. No further block can have an effect.
    Nothing,
    /// Its Content-Length allows no more, or not all of it.
    Excess,
}

/// Why a block could not be sent.
#[derive(Debug)]
pub(super) enum SendError {
    /// start_response was not called yet.
    NotStarted,
    /// The client is gone.
    Gone(io::Error),
    /// The exchange is over.
    Late,
}

/// Why start_response was refused, apart from what it was given.
#[derive(Debug)]
pub(super) enum StartError {
    /// The exchange is over.
    Late,
    /// There was a call before, and this one has no `exc_info`.
    Twice,
    /// There is `exc_info`, but the head is already with the client.
    Sent,
}

impl Reply {
    pub(super) fn new() -> Reply {
        Reply { state: Mutex::default(), returned: Condvar::new() }
    }

    fn state(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        ignore_poison(self.state.lock_py_attached(py))
    }

    /// The state with the exchange in it, unless that is over. Another thread of the application may be
    /// flushing it; it is waited for.
    fn settled(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        loop {
            let state = self.state(py);
            if !state.flushing {
                return state;
            }
            drop(state);
            py.detach(|| {
                let state = ignore_poison(self.state.lock());
                let idle = self.returned.wait_while(state, |state| {
                    state.awaited = state.flushing;
                    state.flushing
                });
                drop(ignore_poison(idle));
            });
        }
    }

    /// Takes reservation of an exchange.
    pub(super) fn arm(&self, py: Python<'_>, exchange: Box<dyn Exchange>) {
        let mut state = self.state(py);
        state.started = false;
        state.excess = false;
        state.bulky = false;
        state.exchange = Some(exchange);
    }

    /// Gives the exchange back and puts the head of its response into `head`; later calls find nothing.
    /// `None` if none was handed in.
    pub(super) fn disarm(
        &self,
        py: Python<'_>,
        head: &mut ResponseHead,
    ) -> Option<Box<dyn Exchange>> {
        let mut state = self.settled(py);
        std::mem::swap(&mut state.head, head);
        state.exchange.take()
    }

    /// Looks at the exchange, if it is here.
    pub(super) fn with<T>(
        &self,
        py: Python<'_>,
        look: impl FnOnce(&mut dyn Exchange) -> T,
    ) -> Option<T> {
        self.settled(py).exchange.as_mut().map(|exchange| look(&mut **exchange))
    }

    /// The request as the error log names it; `None` if there is none.
    pub(super) fn request(&self, py: Python<'_>) -> Option<String> {
        let mut state = self.state(py);
        match &mut state.exchange {
            Some(exchange) => Some(exchange.http().head().to_string()),
            // Sending takes a moment: what is found here is the wait for room.
            None => state.away.as_ref().map(|head| format!("{head} (waits for its client)")),
        }
    }

    /// True once start_response was called.
    pub(super) fn is_started(&self, py: Python<'_>) -> bool {
        self.state(py).started
    }

    /// The declared Content-Length.
    pub(super) fn declared(&self, py: Python<'_>) -> Option<u64> {
        self.state(py).head.content_length()
    }

    /// True if the application gave more bytes than it declared; says so once.
    pub(super) fn take_excess(&self, py: Python<'_>) -> bool {
        std::mem::take(&mut self.state(py).excess)
    }

    /// Remembers what start_response is told. `read` puts it together; nothing changes if that fails.
    pub(super) fn start<E>(
        &self,
        py: Python<'_>,
        exc_info: bool,
        read: impl FnOnce(&mut ResponseHead) -> Result<(), E>,
    ) -> Result<Result<(), E>, StartError> {
        let mut state = self.settled(py);
        let State { exchange, head, draft, started, .. } = &mut *state;
        let exchange = exchange.as_mut().ok_or(StartError::Late)?;
        match exc_info {
            true if exchange.http().has_begun() => return Err(StartError::Sent),
            false if *started => return Err(StartError::Twice),
            _ => {}
        }
        let result = read(draft);
        if result.is_ok() {
            std::mem::swap(head, draft);
            *started = true;
        }
        Ok(result)
    }

    /// Queues a block, behind the head if it is the first, and sends what the socket takes. It waits first if
    /// the client is far behind: first, so that after the last block nobody waits.
    /// `length` is the content's length in all, if the caller knows it.
    pub(super) fn send(
        &self,
        block: &Bound<'_, PyBytes>,
        length: Option<u64>,
    ) -> Result<Queued, SendError> {
        let py = block.py();
        let mut state = self.settled(py);
        if state.exchange.as_ref().is_some_and(|exchange| exchange.is_full()) {
            drop(state);
            self.lend(py, true, |exchange| exchange.wait())?;
            state = self.settled(py);
        }
        let queued = state.queue(block, length)?;
        drop(state);
        self.flush_soon(py)?;
        Ok(queued)
    }

    /// Queues all blocks there are and ends the response.
    pub(super) fn queue_all(
        &self,
        py: Python<'_>,
        blocks: &[&Bound<'_, PyBytes>],
    ) -> Result<Result<(), TooShort>, SendError> {
        let total = blocks.iter().map(|block| block.as_bytes().len() as u64).sum();
        let mut state = self.settled(py);
        for block in blocks {
            if !block.as_bytes().is_empty() && state.queue(block, Some(total))? != Queued::All {
                break;
            }
        }
        Ok(state.begin(Some(0))?.finish())
    }

    /// Queues part of a file.
    pub(super) fn queue_file(&self, py: Python<'_>, extent: Extent) -> Result<(), SendError> {
        let mut state = self.settled(py);
        state.bulky = true;
        let exchange = state.begin(Some(extent.length))?;
        let length = usize::try_from(extent.length).unwrap_or(usize::MAX);
        let frame = exchange.http().frame(length);
        exchange.copy(frame.prefix());
        if frame.take > 0 {
            exchange.send_file(extent.file, extent.offset, frame.take as u64);
        }
        exchange.copy(frame.suffix);
        Ok(())
    }

    /// Sends what is queued, as far as the socket takes it.
    pub(super) fn flush(&self, py: Python<'_>) -> Result<(), SendError> {
        let bulky = std::mem::take(&mut self.settled(py).bulky);
        self.lend(py, bulky, |exchange| exchange.flush())
    }

    /// Has what is queued sent when this thread is done with the application, or soon in any case: "a server
    /// must either fully transmit the block, or guarantee that it will continue transmission even while
    /// the application is producing its next block". [PEP 3333, "Buffering and Streaming"]
    pub(super) fn flush_soon(&self, py: Python<'_>) -> Result<(), SendError> {
        let mut state = self.settled(py);
        if state.bulky {
            drop(state);
            return self.flush(py);
        }
        let exchange = state.exchange.as_mut().ok_or(SendError::Late)?;
        exchange.flush_soon().map_err(SendError::Gone)
    }

    /// Does something with the exchange while nobody else may have it, and while other Python threads run
    /// if it is to be `detached`.
    fn lend(
        &self,
        py: Python<'_>,
        detached: bool,
        call: impl FnOnce(&mut dyn Exchange) -> io::Result<()> + Send,
    ) -> Result<(), SendError> {
        let mut state = self.settled(py);
        let mut exchange = state.exchange.take().ok_or(SendError::Late)?;
        state.flushing = true;
        state.away = detached.then(|| exchange.http().head().to_string());
        drop(state);
        // The exchange must come back, whatever happens: the connection hangs on it.
        let call = AssertUnwindSafe(|| call(&mut *exchange));
        let called = if detached { py.detach(|| catch_unwind(call)) } else { catch_unwind(call) };
        let mut state = self.state(py);
        state.exchange = Some(exchange);
        state.flushing = false;
        state.away = None;
        let awaited = std::mem::take(&mut state.awaited);
        drop(state);
        if awaited {
            self.returned.notify_all();
        }
        let called = called.unwrap_or_else(|_| Err(io::Error::other("the server has a bug")));
        called.map_err(SendError::Gone)
    }

    /// Ends the response with what start_response said; with no content if nothing of it was sent yet.
    pub(super) fn finish(&self, py: Python<'_>) -> Result<Result<(), TooShort>, SendError> {
        Ok(self.settled(py).begin(Some(0))?.finish())
    }
}

impl State {
    /// Queues the head unless it is queued already.
    fn begin(&mut self, length: Option<u64>) -> Result<&mut dyn Exchange, SendError> {
        let State { exchange, head, started, .. } = self;
        let exchange = exchange.as_mut().ok_or(SendError::Late)?;
        if !*started {
            return Err(SendError::NotStarted);
        }
        if !exchange.http().has_begun() {
            exchange.begin(head, length);
        }
        Ok(&mut **exchange)
    }

    fn queue(
        &mut self,
        block: &Bound<'_, PyBytes>,
        length: Option<u64>,
    ) -> Result<Queued, SendError> {
        let bytes = block.as_bytes();
        let exchange = self.begin(length)?;
        let frame = exchange.http().frame(bytes.len());
        let take = frame.take;
        exchange.copy(frame.prefix());
        // A subclass may have a destructor that is the application's, so it is not kept.
        if take < SHARE || !block.is_exact_instance_of::<PyBytes>() {
            exchange.copy(&bytes[..take]);
        } else {
            exchange.share(block::share(block).slice(..take));
        }
        exchange.copy(frame.suffix);
        let silent = exchange.http().sends_no_content();
        self.bulky |= take >= DETACH;
        match take < bytes.len() {
            _ if silent => Ok(Queued::Nothing),
            true => {
                self.excess = true;
                Ok(Queued::Excess)
            }
            false => Ok(Queued::All),
        }
    }
}
