//! Joins the scheduler to the poller: polls when the scheduler asks for it, and queues the requests
//! that a poll returns for the threads that run them.
//!
//! The caller runs the requests: `worker_thread` with Python, the model checker (`make model`)
//! without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::error;

use super::scheduler::{Load, Role, Scheduler, Wake};
use crate::config::Settings;
use crate::net::{Lent, Poller, PollerHandle, SWEEP_INTERVAL, Verdict};
use crate::sync::{Mutex, ignore_poison};

/// The scheduler and the poller, shared by the threads of a worker.
pub struct Dispatcher {
    scheduler: Scheduler<Lent>,
    /// Locked by the thread that polls; another one waits for it only while the role changes hands.
    poller: Mutex<Poller>,
    /// The poller for threads that do not poll.
    pub handle: Arc<PollerHandle>,
    requests: Arc<dyn RunningRequests>,
    settings: Arc<Settings>,
    /// Other workers accept from the same sockets.
    multiprocess: Arc<AtomicBool>,
}

/// The requests that worker threads run, as the polling thread sees them. It needs neither the
/// interpreter nor these threads to end a response that is overdue.
pub trait RunningRequests: Send + Sync {
    /// Takes the connections away whose requests have run too long, with their responses complete
    /// or aborted.
    fn take_overdue(&self) -> Overdue;
}

/// The result of [`RunningRequests::take_overdue`].
#[derive(Debug, Default)]
pub struct Overdue {
    /// The connections that were taken.
    pub connections: Vec<Lent>,
    /// Threads that still run a request whose connection was taken.
    pub occupied_threads: usize,
    /// When to check again: no request is overdue earlier, not even one that begins later. `None`
    /// if requests have no limit.
    pub next_check: Option<Instant>,
}

impl Wake for PollerHandle {
    fn wake(&self) {
        PollerHandle::wake(self);
    }
}

impl Dispatcher {
    /// Creates a dispatcher for `--threads` worker threads, of which the interpreter runs
    /// `parallel` at a time. `multiprocess` says whether other workers accept from the same
    /// sockets, and may change.
    pub fn new(
        (mut poller, handle): (Poller, Arc<PollerHandle>),
        parallel: usize,
        settings: &Arc<Settings>,
        multiprocess: Arc<AtomicBool>,
        requests: &Arc<impl RunningRequests + 'static>,
    ) -> Dispatcher {
        poller.check_at(Some(Instant::now()));
        Dispatcher {
            scheduler: Scheduler::new(settings.threads).with_parallelism(parallel),
            poller: Mutex::new(poller),
            handle,
            requests: requests.clone(),
            settings: settings.clone(),
            multiprocess,
        }
    }

    /// True if other workers accept from the same sockets. A single worker leaves no connections to
    /// others, and accepts all that are waiting.
    fn is_multiprocess(&self) -> bool {
        self.multiprocess.load(Ordering::Relaxed)
    }

    /// Sets whether other workers accept from the same sockets.
    pub fn set_multiprocess(&self, multiprocess: bool) {
        self.multiprocess.store(multiprocess, Ordering::Relaxed);
        // The current poll was begun with the old value.
        self.handle.wake();
    }

    /// No thread is inside the application, and none is about to enter it.
    pub fn is_idle(&self) -> bool {
        self.scheduler.is_idle()
    }

    /// Polls as worker thread `me` until its role requires the interpreter, and returns that role:
    /// to run requests, or to quit. [`Role::Poll`] means that the thread must attach to the
    /// interpreter once: because `must_attach` is true, which ends the poll, or because
    /// `wants_interpreter` is true after a poll and no thread is in the application.
    pub fn role(
        &self,
        me: usize,
        wants_interpreter: impl Fn() -> bool,
        must_attach: impl Fn() -> bool,
    ) -> Role {
        loop {
            match self.scheduler.take_role(me, &*self.handle) {
                Role::Poll => {
                    let free_threads =
                        self.is_multiprocess().then(|| self.scheduler.spare_threads());
                    let ready = self
                        .poll_once(free_threads, |load| load.has_unclaimed_work || must_attach());
                    self.scheduler.finish_poll(Some(me), ready, &*self.handle);
                    if must_attach() || wants_interpreter() && self.scheduler.is_idle() {
                        return Role::Poll;
                    }
                }
                role => return role,
            }
        }
    }

