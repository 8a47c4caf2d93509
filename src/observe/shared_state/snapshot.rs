//! What the master reads of a worker's slot at one time.

use std::sync::atomic::Ordering;

use super::request_entry::{self, Entry};
use super::slow_table::SlowStack;
use super::thread_row::{self, Phase};
use super::{CONNECTION_STATES, CONNECTIONS, QUEUE_ENTRIES, QUEUE_SHOWN, QUEUED, WorkerSlot};
use crate::sys::clock::Moment;

/// A request that runs or waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The worker thread that runs it.
    pub thread: Option<usize>,
    /// The method, from a client.
    pub method: Vec<u8>,
    /// The target, from a client.
    pub target: Vec<u8>,
    /// What it is doing.
    pub phase: Phase,
    /// Seconds since it was complete.
    pub age: f64,
    /// Seconds since it has a thread.
    pub running: f64,
}

/// A request that took long.
#[derive(Debug, Clone, PartialEq)]
pub struct Slow {
    /// The method, from a client.
    pub method: Vec<u8>,
    /// The target, from a client.
    pub target: Vec<u8>,
    /// How long it took, in seconds.
    pub duration: f64,
    /// When it ended: nanoseconds of a clock that all workers of a server share.
    pub ended_ns: u64,
    /// The status of its response; 0 if there was none.
    pub status: u16,
}

/// What a slot shows at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// The number of worker threads.
    pub threads: usize,
    /// The requests that run, by thread, then those that wait, then those that have taken their
    /// connections.
    pub requests: Vec<Request>,
    /// How many requests run.
    pub running: usize,
    /// How many requests wait for a thread; more than are shown, perhaps.
    pub queued: u64,
    /// How many requests have taken their connections; more than are shown, perhaps.
    pub upgraded: u64,
    /// By [`CONNECTION_STATES`].
    pub connections: [u64; CONNECTION_STATES.len()],
    /// The last requests that ran longer than `--slow-request`, the last one first.
    pub slow: Vec<SlowStack>,
}

impl WorkerSlot {
    /// Reads what the slot shows at `now`.
    pub fn read(&self, now: Moment) -> Snapshot {
        let now = now.as_nanos();
        let load = |at: usize| self.words[at].load(Ordering::Relaxed);
        let queued = load(QUEUED);
        let rows = (0..self.threads).map(|thread| (thread, self.row(thread)));
        let mut requests: Vec<_> = rows
            .filter_map(|(thread, words)| {
                let (phase, entry) = thread_row::running(words)?;
                Some(request(Some(thread), phase, entry.unwrap_or_else(unknown), now))
            })
            .collect();
        let running = requests.len();
        let attaching =
            (0..self.threads).filter(|thread| thread_row::is_attaching(self.row(*thread))).count();
        let shown = load(QUEUE_SHOWN).min(queued);
        let shown = usize::try_from(shown).unwrap_or(QUEUE_ENTRIES).min(QUEUE_ENTRIES);
        requests.extend((0..shown).filter_map(|index| {
            let entry = request_entry::read(self.queue_entry(index))?;
            let next = index < attaching;
            let phase = if next { Phase::WaitingForInterpreter } else { Phase::Queued };
            Some(request(None, phase, entry, now))
        }));
        let upgraded = self.upgraded_requests();
        requests.extend(upgraded.map(|entry| request(None, Phase::Upgraded, entry, now)));
        let connections = std::array::from_fn(|state| load(CONNECTIONS + state));
        let upgraded = self.upgraded();
        let slow = self.kept_slow(now);
        Snapshot { threads: self.threads, requests, running, queued, upgraded, connections, slow }
    }

    /// The last slow request of each thread that had one.
    pub fn slow_requests(&self) -> impl Iterator<Item = Slow> + '_ {
        (0..=self.threads).filter_map(|index| thread_row::last_slow(self.row(index))).map(|entry| {
            let [duration, ended_ns, status] = entry.numbers;
            Slow {
                target: entry.marked_target(),
                method: entry.method,
                duration: duration as f64 / 1e9,
                ended_ns,
                status: u16::try_from(status).unwrap_or(0),
            }
        })
    }
}

impl Snapshot {
    /// True if every thread runs a request, and no thread has become free for `limit` seconds: each
    /// request has run for that long, or one has waited for a thread for that long.
    pub fn is_busy_for(&self, limit: f64) -> bool {
        let mut running = self.requests.iter().filter(|request| request.thread.is_some());
        let waits =
            |request: &&Request| request.thread.is_none() && request.phase != Phase::Upgraded;
        let mut waiting = self.requests.iter().filter(waits);
        self.threads > 0
            && (self.running >= self.threads && running.all(|request| request.running >= limit)
                || waiting.any(|request| request.age >= limit))
    }
}

fn request(thread: Option<usize>, phase: Phase, entry: Entry, now: u64) -> Request {
    let [_, ready, began] = entry.numbers;
    let since = |at: u64| now.saturating_sub(at) as f64 / 1e9;
    let target = entry.marked_target();
    let (age, running) = (since(ready), since(began));
    Request { thread, method: entry.method, target, phase, age, running }
}

/// A thread that begins requests faster than they are read.
fn unknown() -> Entry {
    let numbers = [u64::MAX; 3];
    Entry { method: Vec::new(), target: Vec::new(), is_cut: false, numbers, version: 0 }
}
