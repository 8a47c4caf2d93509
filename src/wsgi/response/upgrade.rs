//! The end of a response whose request takes its connection: what the application sends by
//! `start_response` and blocks is discarded from then on.

use std::os::fd::OwnedFd;

use pyo3::prelude::*;

use super::Response;
use super::state::State;
use crate::http1::ResponseHead;
use crate::wsgi::raw_connection::{PreparedUpgrade, RawConnection, UpgradeRefusal};

/// Whether a request has taken its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::wsgi) enum Upgrade {
    /// It has not tried to.
    #[default]
    None,
    /// It has.
    Taken,
    /// It has, and the application has answered with an error afterwards: a framework has caught an
    /// exception.
    Failed,
    /// The server has refused, and responded.
    Refused,
}

/// Why a request cannot take its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wsgi) enum TakeError {
    /// The request has ended, or has taken it before.
    Over,
    /// The response has begun, or the request was not read to its end.
    Begun,
    /// A system call has failed.
    System,
}

impl State {
    /// The request has taken its connection.
    pub(super) fn has_taken_connection(&self) -> bool {
        matches!(self.upgrade, Upgrade::Taken | Upgrade::Failed)
    }

    fn check_takable(&mut self, connection: &RawConnection) -> Result<(), TakeError> {
        if connection.is_over() || self.upgrade != Upgrade::None {
            return Err(TakeError::Over);
        }
        let exchange = self.exchange().map_err(|_| TakeError::Over)?;
        if exchange.is_takable() { Ok(()) } else { Err(TakeError::Begun) }
    }

    /// From now on, nothing of the application is sent.
    fn end_for(&mut self, upgrade: Upgrade, head: ResponseHead) {
        self.upgrade = upgrade;
        self.is_replaced = true;
        self.head = head;
    }
}

impl Response {
    /// Fails if the request cannot take its connection.
    pub(in crate::wsgi) fn check_takable(
        &self,
        py: Python<'_>,
        connection: &RawConnection,
    ) -> Result<(), TakeError> {
        self.wait_for_exchange(py).check_takable(connection)
    }

    /// Takes the connection of the request, which continues without one.
    pub(in crate::wsgi) fn take_connection(
        &self,
        py: Python<'_>,
        connection: &RawConnection,
        prepared: &mut dyn PreparedUpgrade,
    ) -> Result<OwnedFd, TakeError> {
        let mut state = self.wait_for_exchange(py);
        state.check_takable(connection)?;
        let exchange = state.exchange.take().ok_or(TakeError::Over)?;
        match prepared.take(exchange) {
            Ok((socket, exchange)) => {
                state.exchange = Some(exchange);
                state.end_for(Upgrade::Taken, ResponseHead::switching_protocols());
                Ok(socket)
            }
            Err((exchange, error)) => {
                state.exchange = Some(exchange);
                drop(state);
                log::debug!("Cannot make a socket for the application: {error}");
                Err(TakeError::System)
            }
        }
    }

    /// Responds with 503 in place of the application.
    pub(in crate::wsgi) fn refuse_upgrade(
        &self,
        py: Python<'_>,
        connection: &RawConnection,
        refusal: UpgradeRefusal,
    ) {
        let mut state = self.wait_for_exchange(py);
        if state.check_takable(connection).is_err() {
            return;
        }
        let Some(exchange) = &mut state.exchange else { return };
        exchange.http().close_after_response();
        let page = format!("503 Service Unavailable: {}\n", refusal.reason());
        let head = super::queue_unavailable_page(&mut **exchange, &page);
        state.end_for(Upgrade::Refused, head);
        drop(state);
        // If the client has disconnected, the poller finds out.
        let _ = self.flush(py);
    }

    /// Parses the head of a response that is not sent, because the request has taken its
    /// connection.
    pub(super) fn note_unsent<E>(
        &self,
        py: Python<'_>,
        parse: impl FnOnce(&mut ResponseHead) -> Result<(), E>,
    ) {
        let mut head = ResponseHead::default();
        let _ = parse(&mut head);
        let mut state = self.state(py);
        state.started = true;
        if state.upgrade == Upgrade::Taken && head.status() >= 500 {
            state.upgrade = Upgrade::Failed;
        }
    }

    /// Whether the request has taken its connection.
    pub(in crate::wsgi) fn upgrade(&self, py: Python<'_>) -> Upgrade {
        self.state(py).upgrade
    }
}
