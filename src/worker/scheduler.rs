//! Who polls, who runs, who waits: the whole thread policy, in one place.
//!
//! A hand-over between two threads costs as much as a small request. So the thread that polled runs what
//! it found, and nobody is woken as long as it comes back quickly. But an application that blocks must
//! not stop the others, so there is a *sentinel*: a thread that never runs the application and looks
//! every millisecond whether the one that went to run has come back.
//!
//! - **Runners** (`--threads` of them) are equal. At most one is the **leader**: it polls, then runs what
//!   became ready, then polls again. The others are parked.
//! - At most one thread **waits for the interpreter** with work at hand. More would only take turns
//!   at being woken. That it gets the interpreter is the proof that whoever had it let go; if others are
//!   inside the application then, the application blocks, and the next one is called at once. A
//!   free-threaded interpreter is had at once; there the next one is called until all cores are busy.
//! - Responses are handed to whoever polls when a batch of requests is over, so that several cost one
//!   waking. If the batch is held up by a request that blocks, the sentinel does it.
//! - If the leader has not come back for a tick, the **sentinel** makes a parked runner the leader. If
//!   none is parked, every runner is busy, and the sentinel polls by itself until one returns: new
//!   connections, slow clients and deadlines never depend on the application.
//!
//! Requests run in the order in which they came, until clients give up while they wait: then the next
//! in line are those whose clients are about to give up, too, and a server that goes on in that order
//! answers nobody in time. So from then on the newest goes first, until nobody waits any more.
//! Whoever polls takes those back with [`Scheduler::withdraw`] that need not run.
//!
//! The scheduler knows neither sockets nor Python, only jobs, so it can be tested by threads that do neither.

use std::collections::VecDeque;
use std::time::Duration;

use crate::sync::{Condvar, Mutex, MutexGuard, ignore_poison, pause};

/// How often the sentinel looks while there is work.
pub const TICK: Duration = Duration::from_millis(1);
/// After so many ticks without anything to watch the sentinel sleeps until it is called.
const DROWSY: u32 = 10;

/// What a thread is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Turn the poller, then call [`Scheduler::polled`].
    Poll,
    /// Attach to the interpreter, then take jobs with [`Scheduler::first`] and [`Scheduler::another`].
    Run,
    /// The server has stopped.
    Quit,
}

/// What a thread that polls should know of those who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    /// There is work that the thread could do instead: it should not block.
    pub pressed: bool,
    /// How many jobs wait.
    pub waiting: usize,
    /// How many runners are not inside the application.
    pub free: usize,
}

/// Who has the role to poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leader {
    Nobody,
    Runner(usize),
    Sentinel,
}

#[derive(Debug)]
struct State<J> {
    /// Requests that are ready to run.
    queue: VecDeque<J>,
    /// The request that came last is served first.
    newest_first: bool,
    leader: Leader,
    /// The leader polls, or is about to; otherwise it is away running.
    polling: bool,
    /// A thread with work at hand is waiting for the interpreter.
    waiter: bool,
    /// Threads inside the application.
    inside: usize,
    /// Runners without a role; the one that parked last is called first, its caches are warm.
    parked: Vec<usize>,
    /// Orders for parked runners.
    orders: Vec<Option<Role>>,
    /// Grows with every poll that ends and every job the leader takes. If it stands still for a tick while
    /// nobody polls, the leader is late.
    beat: u64,
    /// Grows with every job that is taken. If it stands still for a tick while jobs wait, somebody is
    /// needed.
    taken: u64,
    /// Responses of a batch that is not over wait for somebody who is blocked in a poll.
    unsent: bool,
    /// The sentinel waits to be called.
    asleep: bool,
    stopped: bool,
}

/// The board that roles are taken from. `J` is a request that is ready to run.
#[derive(Debug)]
pub struct Scheduler<J> {
    state: Mutex<State<J>>,
    /// How many threads the interpreter can run at a time: 1, unless it is a free-threaded one.
    parallel: usize,
    /// One for each runner.
    parking: Vec<Condvar>,
    sentinel: Condvar,
}

/// Ends a poll that another thread is blocked in.
pub trait Wake {
    /// Makes the current or the next poll return.
    fn wake(&self);
}

impl<J> State<J> {
    fn take(&mut self, me: usize) -> Option<J> {
        self.taken += 1;
        if self.leader == Leader::Runner(me) {
            self.beat += 1;
        }
        if !self.newest_first {
            return self.queue.pop_front();
        }
        let job = self.queue.pop_back();
        self.newest_first = !self.queue.is_empty();
        job
    }
}

