//! When a connection times out while it receives a request.

use std::time::Duration;

use super::connection::Connection;
use super::proxied::Preamble;
use crate::config::Timeouts;
use crate::sys::clock::Moment;

impl Connection {
    /// When the connection times out unless more bytes come, while it reads.
    #[inline]
    pub(super) fn read_deadline(&self, timeouts: &Timeouts) -> Option<Moment> {
        if self.http.wants_content() {
            return self.content_deadline(timeouts);
        }
        let timeout = if self.is_in_handshake() {
            timeouts.handshake
        } else if self.is_kept_alive() {
            timeouts.keep_alive
        } else {
            timeouts.header
        };
        self.waiting_since.checked_add(timeout)
    }

    fn content_deadline(&self, timeouts: &Timeouts) -> Option<Moment> {
        let idle = self.waiting_since.checked_add(timeouts.body);
        let rate = match timeouts.body_min_rate {
            0 => None,
            rate => {
                let earned =
                    Duration::from_secs_f64(self.http.received_bytes() as f64 / rate as f64);
                let due = timeouts.body.checked_add(earned);
                due.and_then(|due| self.head_complete_at.checked_add(due))
            }
        };
        match (idle, rate) {
            (Some(idle), Some(rate)) => Some(idle.min(rate)),
            (idle, rate) => idle.or(rate),
        }
    }

    /// True while the client may continue its TLS handshake: a header of the PROXY protocol comes
    /// before it, and has a deadline of its own.
    pub(super) fn is_in_handshake(&self) -> bool {
        self.is_handshaking && self.preamble != Preamble::Required
    }
}
