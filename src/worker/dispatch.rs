//! Joins the scheduler to the poller: polls when the scheduler asks for it, and queues the requests
//! that a poll returns for the threads that run them.
//!
//! The caller runs the requests: `worker_thread` with Python, the model checker (`make model`)
//! without.

mod hand_over;
mod seat;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use log::error;

use super::scheduler::{Load, Role, Scheduler, Wake};
use crate::config::Settings;
use crate::net::{Lent, Poller, PollerHandle, Verdict};
use crate::sync::Mutex;
use crate::sys::clock::{self, Moment};
use hand_over::AttachWatch;
pub use seat::Seat;

/// The scheduler and the poller, shared by the threads of a worker.
pub struct Dispatcher {
    scheduler: Scheduler<Lent>,
    /// Locked by the thread that polls; another one waits for it only while the role changes hands.
    poller: Mutex<Poller>,
    /// The poller for threads that do not poll.
    pub handle: Arc<PollerHandle>,
    requests: Arc<dyn RunningRequests>,
    /// Threads that still ran a request whose connection was taken at the last check.
    occupied_threads: AtomicUsize,
    settings: Arc<Settings>,
    /// Other workers accept from the same sockets.
    multiprocess: Arc<AtomicBool>,
    attach_watch: AttachWatch,
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
    pub next_check: Option<Moment>,
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
        poller.check_at(Some(clock::now()));
        Dispatcher {
            scheduler: Scheduler::new(settings.threads).with_parallelism(parallel),
            poller: Mutex::new(poller),
            handle,
            requests: requests.clone(),
            occupied_threads: AtomicUsize::new(0),
            settings: settings.clone(),
            multiprocess,
            attach_watch: AttachWatch::default(),
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
    /// `wants_interpreter` is true after a poll and no thread is in the application. `ready` is an
    /// empty vector, kept by the thread for its memory.
    pub fn role(
        &self,
        me: usize,
        ready: &mut Vec<Lent>,
        wants_interpreter: impl Fn() -> bool,
        must_attach: impl Fn() -> bool,
    ) -> Role {
        let mut role = self.scheduler.take_role(me, &*self.handle);
        while role == Role::Poll {
            let free_threads = self.is_multiprocess().then(|| self.scheduler.spare_threads());
            let has_work = |load: &Load| load.has_unclaimed_work || must_attach();
            self.poll_as_worker_thread(free_threads, ready, has_work);
            // Costs less than `drain` for the one request that there mostly is.
            ready.reverse();
            let (jobs, wake) = (std::iter::from_fn(|| ready.pop()), &*self.handle);
            if must_attach() || wants_interpreter() {
                self.scheduler.finish_poll(Some(me), jobs, wake);
                if must_attach() || self.scheduler.is_idle() {
                    return Role::Poll;
                }
                role = self.scheduler.take_role(me, wake);
            } else {
                role = self.scheduler.finish_poll_and_take_role(me, jobs, wake);
            }
        }
        role
    }

    /// Runs queued requests as the worker thread in `seat`, which is attached to the interpreter.
    /// `serve` runs one request, and returns whether there is time for another.
    pub fn run_batch(&self, seat: &Seat, mut serve: impl FnMut(Lent) -> bool) {
        let me = seat.thread();
        let Some(mut job) = self.scheduler.begin_batch(me, &*self.handle) else { return };
        let batch = Batch(self, seat);
        while serve(job) && !seat.is_left() {
            let Some(next) = self.scheduler.continue_or_end_batch(me, &*self.handle) else {
                std::mem::forget(batch);
                return self.handle.wake_for_returned();
            };
            job = next;
        }
    }

    /// Ends the batch of the thread in `seat` early, because its request may run for ever: the
    /// thread does not count any more, and another one takes the seat.
    pub fn leave(&self, seat: &Seat) {
        if seat.leave() {
            self.end_batch();
        }
    }

    fn end_batch(&self) {
        self.scheduler.end_batch();
        self.handle.wake_for_returned();
    }

    /// Records that a thread has run `jobs` requests in `elapsed`, if the interpreter is
    /// free-threaded.
    pub fn count_batch(&self, jobs: usize, elapsed: Duration) {
        self.scheduler.count_batch(jobs, elapsed);
    }

    /// True if the interpreter runs several threads at a time.
    pub fn is_parallel(&self) -> bool {
        self.scheduler.is_parallel()
    }

    /// Goes on without worker thread `thread`, which has ended unexpectedly, or without the
    /// sentinel.
    pub fn remove_thread(&self, thread: Option<usize>) {
        self.scheduler.remove_thread(thread);
        // The current poll was begun with this thread.
        self.handle.wake();
    }

    /// Runs the sentinel until the server stops.
    pub fn watch(&self) {
        self.scheduler.run_sentinel(&*self.handle, || self.poll_as_sentinel());
    }

    /// Polls once, and moves the requests that became complete to `ready`, which is empty. Blocks
    /// for `limit` at most while requests are queued. `has_work` is whether the thread has other
    /// work and must not block.
    fn poll_within(
        &self,
        poller: &mut Poller,
        limit: Duration,
        free_threads: Option<usize>,
        ready: &mut Vec<Lent>,
        has_work: impl FnOnce(&Load) -> bool,
    ) {
        // After locking: the thread that held the lock may have found work.
        let load = self.scheduler.load();
        let queued = load.queued;
        let is_kept = self.attach_watch.is_interpreter_kept(&load);
        let timeout = match queued {
            _ if has_work(&load) => Some(Duration::ZERO),
            0 if !is_kept => None,
            _ => Some(limit),
        };
        poller.set_free_threads(free_threads);
        poller.show_queued(queued);
        // A thread that waits for the interpreter would be followed by another one.
        let vacant = load.free_threads.saturating_sub(queued);
        poller.set_vacant_threads(if is_kept { 0 } else { vacant });
        poller.set_jobs_taken(load.jobs_taken);
        let unusable = load.lost_threads + self.occupied_threads.load(Ordering::Relaxed);
        poller.set_stalled(unusable >= self.settings.threads);
        if let Err(failure) = poller.poll_once(timeout, ready) {
            // Without a poller nothing can be served: the worker exits instead of spinning.
            error!(target: "poller.failed", "Polling failed: {failure}: the worker stops");
            self.scheduler.stop();
        }
        if poller.is_check_due() {
            self.end_overdue_requests(poller);
        }
        if queued > 0 && poller.is_sweep_due() {
            self.sweep(poller);
            self.scheduler.look_at_queue(|queue| poller.show_queue(queue));
        }
        // Those that find a free thread do not wait.
        let waiting = ready.len().saturating_sub(vacant);
        if waiting > 0 {
            poller.show_queued(queued + waiting);
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
    }

    /// Ends the responses that are overdue. The next turn sends them.
    #[cold]
    fn end_overdue_requests(&self, poller: &mut Poller) {
        let Overdue { connections, occupied_threads, next_check } = self.requests.take_overdue();
        connections.into_iter().for_each(|connection| self.handle.return_connection(connection));
        // The next turn considers it.
        self.occupied_threads.store(occupied_threads, Ordering::Relaxed);
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
struct Batch<'a>(&'a Dispatcher, &'a Seat);

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let Batch(dispatcher, seat) = self;
        if !seat.is_left() {
            dispatcher.end_batch();
        }
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests;
