//! What the master waits for, and whom it kills when the wait is over.

use std::time::{Duration, Instant};

use log::{error, warn};

use super::{GRACE, Master, Member};
use crate::supervisor::pool::State;
use crate::sys::process::kill;

/// How long the interpreter of a worker may be out of reach, if --timeout does not say.
const PATIENCE: Duration = Duration::from_secs(60);

impl Member {
    /// Whether it had no heartbeat at two looks, which are [`GRACE`] apart: after all processes were stopped for a
    /// while, or the machine was asleep, the master may be the first to wake up.
    fn is_silent(&mut self, now_silent: bool, now: Instant) -> bool {
        self.silent_at = now_silent.then(|| self.silent_at.unwrap_or(now));
        self.silent_at.is_some_and(|at| now.saturating_duration_since(at) >= GRACE)
    }
}

impl Master<'_> {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let kills = self.members.iter().filter(|m| !m.killed).filter_map(|m| m.kill_at);
        let missing = self.stopping.is_none() && self.plan().start > 0;
        let patience = self.patience();
        let pulses = self
            .members
            .iter()
            .filter(|m| m.card.state == State::Ready && m.kill_at.is_none())
            .filter_map(|m| match m.silent_at {
                Some(at) => at.checked_add(GRACE),
                None => m.heartbeat.last().checked_add(patience),
            });
        let boots = self
            .members
            .iter()
            .filter(|m| m.card.state == State::Booting && m.kill_at.is_none())
            .filter_map(|m| m.since.checked_add(self.settings.timeouts.boot));
        kills
            .chain(pulses)
            .chain(boots)
            .chain(self.notifier.next_beat())
            .chain(self.backoff.not_before.filter(|_| missing))
            .min()
    }

    /// How long a worker may be without a heartbeat.
    fn patience(&self) -> Duration {
        match self.settings.timeouts.request {
            Duration::MAX => PATIENCE,
            limit => limit.saturating_add(GRACE),
        }
    }

    /// Kills workers that do not come up, give no sign of life, or do not end.
    pub(super) fn kill_overdue(&mut self, now: Instant) {
        let (patience, boot) = (self.patience(), self.settings.timeouts.boot);
        for member in self.members.iter_mut() {
            let doubt = match member.card.state {
                _ if member.kill_at.is_some() => None,
                State::Booting if member.since.elapsed() >= boot => Some(format!(
                    "is not ready after the {} s of --boot-timeout",
                    boot.as_secs_f64()
                )),
                State::Ready => Some(member.heartbeat.age())
                    .filter(|&silence| member.is_silent(silence >= patience, now))
                    .map(|silence| format!("gives no sign of life since {} s", silence.as_secs())),
                _ => None,
            };
            if let Some(doubt) = doubt {
                error!("worker {} {doubt}: it is killed", member.pid);
                // Which lets it say where its threads are.
                kill(member.pid, libc::SIGABRT);
                member.kill_at = now.checked_add(GRACE);
            }
            if !member.killed && member.kill_at.is_some_and(|at| at <= now) {
                warn!("worker {} does not end: it is killed", member.pid);
                kill(member.pid, libc::SIGKILL);
                member.killed = true;
            }
        }
    }
}
