//! Moves the unsent output of one response to temporary files. So the thread that makes the
//! response is free as soon as the application has produced it, however slowly the client reads.
//!
//! Only that thread writes to the files, without a lock and detached from the interpreter: a slow
//! disk delays no other connection. It waits for its client instead if the unsent output reaches
//! `--response-spool`, if all files together reach `--limit-spool`, or if a file cannot be written.

use std::io::{self, IoSlice};
use std::sync::{Arc, Weak};

use log::{error, warn};

use super::output_queue::{Chunk, OutputQueue};
use super::poller_link::PollerLink;
use super::segment::Segment;
use super::tuning::{FAST_CLIENT_BYTES, SEGMENT_BYTES};
use crate::observe::{Count, counted};

/// The spool of one response.
#[derive(Debug)]
pub(super) struct ResponseSpool {
    /// Maximum of unsent bytes in files (`--response-spool`); 0 if there are no files.
    limit: u64,
    /// The current segment. Weak, so that its space is free as soon as all of it is sent.
    segment: Weak<Segment>,
    /// Why the thread last waited for the client instead.
    obstacle: Option<Obstacle>,
    /// The bytes that the connection had sent when its client was last found to be slow.
    slow_at: Option<u64>,
}

/// Why output is not moved to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// The unsent output has reached `--response-spool`.
    ResponseLimit,
    /// The files have reached `--limit-spool`.
    TotalLimit,
    /// A file could not be written. It is not tried again for this response.
    Failure,
}

impl ResponseSpool {
    pub(super) fn new(limit: u64) -> ResponseSpool {
        ResponseSpool { limit, segment: Weak::new(), obstacle: None, slow_at: None }
    }

    /// The unsent bytes, in memory and in files together, that do not make the thread wait.
    pub(super) fn limit(&self) -> u64 {
        if self.obstacle == Some(Obstacle::Failure) { 0 } else { self.limit }
    }

    /// True if the client may be fast enough to be waited for. `sent` counts the bytes that the
    /// connection has sent.
    pub(super) fn may_be_fast(&self, sent: u64) -> bool {
        self.slow_at.is_none_or(|before| sent - before >= FAST_CLIENT_BYTES)
    }

    /// The client is slow: it is not waited for until it has read more.
    pub(super) fn set_slow(&mut self, sent: u64) {
        self.slow_at = Some(sent);
    }

    /// Reserves space for `bytes` more, besides `spooled` bytes that are unsent. If it returns
    /// false, the thread waits for its client, which is reported once for each response.
    pub(super) fn reserve(&mut self, bytes: usize, spooled: u64, link: &PollerLink) -> bool {
        let bytes = bytes as u64;
        if bytes == 0 || self.limit() == 0 {
            return false;
        }
        let obstacle = if spooled + bytes > self.limit {
            Obstacle::ResponseLimit
        } else if !link.memory_budget.reserve_spool(bytes) {
            Obstacle::TotalLimit
        } else {
            return true;
        };
        if self.obstacle.replace(obstacle) != Some(obstacle) {
            obstacle.report(None, link);
        }
        false
    }

    /// Stores the output for which space was reserved; returns what takes its place in the queue.
    /// After a failure, which it reports, the output must stay in memory.
    pub(super) fn store(&mut self, output: &OutputQueue, link: &PollerLink) -> Option<Chunk> {
        match self.append(output, link) {
            Ok(chunk) => Some(chunk),
            Err(error) => {
                link.memory_budget.release_spool(output.size() as u64);
                self.obstacle = Some(Obstacle::Failure);
                Obstacle::Failure.report(Some(&error), link);
                None
            }
        }
    }

    fn append(&mut self, output: &OutputQueue, link: &PollerLink) -> io::Result<Chunk> {
        let current = self.segment.upgrade().filter(|segment| segment.stored() < SEGMENT_BYTES);
        let segment = match current {
            Some(segment) => segment,
            None => Arc::new(Segment::create(link.memory_budget.clone())?),
        };
        self.segment = Arc::downgrade(&segment);
        let mut slices: Vec<IoSlice<'_>> = output.slices().collect();
        segment.append(&mut slices).map(Chunk::Spooled)
    }
}

impl Obstacle {
    #[cold]
    fn report(self, error: Option<&io::Error>, link: &PollerLink) {
        let count = |what| link.counters.increment_and_take_report(what);
        match (self, error) {
            (Obstacle::ResponseLimit, _) => {
                if let Some(count) = count(Count::ResponseSpool) {
                    warn!(
                        target: "response.spool_full",
                        "Unsent output exceeds --response-spool: the application waits for its \
                         client in {}",
                        counted(count, "request")
                    );
                }
            }
            (Obstacle::TotalLimit, _) => {
                if let Some(count) = count(Count::ResponseSpoolLimit) {
                    warn!(
                        target: "response.spool_limit",
                        "Temporary files exceed --limit-spool: the application waits for its \
                         client in {}",
                        counted(count, "request")
                    );
                }
            }
            (Obstacle::Failure, error) => {
                if let Some(count) = count(Count::ResponseSpoolFailed) {
                    let error = error.map_or_else(String::new, |error| format!(": {error}"));
                    error!(
                        target: "response.spool_failed",
                        "Cannot store unsent output in a temporary file{error}: the application \
                         waits for its client in {}",
                        counted(count, "request")
                    );
                }
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests;
