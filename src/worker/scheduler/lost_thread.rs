//! What the policy does without a thread that has ended unexpectedly.

use super::{Leader, Scheduler};

impl<J> Scheduler<J> {
    /// Goes on without worker thread `thread`, which has ended unexpectedly, or without the
    /// sentinel, which may start again. If the thread has polled, the sentinel finds another one
    /// for that.
    pub fn remove_thread(&self, thread: Option<usize>) {
        let mut state = self.lock();
        let leader = thread.map_or(Leader::Sentinel, Leader::WorkerThread);
        if let Some(thread) = thread {
            state.lost_threads += 1;
            state.parked.retain(|parked| *parked != thread);
            // It may have been this thread. If not, a second one attaches in vain.
            state.is_thread_attaching = false;
        }
        if state.leader == leader {
            state.leader = Leader::None;
            state.leader_polls = false;
        }
        self.wake_sentinel(&mut state);
    }
}