impl<J> Scheduler<J> {
    /// A scheduler for so many runners and one sentinel.
    pub fn new(runners: usize) -> Scheduler<J> {
        let state = State {
            queue: VecDeque::new(),
            newest_first: false,
            leader: Leader::Nobody,
            polling: false,
            waiter: false,
            inside: 0,
            parked: Vec::new(),
            orders: vec![None; runners],
            beat: 0,
            taken: 0,
            unsent: false,
            asleep: false,
            stopped: false,
        };
        Scheduler {
            state: Mutex::new(state),
            parallel: 1,
            parking: (0..runners).map(|_| Condvar::new()).collect(),
            sentinel: Condvar::new(),
        }
    }

    /// For an interpreter that runs so many threads at a time.
    pub fn running(self, parallel: usize) -> Scheduler<J> {
        Scheduler { parallel, ..self }
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        ignore_poison(self.state.lock())
    }

    // For runners

    /// Blocks until there is something to do for runner `me`.
    pub fn role(&self, me: usize, wake: &impl Wake) -> Role {
        let mut state = self.lock();
        if state.stopped {
            return Role::Quit;
        }
        // What the sentinel polls it cannot run, and while it polls nobody watches: it is relieved first.
        if !state.queue.is_empty() && !state.waiter && state.leader != Leader::Sentinel {
            state.waiter = true;
            if state.leader == Leader::Runner(me) {
                state.polling = false;
            }
            return Role::Run;
        }
        match state.leader {
            Leader::Runner(other) if other != me && state.polling => {}
            leader => {
                // The lead is free, or its holder is away with a request: whoever is free takes it.
                if leader == Leader::Sentinel {
                    wake.wake();
                }
                state.leader = Leader::Runner(me);
                state.polling = true;
                return Role::Poll;
            }
        }
        state.orders[me] = None;
        state.parked.push(me);
        loop {
            if state.stopped {
                return Role::Quit;
            }
            if let Some(role) = state.orders[me].take() {
                return role;
            }
            state = ignore_poison(self.parking[me].wait(state));
        }
    }

    /// What the poller should know before it blocks.
    pub fn pressure(&self) -> Pressure {
        let state = self.lock();
        let pressed = state.stopped || (!state.queue.is_empty() && !state.waiter);
        let free = self.parking.len().saturating_sub(state.inside);
        Pressure { pressed, waiting: state.queue.len(), free }
    }

    /// Takes those out of the queue that are `unwanted`. The others keep their order.
    pub fn withdraw(&self, mut unwanted: impl FnMut(&J) -> bool) -> Vec<J> {
        let mut state = self.lock();
        let mut withdrawn = Vec::new();
        for _ in 0..state.queue.len() {
            match state.queue.pop_front() {
                Some(job) if unwanted(&job) => withdrawn.push(job),
                Some(job) => state.queue.push_back(job),
                None => break,
            }
        }
        withdrawn
    }

    /// From now on the newest of those who wait goes first, until nobody waits.
    pub fn serve_newest_first(&self) {
        let mut state = self.lock();
        state.newest_first = !state.queue.is_empty();
    }

    /// How many more jobs would find a runner at once. A runner that asks because it is about to poll is one,
    /// unless it will have to run what waits already.
    pub fn room(&self) -> usize {
        let state = self.lock();
        let room = self.parking.len().saturating_sub(state.inside + state.queue.len());
        if state.queue.is_empty() || state.waiter { room.max(1) } else { room }
    }

    /// True if nobody is inside the application, nor about to be.
    pub fn is_quiet(&self) -> bool {
        let state = self.lock();
        state.inside == 0 && state.queue.is_empty()
    }

    /// Takes what a poll has found. `runner` is `None` for the sentinel.
    pub fn polled(
        &self,
        runner: Option<usize>,
        jobs: impl IntoIterator<Item = J>,
        wake: &impl Wake,
    ) {
        let mut state = self.lock();
        state.queue.extend(jobs);
        if !state.queue.is_empty() {
            // Not only when the leader goes to run: another runner may come in between and take the
            // work, and if that blocks, only the sentinel can see that more is waiting.
            self.rouse(&mut state);
        }
        state.beat += 1;
        let me = runner.map_or(Leader::Sentinel, Leader::Runner);
        if state.leader == me {
            state.polling = false;
        } else if !state.queue.is_empty() && !state.waiter {
            self.call_another(&mut state, wake);
        }
    }

