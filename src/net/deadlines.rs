//! When a connection times out while it receives a request.

use std::time::{Duration, Instant};

use super::connection::Connection;
use crate::config::Timeouts;

impl Connection {
    /// When the connection times out unless more bytes come, while it reads.
    pub(super) fn read_deadline(&self, timeouts: &Timeouts) -> Option<Instant> {
        if self.http.wants_content() {
            let idle = self.waiting_since.checked_add(timeouts.body);
            let rate = match timeouts.body_min_rate {
                0 => None,
                rate => {
                    let earned =
                        Duration::from_secs_f64(self.http.received_bytes() as f64 / rate as f64);
                    timeouts
                        .body
                        .checked_add(earned)
                        .and_then(|due| self.head_complete_at.checked_add(due))
                }
            };
            return match (idle, rate) {
                (Some(idle), Some(rate)) => Some(idle.min(rate)),
                (idle, rate) => idle.or(rate),
            };
        }
        let timeout = if self.is_kept_alive() { timeouts.keep_alive } else { timeouts.header };
        self.waiting_since.checked_add(timeout)
    }
}
