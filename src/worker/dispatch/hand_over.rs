//! Which requests go to another worker that has a free thread: those in the queue while all threads
//! are blocked in the application, or none of them gets the interpreter.
//!
//! Such a state has lasted for a while before requests are handed over, so short requests stay
//! where they are.

use std::time::Duration;

use super::Dispatcher;
use crate::net::{Lent, Poller, SWEEP_INTERVAL};
use crate::sync::{Mutex, ignore_poison, sleep, try_lock};
use crate::sys::clock::{self, Moment};
use crate::worker::scheduler::{Load, SENTINEL_INTERVAL};

/// How long a thread waits for the interpreter before the worker counts as blocked. CPython lets
/// another thread run every 5 ms, unless a C function keeps the interpreter.
const ATTACH_TIMEOUT: Duration = Duration::from_millis(10);

/// Notices a thread that waits for the interpreter for long.
#[derive(Debug, Default)]
pub(super) struct AttachWatch(Mutex<Option<Attaching>>);

/// A thread waits for the interpreter.
#[derive(Debug, Clone, Copy)]
struct Attaching {
    since: Moment,
    /// The jobs that were taken until then.
    jobs_taken: u64,
}

impl AttachWatch {
    /// True if a thread has waited too long for the interpreter. No other thread would get it.
    pub(super) fn is_interpreter_kept(&self, load: &Load) -> bool {
        load.is_thread_attaching && self.time_left(load, clock::now()) == Some(Duration::ZERO)
    }

    /// How much longer a thread may wait for the interpreter; zero if one has waited too long.
    /// `None` if none waits.
    fn time_left(&self, load: &Load, now: Moment) -> Option<Duration> {
        if !load.is_thread_attaching {
            return None;
        }
        let jobs_taken = load.jobs_taken;
        let mut watched = ignore_poison(self.0.lock());
        // A thread that has attached takes a job, or counts as if it had.
        let attaching = watched.filter(|attaching| attaching.jobs_taken == jobs_taken);
        let Attaching { since, .. } =
            *watched.insert(attaching.unwrap_or(Attaching { since: now, jobs_taken }));
        Some(ATTACH_TIMEOUT.saturating_sub(now.saturating_duration_since(since)))
    }
}

impl Dispatcher {
    /// Polls as the sentinel, while all threads are inside the application or wait for it. The
    /// sentinel never runs a request, so it may block in the poll.
    pub(super) fn poll_as_sentinel(&self) -> Vec<Lent> {
        let Some(mut poller) = try_lock(&self.poller) else {
            // A worker thread has become the leader, and may block in its poll: the sentinel has
            // to watch the threads meanwhile.
            sleep(SENTINEL_INTERVAL);
            return Vec::new();
        };
        // No thread is free. The number is for accepting only, so a single worker has none.
        let free_threads = self.is_multiprocess().then_some(0);
        let (mut kept, limit) = self.hand_over_queued(&mut poller);
        let mut ready = Vec::new();
        let has_work = |load: &Load| load.is_sentinel_relieved || !kept.is_empty();
        self.poll_within(&mut poller, limit, free_threads, &mut ready, has_work);
        kept.extend(self.hand_over_ready(&mut poller, ready));
        kept
    }

    /// Polls as a worker thread. Requests may be queued although a thread is free, if no thread
    /// gets the interpreter. The requests that are to run here go to `ready`.
    pub(super) fn poll_as_worker_thread(
        &self,
        free_threads: Option<usize>,
        ready: &mut Vec<Lent>,
        has_work: impl FnOnce(&Load) -> bool,
    ) {
        let mut poller = ignore_poison(self.poller.lock());
        if free_threads.is_none() {
            return self.poll_within(&mut poller, SWEEP_INTERVAL, None, ready, has_work);
        }
        let (mut kept, limit) = self.hand_over_queued(&mut poller);
        let has_work = |load: &Load| !kept.is_empty() || has_work(load);
        self.poll_within(&mut poller, limit, free_threads, ready, has_work);
        // Those that the kernel has not taken are older.
        ready.splice(..0, kept.drain(..));
    }

    /// True if no thread runs a further request soon; otherwise when to look again.
    fn is_blocked(&self, load: &Load) -> Result<(), Duration> {
        if load.free_threads == 0 {
            return Ok(());
        }
        match self.attach_watch.time_left(load, clock::now()) {
            Some(Duration::ZERO) => Ok(()),
            left => Err(left.unwrap_or(SWEEP_INTERVAL)),
        }
    }

    /// Hands queued requests over. Returns those that the kernel has not taken, and how long the
    /// poller may wait until the next attempt: while requests are queued that another worker could
    /// run, it looks as often as the sentinel watches the threads.
    fn hand_over_queued(&self, poller: &mut Poller) -> (Vec<Lent>, Duration) {
        let load = self.scheduler.load();
        if load.queued == 0 || !poller.has_other_workers() {
            return (Vec::new(), SWEEP_INTERVAL);
        }
        if let Err(wait) = self.is_blocked(&load) {
            return (Vec::new(), wait);
        }
        let mut wait = SWEEP_INTERVAL;
        let mut has_thread = true;
        let taken = self.scheduler.take_for_others(load.jobs_taken, |connection| {
            if !poller.is_movable(connection) {
                return false;
            }
            has_thread = has_thread && poller.reserve_thread_elsewhere();
            if !has_thread {
                wait = SENTINEL_INTERVAL;
            }
            has_thread
        });
        (hand_over(poller, taken), wait)
    }

    /// Hands requests over that a poll has found, if no thread runs them soon. Returns those that
    /// are left.
    fn hand_over_ready(&self, poller: &mut Poller, ready: Vec<Lent>) -> Vec<Lent> {
        if ready.is_empty() || self.is_blocked(&self.scheduler.load()).is_err() {
            return ready;
        }
        if !poller.has_free_thread_elsewhere() {
            return ready;
        }
        let (taken, mut kept): (Vec<_>, Vec<_>) = ready.into_iter().partition(|connection| {
            poller.is_movable(connection) && poller.reserve_thread_elsewhere()
        });
        kept.extend(hand_over(poller, taken));
        kept
    }
}

/// Hands these requests over, in their order. Returns those that the kernel has not taken.
fn hand_over(poller: &mut Poller, requests: Vec<Lent>) -> Vec<Lent> {
    if requests.is_empty() {
        return requests;
    }
    let refused = requests.into_iter().filter_map(|request| poller.hand_over(request).err());
    let refused = refused.collect();
    #[cfg(all(test, shuttle))]
    crate::sync::kernel::changed();
    refused
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use super::*;

    #[test]
    fn thread_that_waits_for_the_interpreter_blocks_the_worker_after_a_while() {
        let (watch, start) = (AttachWatch::default(), clock::now());
        let ms = Duration::from_millis;
        // time, attaching, jobs taken, time left
        for (at, is_thread_attaching, jobs_taken, expected) in [
            (0, false, 1, None),
            (1, true, 1, Some(10)),
            (5, true, 1, Some(6)),
            (6, true, 2, Some(10)),
            (15, true, 2, Some(1)),
            (16, true, 2, Some(0)),
            (99, true, 2, Some(0)),
            (100, false, 2, None),
            (101, true, 3, Some(10)),
        ] {
            let load = Load {
                has_unclaimed_work: false,
                is_sentinel_relieved: true,
                queued: 1,
                free_threads: 1,
                lost_threads: 0,
                is_thread_attaching,
                jobs_taken,
            };
            assert_eq!(watch.time_left(&load, start + ms(at)), expected.map(ms), "{at} ms");
        }
    }
}
