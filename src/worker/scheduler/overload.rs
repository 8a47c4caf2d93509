//! What the poller does to the queue under overload; it decides when.

use super::Scheduler;

impl<J> Scheduler<J> {
    /// Removes the jobs from the queue that are `unwanted`. The others keep their order.
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

    /// Runs the newest queued job first until the queue is empty.
    pub fn serve_newest_first(&self) {
        let mut state = self.lock();
        state.newest_first = !state.queue.is_empty();
    }
}
