//! Joins the scheduler to the poller: turns the poller when the scheduler asks for it, and brings the requests
//! that it finds to the threads that run them.
//!
//! What running a request means is for the caller to say: `runner` does it with Python, the model checker
//! (`make model`) without.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::error;

use super::scheduler::{Load, Role, Scheduler, Wake};
use crate::config::Settings;
use crate::net::{Connection, Poller, PollerHandle, SWEEP_INTERVAL, Verdict};
use crate::sync::{Mutex, ignore_poison};

/// What the threads of a process share of its network.
#[derive(Debug)]
pub struct Dispatcher {
    scheduler: Scheduler<Box<Connection>>,
    /// Whoever polls has it; nobody else waits for it long.
    poller: Mutex<Poller>,
    /// For those who do not poll.
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
    /// For `--threads` runners, of which the interpreter can run `parallel` at a time. `multiprocess` says whether
    /// other workers accept from the same sockets, at any time.
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

    /// Other workers accept from the same sockets. One that has none does not leave them a connection, and
    /// takes as many at a time as there are.
    fn is_multiprocess(&self) -> bool {
        self.multiprocess.load(Ordering::Relaxed)
    }

    /// Says so from now on.
    pub fn set_multiprocess(&self, are_there: bool) {
        self.multiprocess.store(are_there, Ordering::Relaxed);
        // Whoever polls now does it on the old assumption.
        self.handle.wake();
    }

    /// Polls as runner `me` until there is something to do with the interpreter, and returns the role: to
    /// run requests, or to quit. [`Role::Poll`] means that nothing is to be done but to have the
    /// interpreter for a moment, for which `wants_interpreter` has asked while nobody runs a request.
    pub fn role(&self, me: usize, wants_interpreter: impl Fn() -> bool) -> Role {
        loop {
            match self.scheduler.take_role(me, &*self.handle) {
                Role::Poll => {
                    let room = self.is_multiprocess().then(|| self.scheduler.spare_threads());
                    let ready = self.turn(room, |load| load.has_unclaimed_work);
                    self.scheduler.finish_poll(Some(me), ready, &*self.handle);
                    if wants_interpreter() && self.scheduler.is_idle() {
                        return Role::Poll;
                    }
                }
                role => return role,
            }
        }
    }

    /// Runs requests as runner `me`, which has the interpreter, as long as there are any and `serve` allows
    /// it: that runs one, and returns whether there is time for another.
    pub fn run_batch(&self, me: usize, mut serve: impl FnMut(Box<Connection>) -> bool) {
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

    /// The life of the sentinel.
    pub fn watch(&self) {
        // However much is queued, it is not for the sentinel to run: it may wait.
        // It polls when every runner is inside the application: what it accepts has to wait.
        let room = || self.is_multiprocess().then_some(0);
        self.scheduler.run_sentinel(&*self.handle, || self.turn(room(), |_| false));
    }

    /// Turns the poller once and returns what became ready.
    fn turn(
        &self,
        room: Option<usize>,
        hurries: impl FnOnce(&Load) -> bool,
    ) -> Vec<Box<Connection>> {
        let mut ready = Vec::new();
        let mut poller = ignore_poison(self.poller.lock());
        // Only now: while we waited for the lock, whoever had it may have found work.
        let load = self.scheduler.load();
        let waiting = load.queued;
        let patience = match waiting {
            _ if hurries(&load) => Some(Duration::ZERO),
            0 => None,
            _ => Some(SWEEP_INTERVAL),
        };
        poller.set_room(room);
        if let Err(failure) = poller.turn(patience, &mut ready) {
            // Nothing is left to serve with: the process ends rather than spin.
            error!("polling failed: {failure}");
            self.scheduler.stop();
        }
        if waiting > 0 && poller.is_sweep_due() {
            self.sweep(&mut poller);
        }
        if ready.len() > self.settings.queue.saturating_sub(waiting) {
            self.reject_surplus(&mut poller, &mut ready);
        }
        if poller.is_finished() {
            self.scheduler.stop();
        }
        #[cfg(all(test, shuttle))]
        crate::sync::kernel::changed();
        ready
    }

    /// Turns those away that find the queue full. A request that finds a free thread need not wait in it.
    #[cold]
    fn reject_surplus(&self, poller: &mut Poller, ready: &mut Vec<Box<Connection>>) {
        let Load { queued: waiting, free_threads: free, .. } = self.scheduler.load();
        let vacant = self.settings.queue.saturating_add(free).saturating_sub(waiting);
        if ready.len() > vacant {
            ready.drain(vacant..).for_each(|connection| poller.reject_queued(connection));
        }
    }

    /// Takes those back from the queue that have waited too long, or whose clients have gone.
    #[cold]
    fn sweep(&self, poller: &mut Poller) {
        let unwanted =
            self.scheduler.withdraw(|connection| poller.verdict(connection) != Verdict::Keep);
        if unwanted.iter().any(|connection| poller.verdict(connection) == Verdict::Disconnected) {
            self.scheduler.serve_newest_first();
        }
        unwanted.into_iter().for_each(|connection| poller.reject_queued(connection));
    }
}
