//! Counts how often each limit of the server was reached, and limits the rate of reports.
//!
//! A limit that is reached a thousand times a second must not log a thousand lines, but must not be
//! silent either. So every event is counted, and [`Counters::increment_and_take_report`] returns
//! the number to report at most once in ten seconds.

use std::fmt::{self, Display};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::shared_state::{LIMITS, WorkerSlot};

/// The shortest time between two reports of the same counter.
const REPORT_INTERVAL_MS: u64 = 10_000;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// A request head was incomplete, or missing, after `--header-timeout`.
    HeaderTimeout,
    /// A TLS handshake was incomplete after `--handshake-timeout`.
    HandshakeTimeout,
    /// A TLS handshake failed, or its client has disconnected.
    HandshakeFailed,
    /// A client sent plain HTTP to an HTTPS address.
    PlainHttp,
    /// A request body stopped, or arrived too slowly.
    BodyTimeout,
    /// A connection was idle for `--keep-alive`.
    KeepAlive,
    /// A client did not read its response.
    WriteTimeout,
    /// A client read its response too slowly.
    WriteRate,
    /// A request violated the protocol.
    Malformed,
    /// A request of HTTP/1.1 had no Host.
    MissingHost,
    /// A request was larger than a limit: 413, 414, 431.
    OverLimit,
    /// A connection of `--proxy-allow-from` had no valid header of the PROXY protocol.
    ProxyMalformed,
    /// A connection of another peer had such a header.
    ProxyRefused,
    /// A request waited longer than `--queue-timeout` for a thread.
    QueueTimeout,
    /// A request was rejected because the queue was full.
    QueueFull,
    /// A client disconnected while its request was queued.
    ClientDisconnected,
    /// An idle connection was evicted for a new one.
    IdleClosed,
    /// A connection with an incomplete request was evicted for a new one.
    IncompleteClosed,
    /// Accepting paused: `--worker-connections` connections were open and busy.
    ConnectionLimit,
    /// Accepting paused: the system refused another descriptor.
    AcceptFailed,
    /// A request was rejected because the memory for buffers was used up.
    MemoryLimit,
    /// A response was dropped, as memory was short and its client did not read.
    StalledClosed,
    /// A body was rejected because the space for temporary files was used up.
    SpoolLimit,
    /// A body could not be written to its temporary file.
    SpoolFailed,
    /// An application waited for its client: the unsent output reached `--response-spool`.
    ResponseSpool,
    /// An application waited for its client: the space for temporary files was used up.
    ResponseSpoolLimit,
    /// An application waited for its client: a temporary file could not be written.
    ResponseSpoolFailed,
    /// A request could not take its connection: `--max-upgrades` have.
    UpgradeLimit,
    /// A static file could not be opened or read.
    StaticFailed,
    /// An application has named a file outside of `--sendfile-root`.
    SendfileOutside,
    /// A file that an application has named could not be opened.
    SendfileFailed,
    /// A client of HTTP/2 reset too many of its streams.
    Http2Resets,
    /// A client of HTTP/2 sent too many frames that carry nothing.
    Http2ControlFrames,
    /// A client of HTTP/2 exceeded another bound of the protocol.
    Http2Excess,
    /// A stream of HTTP/2 was refused, as too many of its client's requests still ran.
    Http2Refused,
    /// A request was handed over to another worker.
    HandedOver,
    /// A request of another worker was taken over.
    TakenOver,
    /// A request of another worker could not be taken over.
    HandOverFailed,
    /// A request has run longer than `--slow-request`.
    SlowRequest,
    /// A line of a log was lost: its reader does not keep up, or it cannot be written.
    LogLines,
    /// A line of the access log was lost: the handlers of `--log-python` do not keep up.
    RoutedLines,
}

/// All counters in the order of [`Count`], with their names.
const NAMES: [(Count, &str); LIMITS] = [
    (Count::HeaderTimeout, "header_timeout"),
    (Count::HandshakeTimeout, "handshake_timeout"),
    (Count::HandshakeFailed, "handshake_failed"),
    (Count::PlainHttp, "plain_http"),
    (Count::BodyTimeout, "body_timeout"),
    (Count::KeepAlive, "keep_alive"),
    (Count::WriteTimeout, "write_timeout"),
    (Count::WriteRate, "write_rate"),
    (Count::Malformed, "malformed"),
    (Count::MissingHost, "missing_host"),
    (Count::OverLimit, "over_limit"),
    (Count::ProxyMalformed, "proxy_malformed"),
    (Count::ProxyRefused, "proxy_refused"),
    (Count::QueueTimeout, "queue_timeout"),
    (Count::QueueFull, "queue_full"),
    (Count::ClientDisconnected, "client_disconnected"),
    (Count::IdleClosed, "idle_closed"),
    (Count::IncompleteClosed, "incomplete_closed"),
    (Count::ConnectionLimit, "connection_limit"),
    (Count::AcceptFailed, "accept_failed"),
    (Count::MemoryLimit, "memory_limit"),
    (Count::StalledClosed, "stalled_closed"),
    (Count::SpoolLimit, "spool_limit"),
    (Count::SpoolFailed, "spool_failed"),
    (Count::ResponseSpool, "response_spool"),
    (Count::ResponseSpoolLimit, "response_spool_limit"),
    (Count::ResponseSpoolFailed, "response_spool_failed"),
    (Count::UpgradeLimit, "upgrade_limit"),
    (Count::StaticFailed, "static_failed"),
    (Count::SendfileOutside, "sendfile_outside"),
    (Count::SendfileFailed, "sendfile_failed"),
    (Count::Http2Resets, "http2_resets"),
    (Count::Http2ControlFrames, "http2_control_frames"),
    (Count::Http2Excess, "http2_excess"),
    (Count::Http2Refused, "http2_refused"),
    (Count::HandedOver, "handed_over"),
    (Count::TakenOver, "taken_over"),
    (Count::HandOverFailed, "hand_over_failed"),
    (Count::SlowRequest, "slow_request"),
    (Count::LogLines, "log_lines"),
    (Count::RoutedLines, "routed_lines"),
];

