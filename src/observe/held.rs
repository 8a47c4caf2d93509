//! The INFO lines of a start, held back until its outcome is known.
//!
//! If the start fails, they are never written, so that its error stands alone. If it takes long,
//! they are written meanwhile: first that it starts, and later the rest. Only the master holds
//! lines; a worker writes its own at once.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::sync::ignore_poison;

/// After this time the lines up to the first listener are written: the user sees that the server
/// starts.
const SHOW_START_AFTER: Duration = Duration::from_secs(2);

/// The event of the first line that waits for the outcome itself.
const OUTCOME: &str = "server.listening";

/// The process that holds lines; 0 if none does. Read without a lock for each line. A child of that
/// process writes its own lines: nothing would ever write those that it held.
static HOLDER: AtomicU32 = AtomicU32::new(0);
static HELD: Mutex<Held> =
    Mutex::new(Held { since: None, limit: Duration::ZERO, lines: Vec::new() });

/// The lines, formatted, with their events.
#[derive(Debug, Default)]
struct Held {
    /// When holding began.
    since: Option<Instant>,
    /// The time after which all lines are written.
    limit: Duration,
    lines: Vec<(String, String)>,
}

impl Held {
    /// When the next lines are due.
    fn deadline(&self) -> Option<Instant> {
        let limit = match self.lines.first() {
            Some((event, _)) if event != OUTCOME => SHOW_START_AFTER.min(self.limit),
            _ => self.limit,
        };
        self.since?.checked_add(limit)
    }

    /// Takes the lines that are due, and ends the holding when all of them are.
    fn take_due(&mut self, now: Instant) -> Vec<(String, String)> {
        let Some(elapsed) = self.since.map(|since| now.saturating_duration_since(since)) else {
            return Vec::new();
        };
        if elapsed >= self.limit {
            return self.take_all();
        }
        if elapsed < SHOW_START_AFTER {
            return Vec::new();
        }
        let end = self.lines.iter().position(|(event, _)| event == OUTCOME);
        let end = end.unwrap_or(self.lines.len());
        self.lines.drain(..end).collect()
    }

    fn take_all(&mut self) -> Vec<(String, String)> {
        std::mem::take(self).lines
    }
}

fn lock() -> MutexGuard<'static, Held> {
    ignore_poison(HELD.lock())
}

/// Begins to hold back lines, for at most this time.
pub(super) fn begin(limit: Duration) {
    *lock() = Held { since: Some(Instant::now()), limit, lines: Vec::new() };
    HOLDER.store(std::process::id(), Relaxed);
}

/// In a process that continues its parent: holds the lines that the parent did.
pub(super) fn inherit() {
    if is_active_here_or_in_parent() {
        HOLDER.store(std::process::id(), Relaxed);
    }
}

/// Whether this process holds lines back.
pub(super) fn is_active() -> bool {
    is_active_here_or_in_parent() && HOLDER.load(Relaxed) == std::process::id()
}

/// Whether this process holds lines back, or has been forked by one that did.
pub(super) fn is_active_here_or_in_parent() -> bool {
    HOLDER.load(Relaxed) != 0
}

/// Holds a line back.
pub(super) fn push(event: &str, line: String) {
    lock().lines.push((event.to_owned(), line));
}

/// Takes all lines, and ends the holding.
pub(super) fn end() -> Vec<(String, String)> {
    HOLDER.store(0, Relaxed);
    lock().take_all()
}

/// Takes the lines that are due.
pub(super) fn take_due(now: Instant) -> Vec<(String, String)> {
    if !is_active() {
        return Vec::new();
    }
    let mut held = lock();
    let due = held.take_due(now);
    if held.since.is_none() {
        HOLDER.store(0, Relaxed);
    }
    due
}

/// When the next lines are due.
pub(super) fn deadline() -> Option<Instant> {
    if is_active() { lock().deadline() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn events(lines: &[(String, String)]) -> Vec<&str> {
        lines.iter().map(|(event, _)| event.as_str()).collect()
    }

    #[test]
    fn start_is_shown_before_the_listeners() {
        let since = Instant::now();
        let line = |event: &str| (event.to_owned(), String::new());
        let lines = ["server.starting", "config.files", "server.listening", "worker.booting"];
        let mut held = Held { since: Some(since), limit: LIMIT, lines: lines.map(line).into() };
        assert_eq!(held.deadline(), Some(since + SHOW_START_AFTER));
        assert!(held.take_due(since).is_empty());
        assert_eq!(events(&held.take_due(since + SHOW_START_AFTER)), &lines[..2]);
        assert_eq!(held.deadline(), Some(since + LIMIT));
        assert!(held.take_due(since + SHOW_START_AFTER).is_empty());
        assert_eq!(events(&held.take_due(since + LIMIT)), &lines[2..]);
        assert_eq!(held.deadline(), None);
        assert!(held.take_due(since + LIMIT).is_empty());
    }

    #[test]
    fn start_without_listener_is_shown_at_the_first_time() {
        let since = Instant::now();
        let line = ("server.starting".to_owned(), String::new());
        let mut held = Held { since: Some(since), limit: LIMIT, lines: vec![line] };
        assert_eq!(held.take_due(since + SHOW_START_AFTER).len(), 1);
        assert!(held.since.is_some(), "later lines are still held");
    }
}
