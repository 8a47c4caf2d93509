//! The thread policy of a worker: which thread polls, which runs requests, which waits.
//!
//! Passing a request from one thread to another costs as much as serving a small one. So the thread
//! that polls also runs the requests that it finds, and wakes no other thread while requests are
//! short. But a request that blocks must not stop the others. The *sentinel* prevents that: a
//! thread that never runs the application, and checks once a millisecond whether the other threads
//! make progress.
//!
//! - The **worker threads** (`--threads`) are equal. At most one is the **leader**, as in the
//!   Leader/Followers pattern: it polls, runs the requests that became ready, and polls again. A
//!   worker thread without a role parks.
//! - At most one worker thread **waits to attach** to the interpreter (for the GIL) with requests
//!   in the queue; more would only contend for it. Once attached it knows that the thread that held
//!   the GIL has released it. If other threads are inside the application at that moment, the
//!   application blocks, and the scheduler wakes the next thread at once. Threads attach to a
//!   free-threaded interpreter without waiting; [`parallel`] has its policy.
//! - A batch is the requests that a thread runs without detaching. Its responses go to the poller
//!   together when the batch ends, so that all of them cost one wake-up. If a request in the batch
//!   blocks, the sentinel wakes the poller for the responses before it.
//! - If the leader has made no progress for a [`SENTINEL_INTERVAL`], the **sentinel** makes a
//!   parked thread the leader. If no thread is parked, all of them are in the application: then the
//!   sentinel polls until one returns, so that accepting, slow clients and timeouts never depend on
//!   the application.
//!
//! Requests run in the order of their arrival until a client disconnects while its request is
//! queued. From then on the oldest requests are those whose clients are about to time out as well,
//! and a server that kept the order would answer none of them in time. So the newest request runs
//! first until the queue is empty. The polling thread removes expired and disconnected requests
//! with [`Scheduler::withdraw`].
//!
//! The scheduler knows neither sockets nor Python, only jobs: its tests need neither.

mod hand_over;
mod lost_thread;
mod one_lock;
mod overload;
mod parallel;
mod parking;
mod peek;
mod sentinel;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use crate::sync::{Condvar, Mutex, MutexGuard, ignore_poison};
use parallel::JobTime;

/// How often the sentinel checks the other threads while there is work.
pub const SENTINEL_INTERVAL: Duration = Duration::from_millis(1);

/// What a worker thread does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Turn the poller once, then call [`Scheduler::finish_poll`].
    Poll,
    /// Attach to the interpreter, then take jobs with [`Scheduler::begin_batch`] and
    /// [`Scheduler::continue_or_end_batch`].
    Run,
    /// End the thread: the server has stopped.
    Quit,
}

/// The state of the queue and the other threads, for the polling thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Jobs are queued and no thread is about to run them, or the server has stopped: the poll must
    /// not block.
    pub has_unclaimed_work: bool,
    /// A worker thread has become the leader: the sentinel must not block. The wake-up call may
    /// have ended the poll of that thread instead of its own.
    pub is_sentinel_relieved: bool,
    /// Jobs in the queue.
    pub queued: usize,
    /// Worker threads that are not inside the application.
    pub free_threads: usize,
    /// Worker threads that have ended unexpectedly.
    pub lost_threads: usize,
    /// A thread waits to attach to the interpreter, and runs the next job then.
    pub is_thread_attaching: bool,
    /// Changes whenever a thread begins a job.
    pub jobs_taken: u64,
}

/// The thread that polls, or that returns to polling after its jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leader {
    None,
    WorkerThread(usize),
    Sentinel,
}

#[derive(Debug)]
struct State<J> {
    /// Requests that are ready to run.
    queue: VecDeque<J>,
    /// Take from the back of the queue.
    newest_first: bool,
    leader: Leader,
    /// The leader polls or is about to; otherwise it runs jobs.
    leader_polls: bool,
    /// A thread has taken [`Role::Run`] and is not attached to the interpreter yet.
    is_thread_attaching: bool,
    /// Worker threads inside the application.
    threads_in_app: usize,
    /// Worker threads that have ended unexpectedly.
    lost_threads: usize,
    /// Worker threads without a role. The last to park is woken first: its caches are warm.
    parked: Vec<usize>,
    /// The role of a parked thread when it wakes up, by thread.
    assigned_roles: Vec<Option<Role>>,
    /// Counts finished polls and jobs that the leader took. A leader that does not poll and has not
    /// advanced it since the sentinel's last check is late.
    leader_progress: u64,
    /// Counts jobs taken by any thread. If jobs are queued and it has not advanced since the
    /// sentinel's last check, another thread is needed.
    jobs_taken: u64,
    /// Responses of a running batch wait for a leader that is blocked in its poll.
    has_unsent_responses: bool,
    is_sentinel_asleep: bool,
    is_stopped: bool,
}

