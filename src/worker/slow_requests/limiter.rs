//! Limits the lines about slow requests: when a database hangs, all requests are slow.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::net::PollerHandle;
use crate::observe::Count;
use crate::sync::ignore_poison;
use crate::sys::clock::Moment;

/// How many lines a worker logs within [`INTERVAL`].
const MAX_LINES: u32 = 10;
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts slow requests, and decides which are logged.
pub(super) struct Limiter {
    /// Has the counters of the worker.
    handle: Arc<PollerHandle>,
    window: Mutex<Window>,
}

/// The lines of an interval that begins with its first line.
#[derive(Debug, Default)]
struct Window {
    ends_at: Option<Moment>,
    lines: u32,
    /// Requests that were not logged since the last line.
    left_out: u64,
}

impl Limiter {
    pub(super) fn new(handle: Arc<PollerHandle>) -> Limiter {
        Limiter { handle, window: Mutex::default() }
    }

    /// Counts a slow request at `now`. Returns how many were not logged since the last line; `None`
    /// if this one is not logged, either.
    pub(super) fn admit(&self, now: Moment) -> Option<u64> {
        self.handle.counters().increment_and_take_report(Count::SlowRequest);
        ignore_poison(self.window.lock()).admit(now)
    }
}

impl Window {
    fn admit(&mut self, now: Moment) -> Option<u64> {
        if self.ends_at.is_none_or(|end| now >= end) {
            self.ends_at = Some(now + INTERVAL);
            self.lines = 0;
        }
        if self.lines == MAX_LINES {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_counted_and_reported_later() {
        let at = |s: u64| Moment::from_nanos(s * 1_000_000_000);
        let mut window = Window::default();
        for _ in 0..MAX_LINES {
            assert_eq!(window.admit(at(1)), Some(0));
        }
        assert_eq!(window.admit(at(2)), None);
        assert_eq!(window.admit(at(10)), None);
        assert_eq!(window.admit(at(11)), Some(2));
        assert_eq!(window.admit(at(12)), Some(0));
    }
}
