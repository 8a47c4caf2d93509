//! Joins the scheduler to the poller: polls when the scheduler asks for it, and queues the requests
//! that a poll returns for the threads that run them.
//!
//! The caller runs the requests: `worker_thread` with Python, the model checker (`make model`)
//! without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::error;

use super::scheduler::{Load, Role, Scheduler, Wake};
use crate::config::Settings;
use crate::net::{Lent, Poller, PollerHandle, SWEEP_INTERVAL, Verdict};
use crate::sync::{Mutex, ignore_poison};

/// The scheduler and the poller, shared by the threads of a worker.
#[derive(Debug)]
pub struct Dispatcher {
    scheduler: Scheduler<Lent>,
    /// Locked by the thread that polls; another one waits for it only while the role changes hands.
    poller: Mutex<Poller>,
    /// The poller for threads that do not poll.
    pub handle: Arc<PollerHandle>,
    settings: Arc<Settings>,
    /// Other workers accept from the same sockets.
    multiprocess: Arc<AtomicBool>,
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
        (poller, handle): (Poller, Arc<PollerHandle>),
        parallel: usize,
        settings: Arc<Settings>,
        multiprocess: Arc<AtomicBool>,
    ) -> Dispatcher {
        Dispatcher {
            scheduler: Scheduler::new(settings.threads).with_parallelism(parallel),
            poller: Mutex::new(poller),
            handle,
            settings,
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
        while serve(job) {
            match self.scheduler.continue_batch(me, &*self.handle) {
                Some(next) => job = next,
                None => break,
            }
        }
        self.scheduler.end_batch();
        self.handle.wake_for_returned();
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
