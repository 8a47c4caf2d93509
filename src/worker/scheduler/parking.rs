//! Worker threads without a role: how they wait for one, and get it.

use super::{Leader, Role, Scheduler, State};
use crate::sync::{MutexGuard, ignore_poison};

impl<J> Scheduler<J> {
    /// Waits until another thread assigns a role.
    #[inline(never)]
    pub(super) fn park(&self, mut state: MutexGuard<'_, State<J>>, thread: usize) -> Role {
        state.assigned_roles[thread] = None;
        state.parked.push(thread);
        loop {
            if state.is_stopped {
                return Role::Quit;
            }
            if let Some(role) = state.assigned_roles[thread].take() {
                return role;
            }
            state = ignore_poison(self.thread_wakeups[thread].wait(state));
        }
    }

    /// Makes a parked thread the leader. Returns false if none is parked.
    pub(super) fn promote_parked_thread(&self, state: &mut State<J>) -> bool {
        let Some(thread) = state.parked.pop() else { return false };
        state.leader = Leader::WorkerThread(thread);
        state.leader_polls = true;
        self.assign(state, thread, Role::Poll);
        true
    }

    /// Wakes a parked thread with its role.
    pub(super) fn assign(&self, state: &mut State<J>, thread: usize, role: Role) {
        state.assigned_roles[thread] = Some(role);
        self.thread_wakeups[thread].notify_one();
    }
}
