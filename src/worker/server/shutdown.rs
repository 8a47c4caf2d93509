//! The graceful shutdown of a server: begins it, and ends one that takes too long. Then idle
//! connections are closed, and what is aborted is logged.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use log::{debug, warn};
use pyo3::prelude::*;

use super::Server;
use crate::net::Census;
use crate::observe::counted;

/// How long idle connections may take to close when the graceful timeout is over.
const IDLE_CLOSE: Duration = Duration::from_millis(300);
/// How long the poller may take to count its connections.
const CENSUS_LIMIT: Duration = Duration::from_secs(1);

/// How long requests that have taken their connections may run once these are shut down.
pub(super) const UPGRADE_END: Duration = Duration::from_secs(1);

/// How long the sentinel may take to end once the server has stopped.
const SENTINEL_END: Duration = Duration::from_millis(100);

/// How a graceful shutdown ends at its timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GracefulEnd {
    /// All threads have ended.
    Stopped,
    /// Only idle connections are open.
    Idle,
    /// The exit aborts requests.
    Aborted,
}

impl Server {
    /// Begins a graceful shutdown: stops accepting, and lets running requests finish. Returns at
    /// once. Does nothing in a forked process.
    pub fn stop(&self) {
        if self.is_own_process() {
            self.shared.dispatcher.handle.stop();
        }
    }

    /// Begins the graceful shutdown of a process that another one replaces: keep-alive connections
    /// may send one more request. Returns at once.
    pub fn retire(&self) {
        self.shared.dispatcher.handle.retire();
    }

    /// Begins the graceful shutdown of a process whose successor starts when it has ended: idle
    /// connections close, and clients in the accept queue are left to the successor. Returns at
    /// once.
    pub fn yield_to_successor(&self) {
        self.shared.dispatcher.handle.yield_to_successor();
    }

    /// Waits until all threads have ended, for `limit` at most, and after it for requests that have
    /// taken their connections: these are shut down. Returns whether they have.
    pub fn join_gracefully(&mut self, py: Python<'_>, limit: Option<Duration>) -> PyResult<bool> {
        Ok(self.join(py, limit)?
            || self.shared.threads.shut_down_upgrades(py) && self.join(py, Some(UPGRADE_END))?)
    }

    /// The graceful timeout is over: logs what the process aborts when it exits now. Connections
    /// that are idle, as a proxy keeps them, are closed first; they are no reason for a warning.
    pub fn end_graceful_period(&mut self, py: Python<'_>) -> PyResult<GracefulEnd> {
        if self.shared.threads.shut_down_upgrades(py) && self.join(py, Some(UPGRADE_END))? {
            return Ok(GracefulEnd::Stopped);
        }
        let running = self.shared.wsgi.running(py);
        if running.is_empty() {
            self.stop();
            if self.join(py, Some(IDLE_CLOSE))? {
                return Ok(GracefulEnd::Stopped);
            }
        }
        let handle = &self.shared.dispatcher.handle;
        let census = py.detach(|| handle.census(CENSUS_LIMIT));
        match unfinished(&running, census) {
            Some(what) => {
                warn!(target: "server.aborted", "Shut down after the graceful timeout: {what}");
                Ok(GracefulEnd::Aborted)
            }
            None => {
                debug!("Shut down after the graceful timeout: closing idle connections");
                Ok(GracefulEnd::Idle)
            }
        }
    }
}

/// Waits for the sentinel to end, for `limit`, or a moment if that is shorter. Returns whether it
/// has.
pub(super) fn has_ended_within(sentinel: &JoinHandle<()>, limit: Duration) -> bool {
    let began = Instant::now();
    while !sentinel.is_finished() && began.elapsed() < limit.max(SENTINEL_END) {
        std::thread::sleep(Duration::from_millis(1));
    }
    sentinel.is_finished()
}

/// What a shutdown aborts: the requests that run, as the error log names them, and those of
/// `census`, which is `None` if the poller did not answer.
fn unfinished(running: &[String], census: Option<Census>) -> Option<String> {
    let mut parts = Vec::new();
    if !running.is_empty() {
        parts.push(format!("still running: {}", running.join(", ")));
    }
    let Census { receiving, sending, lent } = census.unwrap_or_default();
    for (count, noun, what) in [
        (lent.saturating_sub(running.len()), "request", "waited for a thread"),
        (receiving, "request", "had not arrived completely"),
        (sending, "response", "had not been read completely"),
    ] {
        if count > 0 {
            parts.push(format!("{} {what}", counted(count as u64, noun)));
        }
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_wait_for_something_are_counted() {
        let census = |receiving, sending, lent| Some(Census { receiving, sending, lent });
        for (running, census, expected) in [
            (&[][..], None, None),
            (&[], census(0, 0, 0), None),
            (&["GET /a"], None, Some("still running: GET /a")),
            (&["GET /a", "GET /b"], census(0, 0, 2), Some("still running: GET /a, GET /b")),
            (
                &["GET /a"],
                census(1, 2, 3),
                Some(
                    "still running: GET /a; 2 requests waited for a thread; 1 request had not \
                     arrived completely; 2 responses had not been read completely",
                ),
            ),
        ] {
            let running: Vec<_> = running.iter().map(|request| (*request).to_owned()).collect();
            assert_eq!(unfinished(&running, census).as_deref(), expected);
        }
    }
}