    /// Runs queued requests as worker thread `me`, which is attached to the interpreter. `serve`
    /// runs one request, and returns whether there is time for another.
    pub fn run_batch(&self, me: usize, mut serve: impl FnMut(Lent) -> bool) {
        let Some(mut job) = self.scheduler.begin_batch(me, &*self.handle) else { return };
        let _batch = Batch(self);
        while serve(job) {
            match self.scheduler.continue_batch(me, &*self.handle) {
                Some(next) => job = next,
                None => break,
            }
        }
    }

    /// Goes on without worker thread `thread`, which has ended unexpectedly, or without the
    /// sentinel.
    pub fn remove_thread(&self, thread: Option<usize>) {
        self.scheduler.remove_thread(thread);
    }

    /// Runs the sentinel until the server stops.
    pub fn watch(&self) {
        // The sentinel polls only while every worker thread is inside the application, so no thread
        // is free. It never runs a request, so it may block in the poll.
        let free_threads = || self.is_multiprocess().then_some(0);
        self.scheduler.run_sentinel(&*self.handle, || self.poll_once(free_threads(), |_| false));
    }

    /// Polls once and returns the requests that became complete. `has_work` is whether the thread
    /// has other work and must not block.
    fn poll_once(
        &self,
        free_threads: Option<usize>,
        has_work: impl FnOnce(&Load) -> bool,
    ) -> Vec<Lent> {
        let mut poller = ignore_poison(self.poller.lock());
        // After locking: the thread that held the lock may have found work.
        let load = self.scheduler.load();
        let queued = load.queued;
        let timeout = match queued {
            _ if has_work(&load) => Some(Duration::ZERO),
            0 => None,
            _ => Some(SWEEP_INTERVAL),
        };
        poller.set_free_threads(free_threads);
        let mut ready = poller.poll_once(timeout).unwrap_or_else(|failure| {
            // Without a poller nothing can be served: the worker exits instead of spinning.
            error!(target: "poller.failed", "Polling failed: {failure}: the worker stops");
            self.scheduler.stop();
            Vec::new()
        });
        if poller.is_check_due() {
            self.end_overdue_requests(&mut poller);
        }
        if queued > 0 && poller.is_sweep_due() {
            self.sweep(&mut poller);
        }
        if ready.len() > self.settings.queue.saturating_sub(queued) {
            let kept = self.vacant().min(ready.len());
            ready.drain(kept..).for_each(|connection| poller.reject_queued(connection));
        }
        if poller.is_finished() {
            self.scheduler.stop();
        }
        #[cfg(all(test, shuttle))]
        crate::sync::kernel::changed();
        ready
    }

    /// Ends the responses that are overdue. The next turn sends them.
    #[cold]
    fn end_overdue_requests(&self, poller: &mut Poller) {
        let Overdue { connections, occupied_threads, next_check } = self.requests.take_overdue();
        connections.into_iter().for_each(|connection| self.handle.return_connection(connection));
        poller.set_stalled(occupied_threads >= self.settings.threads);
        poller.check_at(next_check);
    }

    /// How many requests may join the queue. One that finds a free thread need not be queued.
    #[cold]
    fn vacant(&self) -> usize {
        let Load { queued, free_threads, .. } = self.scheduler.load();
        self.settings.queue.saturating_add(free_threads).saturating_sub(queued)
    }

    /// Withdraws the requests from the queue that have waited too long, or whose clients have left.
    #[cold]
    fn sweep(&self, poller: &mut Poller) {
        let withdrawn =
            self.scheduler.withdraw(|connection| poller.verdict(connection) != Verdict::Keep);
        if withdrawn.iter().any(|connection| poller.verdict(connection).calls_for_newest_first()) {
            self.scheduler.serve_newest_first();
        }
        withdrawn.into_iter().for_each(|connection| poller.reject_queued(connection));
    }
}

/// Ends a batch, even by a panic.
struct Batch<'a>(&'a Dispatcher);

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.0.scheduler.end_batch();
        self.0.handle.wake_for_returned();
    }
}
