//! How often each bound of the server was reached.
//!
//! A bound that is reached a thousand times a second must not write a thousand lines, nor may it be reached
//! in silence. So everything is counted, and [`Counters::add`] tells when it is time to say so once more.

use std::fmt::{self, Display};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The same thing is said once in so many milliseconds.
const QUIET: u64 = 10_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// A head that did not arrive within `--header-timeout`, or nothing at all.
    HeaderTimeout,
    /// A body that stopped, or came too slowly.
    BodyTimeout,
    /// A connection that was idle for `--keep-alive`.
    KeepAlive,
    /// A client that did not read its response.
    WriteTimeout,
    /// A request that breaks the protocol.
    Malformed,
    /// A request over one of its limits: 413, 414, 431.
    OverLimit,
    /// A request that waited too long for a thread.
    QueueTimeout,
    /// A request that found the queue full.
    QueueFull,
    /// A request whose client was gone before it ran.
    ClientGone,
    /// An idle connection that was closed to make room for another.
    IdleClosed,
    /// Accepting paused, as all connections there may be are busy.
    ConnectionLimit,
    /// Accepting paused, as the system refused another descriptor.
    AcceptFailed,
    /// A request that found the buffers' memory used up.
    MemoryLimit,
    /// A response that its client did not read while memory was short.
    StalledClosed,
    /// A body that found the space for temporary files used up.
    SpoolLimit,
    /// A body that the system could not store.
    SpoolFailed,
}

/// All there are, with the names they are shown under.
const NAMES: [(Count, &str); 16] = [
    (Count::HeaderTimeout, "header_timeout"),
    (Count::BodyTimeout, "body_timeout"),
    (Count::KeepAlive, "keep_alive"),
    (Count::WriteTimeout, "write_timeout"),
    (Count::Malformed, "malformed"),
    (Count::OverLimit, "over_limit"),
    (Count::QueueTimeout, "queue_timeout"),
    (Count::QueueFull, "queue_full"),
    (Count::ClientGone, "client_gone"),
    (Count::IdleClosed, "idle_closed"),
    (Count::ConnectionLimit, "connection_limit"),
    (Count::AcceptFailed, "accept_failed"),
    (Count::MemoryLimit, "memory_limit"),
    (Count::StalledClosed, "stalled_closed"),
    (Count::SpoolLimit, "spool_limit"),
    (Count::SpoolFailed, "spool_failed"),
];

/// The counters of one process. Shown, they are `name=count` for each that is not zero.
#[derive(Debug)]
pub struct Counters {
    since: Instant,
    each: [Counter; NAMES.len()],
}

#[derive(Debug, Default)]
struct Counter {
    count: AtomicU64,
    /// How many of them were told of.
    told: AtomicU64,
    /// In milliseconds of this process, when to tell of the next.
    due: AtomicU64,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters { since: Instant::now(), each: Default::default() }
    }
}

impl Counters {
    /// Counts one. If it is time to tell of it, returns how many have come since it was last told.
    pub fn add(&self, what: Count) -> Option<u64> {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.add_at(what, now)
    }

    fn add_at(&self, what: Count, now: u64) -> Option<u64> {
        let Counter { count, told, due } = &self.each[what as usize];
        let count = count.fetch_add(1, Ordering::Relaxed) + 1;
        let at = due.load(Ordering::Relaxed);
        // Whoever moves the time tells.
        let tells = now >= at
            && due.compare_exchange(at, now + QUIET, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        tells.then(|| count - told.swap(count, Ordering::Relaxed))
    }

    /// How many there were.
    pub fn get(&self, what: Count) -> u64 {
        self.each[what as usize].count.load(Ordering::Relaxed)
    }

    /// Every counter, by name.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.iter().map(|&(what, name)| (name, self.get(what)))
    }

    /// True if no bound was ever reached.
    pub fn are_zero(&self) -> bool {
        self.all().all(|(_, count)| count == 0)
    }
}

impl Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, count) in self.all().filter(|&(_, count)| count > 0) {
            write!(f, "{separator}{name}={count}")?;
            separator = " ";
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_in_the_order_of_the_counters() {
        for (index, (what, _)) in NAMES.iter().enumerate() {
            assert_eq!(*what as usize, index);
        }
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_in_sum() {
        let counters = Counters::default();
        assert_eq!(counters.to_string(), "none");
        assert_eq!(counters.add_at(Count::QueueFull, 5), Some(1));
        assert_eq!(counters.add_at(Count::QueueFull, 6), None);
        assert_eq!(counters.add_at(Count::QueueFull, 5 + QUIET - 1), None);
        assert_eq!(counters.add_at(Count::KeepAlive, 7), Some(1));
        assert_eq!(counters.add_at(Count::QueueFull, 5 + QUIET), Some(3));
        assert_eq!(counters.to_string(), "keep_alive=1 queue_full=4");
    }
}