    /// The interpreter is ours: takes the first job, if there is still one. Every call that returns a job
    /// is followed by one of [`Scheduler::done`].
    pub fn first(&self, me: usize, wake: &impl Wake) -> Option<J> {
        let mut state = self.lock();
        state.waiter = false;
        let job = state.take(me)?;
        state.inside += 1;
        if (state.inside > 1 || state.inside < self.parallel) && !state.queue.is_empty() {
            self.call_another(&mut state, wake);
        }
        Some(job)
    }

    /// Takes another job while the interpreter is still held, which leaves responses to the ones before
    /// unsent until [`Scheduler::done`]. Should this job take its time, the sentinel sees to them.
    pub fn another(&self, me: usize, wake: &impl Wake) -> Option<J> {
        let mut state = self.lock();
        let job = state.take(me);
        if job.is_some() && state.leader == Leader::Sentinel && state.polling {
            wake.wake();
        } else if job.is_some() && state.polling {
            state.unsent = true;
            self.rouse(&mut state);
        }
        job
    }

    /// The thread leaves the application. It sends its responses, or wakes up who does.
    pub fn done(&self) {
        let mut state = self.lock();
        state.inside -= 1;
        state.unsent = false;
    }

    /// The sentinel must be awake from when there is work until there is none and somebody polls.
    fn rouse(&self, state: &mut State<J>) {
        if state.asleep {
            state.asleep = false;
            self.sentinel.notify_one();
        }
    }

    /// Gets one more thread to wait for the interpreter.
    fn call_another(&self, state: &mut State<J>, wake: &impl Wake) {
        if let Some(runner) = state.parked.pop() {
            // The role is taken here, so that nobody else is called for the same work.
            state.waiter = true;
            state.orders[runner] = Some(Role::Run);
            self.parking[runner].notify_one();
        } else if matches!(state.leader, Leader::Runner(_)) && state.polling {
            wake.wake();
        }
    }

    // For the sentinel

    /// What the sentinel thread does until the server stops; `poll` turns the poller once and returns
    /// what became ready.
    pub fn watch<I: IntoIterator<Item = J>>(&self, wake: &impl Wake, mut poll: impl FnMut() -> I) {
        let mut idle = 0;
        let mut state = self.lock();
        while !state.stopped {
            let watching = !state.polling || !state.queue.is_empty() || state.unsent;
            idle = if watching { 0 } else { idle + 1 };
            if idle > DROWSY {
                state.asleep = true;
                while state.asleep && !state.stopped {
                    state = ignore_poison(self.sentinel.wait(state));
                }
                idle = 0;
            }
            let seen = (state.beat, state.taken);
            state = pause(&self.state, &self.sentinel, state, TICK);
            if state.stopped {
                break;
            }
            if std::mem::take(&mut state.unsent) {
                wake.wake();
            }
            if !state.polling && state.beat == seen.0 {
                if let Some(runner) = state.parked.pop() {
                    state.leader = Leader::Runner(runner);
                    state.polling = true;
                    state.orders[runner] = Some(Role::Poll);
                    self.parking[runner].notify_one();
                } else {
                    state.leader = Leader::Sentinel;
                    state.polling = true;
                    drop(state);
                    self.stand_in(wake, &mut poll);
                    state = self.lock();
                }
            } else if !state.queue.is_empty() && !state.waiter && state.taken == seen.1 {
                self.call_another(&mut state, wake);
            }
        }
    }

    /// Polls in the runners' place until one of them claims the lead.
    fn stand_in<I: IntoIterator<Item = J>>(&self, wake: &impl Wake, poll: &mut impl FnMut() -> I) {
        loop {
            let jobs = poll();
            self.polled(None, jobs, wake);
            let mut state = self.lock();
            if state.stopped || state.leader != Leader::Sentinel {
                return;
            }
            if !state.parked.is_empty() {
                // A runner that parked while the sentinel was leading: give the lead away.
                if let Some(runner) = state.parked.pop() {
                    state.leader = Leader::Runner(runner);
                    state.polling = true;
                    state.orders[runner] = Some(Role::Poll);
                    self.parking[runner].notify_one();
                }
                return;
            }
            state.polling = true;
        }
    }

    // The end

    /// Sends everybody home. Jobs that are queued stay queued: take them with [`Scheduler::another`].
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.asleep = false;
        self.sentinel.notify_all();
        for parking in &self.parking {
            parking.notify_all();
        }
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests;
