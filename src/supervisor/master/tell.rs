//! What the master tells its workers, each by a byte on its channel.

use std::time::Instant;

use super::{GRACE, Master};
use crate::supervisor::messages::{self, ALONE, RETIRE, SIBLINGS};
use crate::supervisor::pool::State;
use crate::sys::process::kill;

impl Master<'_> {
    /// Tells a worker to go once it has nothing left to do.
    pub(super) fn retire(&mut self, at: usize) {
        let patience = self.settings.timeouts.graceful.saturating_add(GRACE);
        let Some(member) = self.members.get_mut(at) else { return };
        match member.card.state {
            State::Leaving => return,
            State::Ready
                if member.channel.as_ref().is_some_and(|to| messages::say(to, RETIRE).is_ok()) => {}
            // It does not listen yet, and has nothing to finish.
            _ => kill(member.pid, libc::SIGTERM),
        }
        member.card.state = State::Leaving;
        member.since = Instant::now();
        member.kill_at = member.since.checked_add(patience);
    }

    /// Tells the workers whether they are several, those of another master included: TTIN, a reload and an
    /// upgrade give even a single one company.
    pub(super) fn tell_of_siblings(&mut self, starting: usize) {
        let several = self.target.max(self.members.len() + starting) > 1
            || self.successor.is_some()
            || self.predecessor.is_some();
        if several == std::mem::replace(&mut self.multiprocess, several) {
            return;
        }
        let word = if several { SIBLINGS } else { ALONE };
        for to in self.members.iter().filter_map(|member| member.channel.as_ref()) {
            // Who does not hear it is about to be reaped.
            let _ = messages::say(to, word);
        }
    }
}
