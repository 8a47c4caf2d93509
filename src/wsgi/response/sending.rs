//! Sends without the interpreter, and shows to the master what the thread waits for.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;

use super::{Response, SendError};
use crate::observe::enter_phase;
use crate::observe::shared_state::Phase;
use crate::wsgi::exchange::Exchange;

impl Response {
    /// Takes the exchange out and calls `call` with it while the state is unlocked; if `detached`,
    /// detached from the interpreter.
    pub(super) fn run_unlocked(
        &self,
        py: Python<'_>,
        detached: bool,
        call: impl FnOnce(&mut dyn Exchange) -> io::Result<()> + Send,
    ) -> Result<(), SendError> {
        let mut state = self.wait_for_exchange(py);
        state.exchange()?;
        // Without a connection nothing is sent. The thread's seat is that of another one.
        let detached = detached && !state.has_taken_connection();
        let mut exchange = state.exchange.take().ok_or(SendError::Ended)?;
        state.flushing = true;
        state.client_being_sent_to = Some(exchange.client());
        state.request_being_sent = detached.then(|| exchange.http().head().to_string());
        state.is_complete = exchange.http().has_ended();
        drop(state);
        // The exchange must be put back even after a panic: it owns the connection.
        let call = AssertUnwindSafe(|| call(&mut *exchange));
        let called = match detached {
            true => send_detached(py, || catch_unwind(call)),
            false => catch_unwind(call),
        };
        let mut state = self.state(py);
        state.exchange = Some(exchange);
        state.flushing = false;
        state.request_being_sent = None;
        state.client_being_sent_to = None;
        let has_waiter = std::mem::take(&mut state.has_waiter);
        drop(state);
        if has_waiter {
            self.exchange_returned.notify_all();
        }
        let called = called.unwrap_or_else(|_| Err(io::Error::other("panic while sending")));
        called.map_err(SendError::Disconnected)
    }
}

/// Calls `send` detached from the interpreter.
fn send_detached<T: Send>(py: Python<'_>, send: impl FnOnce() -> T + Send) -> T {
    let sent = py.detach(|| {
        enter_phase(Phase::Writing);
        let sent = send();
        enter_phase(Phase::WaitingForInterpreter);
        sent
    });
    enter_phase(Phase::Running);
    sent
}
