//! Looks at the queue without a change.

use super::Scheduler;

impl<J> Scheduler<J> {
    /// Calls `look` with the queued jobs, the one that runs next first.
    pub fn look_at_queue(&self, look: impl FnOnce(&mut dyn Iterator<Item = &J>)) {
        let state = self.lock();
        match state.newest_first {
            false => look(&mut state.queue.iter()),
            true => look(&mut state.queue.iter().rev()),
        }
    }
}
