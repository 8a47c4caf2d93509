//! 103 responses, before the head of the final one. [RFC 8297]

use pyo3::prelude::*;

use super::{Response, SendError};
use crate::http1::Version;
use crate::wsgi::exchange::Exchange;

impl Response {
    /// Whether a 103 may still be sent: the client knows interim responses, and the head of the
    /// final one was not sent.
    pub(in crate::wsgi) fn accepts_hints(&self, py: Python<'_>) -> bool {
        let mut state = self.wait_for_exchange(py);
        state.exchange().is_ok_and(takes_hints)
    }

    /// Sends a 103 response at once, unless the head of the final response was sent meanwhile.
    pub(in crate::wsgi) fn send_hints(
        &self,
        py: Python<'_>,
        bytes: &[u8],
    ) -> Result<(), SendError> {
        let mut state = self.wait_for_exchange(py);
        let exchange = state.exchange()?;
        if !takes_hints(exchange) {
            return Ok(());
        }
        exchange.queue_interim(bytes);
        drop(state);
        self.flush(py)
    }
}

fn takes_hints(exchange: &mut dyn Exchange) -> bool {
    let http = exchange.http();
    !http.has_begun() && http.head().version() != Version::Http10
}
