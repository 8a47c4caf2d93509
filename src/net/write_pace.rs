//! How slowly a client may read its response: `--write-timeout` and `--write-min-rate`. A policy
//! without I/O or clock.

use std::io;
use std::time::Duration;

use crate::config::Timeouts;
use crate::sys::clock::Moment;

/// The error of a response that was read more slowly than `--write-min-rate`. No call on a socket
/// returns it.
pub(super) const READ_TOO_SLOWLY: io::ErrorKind = io::ErrorKind::QuotaExceeded;

/// How slowly a client may read its response.
#[derive(Debug, Clone, Copy)]
pub(super) struct WritePace {
    /// How long it may read nothing (`--write-timeout`).
    timeout: Duration,
    /// The minimum average rate in bytes per second after that time (`--write-min-rate`); 0 is any
    /// rate.
    min_rate: u64,
}

/// What the client has read of a response since output first waited for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// Since when output waits: the socket was full.
    pub(super) since: Moment,
    /// When the socket last took bytes, or `since`.
    pub(super) progress: Moment,
    /// How long output has waited before, in all.
    pub(super) waited: Duration,
    /// Bytes that the socket has taken since output first waited.
    pub(super) bytes: u64,
}

impl From<&Timeouts> for WritePace {
    fn from(timeouts: &Timeouts) -> WritePace {
        WritePace { timeout: timeouts.write, min_rate: timeouts.write_min_rate }
    }
}

impl WritePace {
    /// When the client has read too slowly, and the error that its response then fails with.
    pub(super) fn deadline(self, reading: Reading) -> Option<(Moment, io::ErrorKind)> {
        let stalled = reading.progress.checked_add(self.timeout)?;
        if self.min_rate == 0 {
            return Some((stalled, io::ErrorKind::TimedOut));
        }
        let earned = Duration::try_from_secs_f64(reading.bytes as f64 / self.min_rate as f64).ok();
        // A client may read nothing for the timeout, so the rate counts after it.
        let slow = earned
            .and_then(|earned| self.timeout.checked_add(earned))
            .and_then(|time| reading.since.checked_add(time.saturating_sub(reading.waited)))
            .filter(|slow| *slow < stalled);
        Some(slow.map_or((stalled, io::ErrorKind::TimedOut), |slow| (slow, READ_TOO_SLOWLY)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    #[test]
    fn client_has_the_timeout_and_the_time_that_its_reading_earns() {
        let since = clock::now();
        let at = |seconds| since + Duration::from_secs(seconds);
        let (stalled, slow) = (io::ErrorKind::TimedOut, READ_TOO_SLOWLY);
        for (min_rate, bytes, waited, progress, expected) in [
            (0, 0, 0, 0, (at(30), stalled)),
            (0, 5, 99, 1000, (at(1030), stalled)),
            // Nothing was read: both times are the same.
            (500, 0, 0, 0, (at(30), stalled)),
            (500, 5000, 0, 5, (at(35), stalled)),
            (500, 5000, 0, 20, (at(40), slow)),
            (500, 5000, 15, 0, (at(25), slow)),
            (500, 5000, 99, 0, (since, slow)),
            (500, 50_000, 0, 20, (at(50), stalled)),
            (1, u64::MAX, 0, 20, (at(50), stalled)),
            (u64::MAX, 5000, 0, 20, (at(30), slow)),
        ] {
            let pace = WritePace { timeout: Duration::from_secs(30), min_rate };
            let waited = Duration::from_secs(waited);
            let reading = Reading { since, progress: at(progress), waited, bytes };
            assert_eq!(pace.deadline(reading), Some(expected), "{min_rate} {reading:?}");
        }
        let pace = WritePace { timeout: Duration::MAX, min_rate: 500 };
        let reading = Reading { since, progress: since, waited: Duration::ZERO, bytes: 0 };
        assert_eq!(pace.deadline(reading), None);
    }
}
