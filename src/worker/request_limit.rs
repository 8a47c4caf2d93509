//! Notices at once that a worker has run as many requests as `--max-requests` lets it.
//!
//! Connections of HTTP/2 have to learn of it before their clients have opened many more streams. So
//! it is counted with each request, which costs an atomic operation only with that option.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of requests after which a worker is replaced.
pub struct RequestLimit {
    /// How many more; beyond the limit it wraps around.
    left: AtomicU64,
    /// Tells the thread that asks for a replacement.
    on_reached: Box<dyn Fn() + Send + Sync>,
}

impl RequestLimit {
    /// `on_reached` is called once, by the thread that has run the last request, which it must not
    /// delay.
    pub fn new(limit: u64, on_reached: impl Fn() + Send + Sync + 'static) -> RequestLimit {
        RequestLimit { left: AtomicU64::new(limit), on_reached: Box::new(on_reached) }
    }

    /// Counts a request that has ended. True if it is the last one, apart from those that arrive
    /// until the worker is replaced.
    pub(super) fn count(&self) -> bool {
        // The control thread, which the last one wakes, reads what all threads have counted.
        let is_last = self.left.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last {
            (self.on_reached)();
        }
        is_last
    }
}

impl fmt::Debug for RequestLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestLimit").field("left", &self.left).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn limit_is_reached_once() {
        let calls = Arc::new(AtomicU64::new(0));
        let called = calls.clone();
        let limit = RequestLimit::new(3, move || {
            called.fetch_add(1, Ordering::Relaxed);
        });
        let last: Vec<_> = (0..6).map(|_| limit.count()).collect();
        assert_eq!(last, [false, false, true, false, false, false]);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
