//! What becomes of requests that are complete but find no thread: whose client has gone, or which have
//! waited too long, are taken back from the queue and answered without the application.

use std::time::{Duration, Instant};

use log::{info, warn};

use super::super::connection::Connection;
use super::{Phase, Poller};
use crate::observe::Count;

/// How often those who wait are looked through, while anybody waits.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(100);
/// A client that shuts its sending side with its request may do that to say that there is nothing more; one
/// that does so later has given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// What is to become of a request that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It waits on.
    Keep,
    /// It has waited for longer than `--queue-timeout`.
    Expired,
    /// Its client is gone.
    Disconnected,
}

impl Poller {
    /// True if it is time to look through those who wait.
    pub fn is_sweep_due(&mut self) -> bool {
        let due = self.now >= self.next_sweep;
        if due {
            self.next_sweep = self.now + SWEEP_INTERVAL;
        }
        due
    }

    /// What is to become of a connection that is lent and waits.
    pub fn verdict(&self, connection: &Connection) -> Verdict {
        let slot = &self.slots[connection.key.0];
        if slot.left || connection.write_half.has_failed() {
            return Verdict::Disconnected;
        }
        let waited = self.now.saturating_duration_since(slot.lent_at);
        if waited >= self.settings.timeouts.queue { Verdict::Expired } else { Verdict::Keep }
    }

    /// Takes a connection back that was lent but whose request will not run, and answers or drops it.
    #[cold]
    pub fn reject_queued(&mut self, connection: Box<Connection>) {
        match self.verdict(&connection) {
            Verdict::Disconnected => self.drop_departed(connection),
            Verdict::Expired => {
                if let Some(count) =
                    self.handle.counters.increment_and_take_report(Count::QueueTimeout)
                {
                    warn!("overloaded: {count} request(s) got no thread within --queue-timeout");
                }
                self.answer_busy(connection, "the server is overloaded");
            }
            Verdict::Keep => {
                if let Some(count) =
                    self.handle.counters.increment_and_take_report(Count::QueueFull)
                {
                    warn!("overloaded: {count} request(s) found --limit-queue others waiting");
                }
                self.answer_busy(connection, "too many requests are waiting");
            }
        }
    }

    fn drop_departed(&mut self, connection: Box<Connection>) {
        if let Some(count) = self.handle.counters.increment_and_take_report(Count::ClientGone) {
            info!("{count} request(s) dropped before they ran: their clients had gone");
        }
        let key = connection.key;
        self.slots[key.0].connection = Some(connection);
        self.close(key);
    }

    fn answer_busy(&mut self, connection: Box<Connection>, detail: &str) {
        let key = connection.key;
        let slot = &mut self.slots[key.0];
        slot.phase = Phase::Sending;
        slot.connection = Some(connection);
        // It closes, so no further request can become ready.
        self.answer(key, 503, "Service Unavailable", detail, &mut Vec::new());
    }

    /// What it means that the client of a connection that was lent then sends no more, if that was not so when
    /// the kernel was last `asked`.
    pub(super) fn has_given_up(lent_at: Instant, asked: Instant) -> bool {
        asked.saturating_duration_since(lent_at) >= PATIENCE
    }
}
