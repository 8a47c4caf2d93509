//! Pairs of steps that follow each other in each batch of a short request, under one lock: to take
//! and to release it costs as much as the steps.

use super::{Role, Scheduler, Wake};

impl<J> Scheduler<J> {
    /// [`Scheduler::finish_poll`] of worker thread `thread`, and then [`Scheduler::take_role`].
    pub fn finish_poll_and_take_role(
        &self,
        thread: usize,
        jobs: impl IntoIterator<Item = J>,
        wake: &impl Wake,
    ) -> Role {
        let mut state = self.lock();
        self.queue_polled(&mut state, Some(thread), jobs, wake);
        self.wait_for_role(state, thread, wake)
    }

    /// Takes another job of a batch, or does as [`Scheduler::end_batch`] if there is none. If this
    /// job takes long, the sentinel wakes the poller for the responses before it.
    pub fn continue_or_end_batch(&self, thread: usize, wake: &impl Wake) -> Option<J> {
        let mut state = self.lock();
        let job = self.take_next_job(&mut state, thread, wake);
        if job.is_none() {
            state.leave_app();
        }
        job
    }
}
