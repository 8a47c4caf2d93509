//! The sentinel's half of the policy: it watches the threads that poll and run, and polls in their
//! place while all of them are in the application.

use super::{Leader, SENTINEL_INTERVAL, Scheduler, Wake};
use crate::sync::{ignore_poison, pause};

/// After this many checks with nothing to watch the sentinel sleeps until it is woken.
pub(super) const IDLE_ROUNDS_BEFORE_SLEEP: u32 = 10;

impl<J> Scheduler<J> {
    /// Watches the other threads until the server stops. `poll` turns the poller once and returns
    /// the jobs that became ready.
    pub fn run_sentinel<I: IntoIterator<Item = J>>(
        &self,
        wake: &impl Wake,
        mut poll: impl FnMut() -> I,
    ) {
        let mut idle_rounds = 0;
        let mut state = self.lock();
        while !state.is_stopped {
            let has_work =
                !state.leader_polls || !state.queue.is_empty() || state.has_unsent_responses;
            idle_rounds = if has_work { 0 } else { idle_rounds + 1 };
            if idle_rounds > IDLE_ROUNDS_BEFORE_SLEEP {
                state.is_sentinel_asleep = true;
                while state.is_sentinel_asleep && !state.is_stopped {
                    state = ignore_poison(self.sentinel_wakeup.wait(state));
                }
                idle_rounds = 0;
            }
            let (leader_progress, jobs_taken) = (state.leader_progress, state.jobs_taken);
            state = pause(&self.state, &self.sentinel_wakeup, state, SENTINEL_INTERVAL);
            if state.is_stopped {
                break;
            }
            if std::mem::take(&mut state.has_unsent_responses) {
                wake.wake();
            }
            if !state.leader_polls && state.leader_progress == leader_progress {
                if !self.promote_parked_thread(&mut state) {
                    state.leader = Leader::Sentinel;
                    state.leader_polls = true;
                    drop(state);
                    self.poll_until_relieved(wake, &mut poll);
                    state = self.lock();
                }
            } else if state.has_unclaimed_jobs() && state.jobs_taken == jobs_taken {
                self.call_thread_to_run(&mut state, wake);
            }
        }
    }

    /// Polls as the leader until a worker thread takes over.
    fn poll_until_relieved<I: IntoIterator<Item = J>>(
        &self,
        wake: &impl Wake,
        poll: &mut impl FnMut() -> I,
    ) {
        loop {
            let jobs = poll();
            self.finish_poll(None, jobs, wake);
            let mut state = self.lock();
            // Prefer a thread that parked during the poll as the leader.
            if state.is_stopped
                || state.leader != Leader::Sentinel
                || self.promote_parked_thread(&mut state)
            {
                return;
            }
            state.leader_polls = true;
        }
    }
}