/// The names of all counters, in the order of [`Count`].
pub fn limit_names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(_, name)| *name)
}

/// The counters of one process. Displayed as `name=count` for each that is not zero.
#[derive(Debug)]
pub struct Counters {
    started: Instant,
    counters: [Counter; NAMES.len()],
    /// The slot that shows them to the master, if there is one.
    slot: OnceLock<Arc<WorkerSlot>>,
}

#[derive(Debug, Default)]
struct Counter {
    count: AtomicU64,
    /// The count at the last report.
    reported: AtomicU64,
    /// The earliest time for the next report, in milliseconds since [`Counters::started`].
    next_report_ms: AtomicU64,
}

impl Default for Counters {
    fn default() -> Counters {
        let counters = std::array::from_fn(|_| Counter::default());
        Counters { started: Instant::now(), counters, slot: OnceLock::new() }
    }
}

impl Counters {
    /// Shows what is counted from now on to the master, too.
    pub fn show_in(&self, slot: Arc<WorkerSlot>) {
        let _ = self.slot.set(slot);
    }

    /// Counts one. Rate-limited: returns the count since the last report, or `None` if one was made
    /// less than 10 s ago. The caller logs it.
    pub fn increment_and_take_report(&self, what: Count) -> Option<u64> {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.increment_at(what, now_ms)
    }

    fn increment_at(&self, what: Count, now_ms: u64) -> Option<u64> {
        self.add(what, 1);
        let Counter { next_report_ms, .. } = &self.counters[what as usize];
        let due = next_report_ms.load(Ordering::Relaxed);
        let next = now_ms + REPORT_INTERVAL_MS;
        let relaxed = Ordering::Relaxed;
        // Of several threads, the one that advances the time reports.
        let is_ours =
            now_ms >= due && next_report_ms.compare_exchange(due, next, relaxed, relaxed).is_ok();
        is_ours.then(|| self.take_report(what))
    }

    /// Counts several, without a report.
    pub fn add(&self, what: Count, number: u64) {
        if let Some(slot) = self.slot.get() {
            slot.count_limit(what as usize, number);
        }
        self.counters[what as usize].count.fetch_add(number, Ordering::Relaxed);
    }

    /// The count since the last report, however long ago that was. The caller logs it.
    pub fn take_report(&self, what: Count) -> u64 {
        let Counter { count, reported, .. } = &self.counters[what as usize];
        let count = count.load(Ordering::Relaxed);
        // Another thread may have reported a later count meanwhile, which stays.
        count.saturating_sub(reported.fetch_max(count, Ordering::Relaxed))
    }

    /// The current count.
    pub fn get(&self, what: Count) -> u64 {
        self.counters[what as usize].count.load(Ordering::Relaxed)
    }

    /// All counters and their names.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        NAMES.iter().map(|&(what, name)| (name, self.get(what)))
    }

    /// No limit was ever reached.
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
    fn names_are_in_the_order_of_the_enum() {
        for (index, (what, _)) in NAMES.iter().enumerate() {
            assert_eq!(*what as usize, index);
        }
    }

    #[test]
    fn first_event_is_reported_at_once_and_later_ones_in_sum() {
        let counters = Counters::default();
        assert_eq!(counters.to_string(), "none");
        assert_eq!(counters.increment_at(Count::QueueFull, 5), Some(1));
        assert_eq!(counters.increment_at(Count::QueueFull, 6), None);
        assert_eq!(counters.increment_at(Count::QueueFull, 5 + REPORT_INTERVAL_MS - 1), None);
        assert_eq!(counters.increment_at(Count::KeepAlive, 7), Some(1));
        assert_eq!(counters.increment_at(Count::QueueFull, 5 + REPORT_INTERVAL_MS), Some(3));
        assert_eq!(counters.to_string(), "keep_alive=1 queue_full=4");
        counters.add(Count::QueueFull, 3);
        assert_eq!(
            (counters.take_report(Count::QueueFull), counters.get(Count::QueueFull)),
            (3, 7)
        );
        assert_eq!(counters.take_report(Count::QueueFull), 0);
        // Another thread has counted and reported two more since this one read the count.
        counters.counters[Count::QueueFull as usize].reported.store(9, Ordering::Relaxed);
        assert_eq!(counters.take_report(Count::QueueFull), 0);
        counters.add(Count::QueueFull, 3);
        assert_eq!(counters.take_report(Count::QueueFull), 1);
    }
}