/// Assigns roles to threads and holds the queue of jobs. `J` is a request that is ready to run.
#[derive(Debug)]
pub struct Scheduler<J> {
    state: Mutex<State<J>>,
    /// How many threads the interpreter runs at a time: 1, unless it is free-threaded.
    parallelism: usize,
    /// How long jobs take, if the interpreter is free-threaded.
    job_time: JobTime,
    /// Wakes a parked worker thread; one for each.
    thread_wakeups: Vec<Condvar>,
    sentinel_wakeup: Condvar,
}

/// Ends a poll that another thread is blocked in.
pub trait Wake {
    /// Makes the current or the next poll return.
    fn wake(&self);
}

impl<J> State<J> {
    fn take_job(&mut self, thread: usize) -> Option<J> {
        self.jobs_taken += 1;
        if self.leader == Leader::WorkerThread(thread) {
            self.leader_progress += 1;
        }
        if !self.newest_first {
            return self.queue.pop_front();
        }
        let job = self.queue.pop_back();
        self.newest_first = !self.queue.is_empty();
        job
    }

    /// A thread ends its batch.
    fn leave_app(&mut self) {
        self.threads_in_app -= 1;
        self.has_unsent_responses = false;
    }

    /// Jobs are queued and no thread is on its way to run them.
    fn has_unclaimed_jobs(&self) -> bool {
        !self.queue.is_empty() && !self.is_thread_attaching
    }
}

impl<J> Scheduler<J> {
    /// A scheduler for this many worker threads and one sentinel.
    pub fn new(threads: usize) -> Scheduler<J> {
        let state = State {
            queue: VecDeque::new(),
            newest_first: false,
            leader: Leader::None,
            leader_polls: false,
            is_thread_attaching: false,
            threads_in_app: 0,
            lost_threads: 0,
            parked: Vec::new(),
            assigned_roles: vec![None; threads],
            leader_progress: 0,
            jobs_taken: 0,
            has_unsent_responses: false,
            is_sentinel_asleep: false,
            is_stopped: false,
        };
        Scheduler {
            state: Mutex::new(state),
            parallelism: 1,
            job_time: JobTime::default(),
            thread_wakeups: (0..threads).map(|_| Condvar::new()).collect(),
            sentinel_wakeup: Condvar::new(),
        }
    }

    /// Sets how many threads the interpreter runs at a time.
    pub fn with_parallelism(self, parallelism: usize) -> Scheduler<J> {
        Scheduler { parallelism, ..self }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        ignore_poison(self.state.lock())
    }

    /// Takes the next role for worker thread `thread`; parks it until there is one.
    pub fn take_role(&self, thread: usize, wake: &impl Wake) -> Role {
        self.wait_for_role(self.lock(), thread, wake)
    }

    #[inline]
    fn wait_for_role(
        &self,
        mut state: MutexGuard<'_, State<J>>,
        thread: usize,
        wake: &impl Wake,
    ) -> Role {
        if state.is_stopped {
            return Role::Quit;
        }
        // Relieving a polling sentinel comes before queued jobs: it cannot run requests, and while
        // it polls it does not watch the other threads.
        if state.has_unclaimed_jobs() && state.leader != Leader::Sentinel {
            state.is_thread_attaching = true;
            if state.leader == Leader::WorkerThread(thread) {
                state.leader_polls = false;
            }
            return Role::Run;
        }
        match state.leader {
            Leader::WorkerThread(other) if other != thread && state.leader_polls => {}
            leader => {
                // No other worker thread polls: this one becomes the leader.
                if leader == Leader::Sentinel {
                    wake.wake();
                }
                state.leader = Leader::WorkerThread(thread);
                state.leader_polls = true;
                return Role::Poll;
            }
        }
        self.park(state, thread)
    }

    /// What the polling thread must know before it blocks.
    #[inline]
    pub fn load(&self) -> Load {
        let state = self.lock();
        Load {
            has_unclaimed_work: state.is_stopped || state.has_unclaimed_jobs(),
            is_sentinel_relieved: state.leader != Leader::Sentinel,
            queued: state.queue.len(),
            free_threads: self.free_threads(&state),
            lost_threads: state.lost_threads,
            is_thread_attaching: state.is_thread_attaching,
            jobs_taken: state.jobs_taken,
        }
    }

