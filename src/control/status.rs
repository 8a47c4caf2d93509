//! The state of a server, as `/status` and the command `status` show it. A part that another
//! version of the server does not show has its default.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::protocol::RequestInfo;

/// The state of a server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The version of the server.
    pub version: String,
    /// The process id of the master.
    pub pid: i32,
    /// Seconds since the master has started.
    pub uptime: f64,
    /// `starting`, `serving`, `reloading` or `stopping`.
    pub stage: String,
    /// Whether `/ready` answers 200.
    pub ready: bool,
    /// Why the server is not ready.
    pub reason: Option<String>,
    /// Worker threads of all workers.
    pub threads: u64,
    /// Those that run a request.
    pub threads_busy: u64,
    /// Requests that wait for a thread.
    pub requests_queued: u64,
    /// Requests that have taken their connections.
    pub requests_upgraded: u64,
    /// The workers.
    pub workers: Vec<WorkerStatus>,
    /// The counts of all workers, those that have ended included.
    pub totals: TotalsStatus,
    /// Workers that have ended before the server, by reason.
    pub restarts: BTreeMap<String, u64>,
    /// Reloads, by result.
    pub reloads: BTreeMap<String, u64>,
}

/// A worker.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct WorkerStatus {
    /// Its process id.
    pub pid: i32,
    /// `booting`, `ready` or `retiring`.
    pub state: String,
    /// Seconds in this state.
    pub time_in_state: f64,
    /// Its worker threads.
    pub threads: u64,
    /// Those that run a request.
    pub threads_busy: u64,
    /// Requests that wait for a thread.
    pub queued: u64,
    /// Requests that have taken their connections.
    pub upgraded: u64,
    /// Open connections, by state.
    pub connections: BTreeMap<String, u64>,
    /// Requests that it has answered.
    pub answered: u64,
    /// Resident memory, if the system shows it.
    pub memory_bytes: Option<u64>,
    /// Processor time, if the system shows it.
    pub cpu_seconds: Option<f64>,
    /// The requests that run or wait.
    pub requests: Vec<RequestInfo>,
}

/// Counts since the start.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TotalsStatus {
    /// Answered requests.
    pub answered: u64,
    /// Answered requests, by method and class of status.
    pub requests: BTreeMap<String, BTreeMap<String, u64>>,
    /// Accepted connections.
    pub connections_accepted: u64,
    /// How long requests have taken.
    pub duration: HistogramStatus,
    /// How long requests have waited for a thread.
    pub queue: HistogramStatus,
    /// How long the application has taken.
    pub app: HistogramStatus,
}

/// Durations in seconds, counted by bucket.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct HistogramStatus {
    /// The upper bounds of all buckets but the last one.
    pub bounds: Vec<f64>,
    /// Counts by bucket, each without those of the buckets before.
    pub counts: Vec<u64>,
    /// The sum of all durations.
    pub sum: f64,
}

impl TotalsStatus {
    /// Answered requests by class of status, such as `2xx`.
    pub fn by_class(&self) -> BTreeMap<&str, u64> {
        let mut classes = BTreeMap::new();
        for (class, count) in self.requests.values().flatten().filter(|(_, count)| **count > 0) {
            *classes.entry(class.as_str()).or_default() += count;
        }
        classes
    }
}
