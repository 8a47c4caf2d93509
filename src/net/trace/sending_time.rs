//! The time that the thread of a request has spent sending, which other threads read meanwhile.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::sys::clock::Moment;

const RELAXED: Ordering = Ordering::Relaxed;

/// The time that the thread of one request has spent sending. Only that thread adds to it.
#[derive(Debug, Default)]
pub struct SendingTime {
    /// Nanoseconds, without the current send.
    sent_ns: AtomicU64,
    /// When the current send began, in nanoseconds of the clock; 0 if there is none.
    since_ns: AtomicU64,
}

impl SendingTime {
    /// The time until `now`.
    pub fn until(&self, now: Moment) -> Duration {
        let since = self.since_ns.load(RELAXED);
        let current = if since == 0 { 0 } else { now.as_nanos().saturating_sub(since) };
        Duration::from_nanos(self.sent_ns.load(RELAXED).saturating_add(current))
    }

    /// A send begins.
    pub(in crate::net) fn begin(&self, now: Moment) {
        self.since_ns.store(now.as_nanos(), RELAXED);
    }

    /// The send has ended.
    pub(in crate::net) fn end(&self, now: Moment) {
        let sent = u64::try_from(self.until(now).as_nanos()).unwrap_or(u64::MAX);
        self.since_ns.store(0, RELAXED);
        self.sent_ns.store(sent, RELAXED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_add_up_and_the_current_one_counts() {
        let at = |ms: u64| Moment::from_nanos(ms * 1_000_000);
        let time = SendingTime::default();
        assert_eq!(time.until(at(5)), Duration::ZERO);
        time.begin(at(10));
        assert_eq!(time.until(at(13)), Duration::from_millis(3));
        time.end(at(15));
        assert_eq!(time.until(at(99)), Duration::from_millis(5));
        time.begin(at(100));
        time.end(at(101));
        assert_eq!(time.until(at(200)), Duration::from_millis(6));
    }
}