    /// How many more jobs would find a free thread at once. The calling thread, which is about to
    /// poll, counts as free unless it has to run what is queued.
    pub fn spare_threads(&self) -> usize {
        let state = self.lock();
        let spare = self.free_threads(&state).saturating_sub(state.queue.len());
        if state.has_unclaimed_jobs() { spare } else { spare.max(1) }
    }

    /// No thread is inside the application, and none is about to enter it.
    pub fn is_idle(&self) -> bool {
        let state = self.lock();
        state.threads_in_app == 0 && state.queue.is_empty()
    }

    /// Ends a poll and queues the jobs that it found. `thread` is `None` for the sentinel.
    pub fn finish_poll(
        &self,
        thread: Option<usize>,
        jobs: impl IntoIterator<Item = J>,
        wake: &impl Wake,
    ) {
        self.queue_polled(&mut self.lock(), thread, jobs, wake);
    }

    #[inline]
    fn queue_polled(
        &self,
        state: &mut State<J>,
        thread: Option<usize>,
        jobs: impl IntoIterator<Item = J>,
        wake: &impl Wake,
    ) {
        state.queue.extend(jobs);
        if !state.queue.is_empty() {
            // Another thread may take the first job before the leader does. If that job blocks,
            // only the sentinel notices that more are queued.
            self.wake_sentinel(state);
        }
        state.leader_progress += 1;
        let this = thread.map_or(Leader::Sentinel, Leader::WorkerThread);
        if state.leader == this {
            state.leader_polls = false;
        } else if state.has_unclaimed_jobs() {
            self.call_thread_to_run(state, wake);
        }
    }

    /// Takes the first job after attaching to the interpreter, if there still is one. Every call
    /// that returns a job must be followed by [`Scheduler::end_batch`].
    pub fn begin_batch(&self, thread: usize, wake: &impl Wake) -> Option<J> {
        let mut state = self.lock();
        state.is_thread_attaching = false;
        let job = state.take_job(thread)?;
        state.threads_in_app += 1;
        let needs_thread = match self.parallelism {
            // The other thread has released the GIL: it blocks.
            1 => state.threads_in_app > 1,
            _ => self.job_time.is_worth_a_thread(state.queue.len()),
        };
        if needs_thread && !state.queue.is_empty() {
            self.call_thread_to_run(&mut state, wake);
        }
        Some(job)
    }

    /// Takes another job without detaching, which leaves the responses of the batch unsent until
    /// its end. If this job takes long, the sentinel wakes the poller for them.
    fn take_next_job(&self, state: &mut State<J>, thread: usize, wake: &impl Wake) -> Option<J> {
        let job = state.take_job(thread);
        if job.is_some() && state.leader == Leader::Sentinel && state.leader_polls {
            wake.wake();
        } else if job.is_some() && state.leader_polls {
            state.has_unsent_responses = true;
            self.wake_sentinel(state);
        }
        job
    }

    /// Ends the batch: the thread leaves the application. The caller then wakes the poller, if
    /// necessary, to send the responses.
    pub fn end_batch(&self) {
        self.lock().leave_app();
    }

    /// Worker threads that are not inside the application.
    fn free_threads(&self, state: &State<J>) -> usize {
        let busy = state.threads_in_app + state.lost_threads;
        self.thread_wakeups.len().saturating_sub(busy)
    }

    /// The sentinel must stay awake until there is no work and the leader polls.
    fn wake_sentinel(&self, state: &mut State<J>) {
        if state.is_sentinel_asleep {
            state.is_sentinel_asleep = false;
            self.sentinel_wakeup.notify_one();
        }
    }

    /// Makes one more thread attach to the interpreter: a parked one, else the one that polls.
    fn call_thread_to_run(&self, state: &mut State<J>, wake: &impl Wake) {
        if let Some(thread) = state.parked.pop() {
            // Set before the thread wakes up, so that no second one is woken for the same job.
            state.is_thread_attaching = true;
            self.assign(state, thread, Role::Run);
        } else if matches!(state.leader, Leader::WorkerThread(_)) && state.leader_polls {
            wake.wake();
        }
    }

    /// Makes all threads quit. Queued jobs stay queued.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.is_stopped = true;
        state.is_sentinel_asleep = false;
        self.sentinel_wakeup.notify_all();
        for wakeup in &self.thread_wakeups {
            wakeup.notify_all();
        }
    }
}
