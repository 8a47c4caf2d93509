//! Room for others: which connections go when there are too many, or when memory is short.
//!
//! In both cases those go first that have done nothing for longest: a keep-alive connection that waits
//! for its next request, a response that nobody reads.

use std::time::{Duration, Instant};

use log::warn;

use super::super::timers::Key;
use super::{Phase, Reactor};
use crate::observe::Count;

/// So many idle connections are found by one search.
const FOUND: usize = 64;
/// How long a client has taken nothing of its response before it may be taken for one that does not read.
const STALL: Duration = Duration::from_secs(1);
/// How often the responses are looked through while memory is short.
const RELIEF: Duration = Duration::from_millis(100);

/// Idle connections with the time since when they are, the oldest last.
pub(super) type Idle = Vec<(Instant, Key)>;

impl Reactor {
    /// Closes the connection that has been idle for longest; false if none is.
    #[cold]
    pub(super) fn make_room(&mut self) -> bool {
        // Who has been idle since an earlier search is older than whoever has become idle since then.
        loop {
            while let Some((since, key)) = self.idle.pop() {
                if self.idle_since(key) == Some(since) {
                    if let Some(count) = self.remote.counters.add(Count::IdleClosed) {
                        warn!(
                            "--worker-connections is reached: {count} idle connection(s) closed to make room"
                        );
                    }
                    self.close(key);
                    return true;
                }
            }
            self.search_idle();
            if self.idle.is_empty() {
                return false;
            }
        }
    }

    /// Since when a connection waits for its next request, or its first; `None` if it does not.
    fn idle_since(&self, key: Key) -> Option<Instant> {
        let slot = self.slots.get(key.0)?;
        let connection = slot.connection.as_ref()?;
        let idle = slot.generation == key.1
            && slot.phase == Phase::Reading
            && connection.served > 0
            && !slot.readable
            && connection.http.is_idle()
            && !connection.has_input();
        idle.then_some(connection.mark)
    }

    fn search_idle(&mut self) {
        let keys = self.slots.iter().enumerate().map(|(index, slot)| (index, slot.generation));
        let mut idle: Idle = keys.filter_map(|key| Some((self.idle_since(key)?, key))).collect();
        if idle.len() > FOUND {
            idle.select_nth_unstable(FOUND);
            idle.truncate(FOUND);
        }
        idle.sort_unstable_by(|one, other| other.cmp(one));
        self.idle = idle;
    }

    /// When buffers hold more than they may: gives up the responses that were not read for longest, until
    /// they do not. False if that was not enough.
    #[cold]
    pub(super) fn relieve(&mut self) -> bool {
        if self.now < self.next_relief {
            return false;
        }
        self.next_relief = self.now + RELIEF;
        let mut stalled: Vec<_> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| {
                let outlet = slot.outlet.as_ref().filter(|outlet| outlet.has_waiting())?;
                let since = outlet.progress();
                let long = self.now.saturating_duration_since(since) >= STALL;
                long.then_some((since, (index, slot.generation)))
            })
            .collect();
        stalled.sort_unstable();
        for (_, key) in stalled {
            if !self.remote.ledger.is_over() {
                return true;
            }
            if let Some(count) = self.remote.counters.add(Count::StalledClosed) {
                warn!("--limit-memory is reached: {count} response(s) that nobody reads given up");
            }
            match self.slots[key.0].phase {
                // Its producer learns it, and brings the connection home.
                Phase::Lent => {
                    if let Some(outlet) = &self.slots[key.0].outlet {
                        outlet.fail();
                    }
                }
                _ => self.reset(key),
            }
        }
        !self.remote.ledger.is_over()
    }
}
