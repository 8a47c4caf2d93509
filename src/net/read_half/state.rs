//! The content that a read half has received, without its socket.

use std::time::Duration;

use crate::config::Timeouts;
use crate::http1::{self, ContentDecoder, Event, Limits};
use crate::net::memory_budget::Reservation;

/// When a read returns, apart from the end of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Once it has as many bytes as it was asked for.
    Full,
    /// The same, or after a line feed.
    Line,
    /// Once it has any bytes.
    Any,
}

/// Why the content cannot be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It violates the protocol, or exceeds a limit.
    #[error("{0}")]
    Protocol(http1::Error),
    /// It did not arrive in time.
    #[error("the request content did not arrive in time")]
    Timeout,
    /// The client has disconnected.
    #[error("the client disconnected before its request was complete")]
    Disconnected,
    /// The response has ended, and the request with it.
    #[error("the request has ended")]
    Ended,
}

/// The state of a read half.
#[derive(Debug)]
pub(super) struct State {
    /// `None` once the connection has taken it back.
    pub(super) decoder: Option<ContentDecoder>,
    /// Bytes received but not decoded; after the end of the content, those of the next request.
    pub(super) input: Vec<u8>,
    /// Content that was not read yet, from `start` on.
    pub(super) content: Vec<u8>,
    pub(super) start: usize,
    /// The bytes of `input` and `content`, as the memory budget counts them.
    pub(super) reservation: Reservation,
    /// The socket may have something to read.
    pub(super) is_readable: bool,
    /// How many threads wait. Tracked, because `notify` costs a system call even without waiters.
    pub(super) waiting: usize,
    /// The client waits for a `100 Continue`.
    pub(super) owes_continue: bool,
    /// How long threads have waited for the client, in total and since the last content arrived.
    /// The time in which the application does not read is not the client's.
    pub(super) waited: Duration,
    pub(super) waited_since_content: Duration,
    /// The error that ended the content; later reads fail with it, too.
    pub(super) failed: Option<ReadError>,
}

impl State {
    /// Bytes of content that were not read yet.
    pub(super) fn unread(&self) -> usize {
        self.content.len() - self.start
    }

    pub(super) fn has_line(&self) -> bool {
        memchr::memchr(b'\n', &self.content[self.start..]).is_some()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.decoder.as_ref().is_some_and(ContentDecoder::is_complete)
    }

    /// Decodes all of `input` up to the end of the content.
    pub(super) fn decode(&mut self, limits: &Limits) -> Result<(), http1::Error> {
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        if decoder.is_complete() {
            return Ok(());
        }
        let mut used = 0;
        let result = loop {
            match decoder.receive(&self.input[used..], limits) {
                Ok((took, event)) => {
                    if let Event::Content(range) = &event {
                        let bytes = &self.input[used + range.start..used + range.end];
                        self.content.extend_from_slice(bytes);
                    }
                    used += took;
                    if !matches!(event, Event::Content(_)) {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        self.input.drain(..used);
        self.charge();
        result
    }

    /// No byte follows those that have arrived.
    pub(super) fn end(&mut self) {
        if let Some(decoder) = &mut self.decoder {
            decoder.end();
        }
    }

    /// Moves content to `taken` until it has `limit` bytes, or as `until` says. Returns whether
    /// that is so.
    pub(super) fn take(&mut self, taken: &mut Vec<u8>, limit: usize, until: Until) -> bool {
        let unread = &self.content[self.start..];
        let unread = &unread[..unread.len().min(limit - taken.len())];
        let (count, has_line) = match memchr::memchr(b'\n', unread) {
            Some(lf) if until == Until::Line => (lf + 1, true),
            _ => (unread.len(), false),
        };
        taken.extend_from_slice(&unread[..count]);
        self.start += count;
        if self.start == self.content.len() {
            self.content.clear();
            self.start = 0;
        }
        has_line || taken.len() == limit || (until == Until::Any && !taken.is_empty())
    }

    /// How much longer a thread waits for the client: `--body-timeout` since the last content, and
    /// `--body-min-rate` on average.
    pub(super) fn time_left(&self, timeouts: &Timeouts) -> Duration {
        let idle = timeouts.body.saturating_sub(self.waited_since_content);
        if timeouts.body_min_rate == 0 {
            return idle;
        }
        let received = self.decoder.as_ref().map_or(0, ContentDecoder::received_bytes);
        let earned = Duration::from_secs_f64(received as f64 / timeouts.body_min_rate as f64);
        idle.min(timeouts.body.saturating_add(earned).saturating_sub(self.waited))
    }

    /// Reports the bytes that are held to the memory budget.
    pub(super) fn charge(&mut self) {
        self.reservation.set(self.input.capacity() + self.content.capacity(), 0);
    }
}
