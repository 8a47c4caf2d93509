//! Room for others: which connections go when there are too many, or when memory is short.
//!
//! In both cases those go first that have done nothing for longest: a connection that waits for its next
//! request, or never made one; a response that nobody reads.

use std::time::{Duration, Instant};

use log::warn;

use super::super::timers::Key;
#[cfg(doc)]
use super::super::write_half::WriteHalf;
use super::{Phase, Poller};
use crate::observe::Count;

/// So many idle connections are found by one search.
const FOUND: usize = 64;
/// How long there is no further search after one that has found nothing.
const FRUITLESS: Duration = Duration::from_millis(100);
/// A client that connects has something to say. If it says nothing for so long, it counts as idle.
const SILENCE: Duration = Duration::from_secs(1);
/// How long a client has taken nothing of its response before it may be taken for one that does not read.
const STALL: Duration = Duration::from_secs(1);
/// How long memory may be short before responses end that are read, but too slowly.
const SHORT: Duration = Duration::from_secs(2);
/// How often the responses are looked through while memory is short.
const RELIEF: Duration = Duration::from_millis(100);

/// Idle connections, each with the time at which it became idle, the oldest last.
pub(super) type Idle = Vec<(Instant, Key)>;

impl Poller {
    /// Closes the connection that has been idle for longest, as `bound` is reached; false if none is.
    #[cold]
    pub(super) fn make_room(&mut self, bound: &str) -> bool {
        // What an earlier search has found has been idle for longer than what has become idle since.
        loop {
            while let Some((since, key)) = self.idle.pop() {
                if self.idle_since(key) == Some(since) {
                    if let Some(count) =
                        self.handle.counters.increment_and_take_report(Count::IdleClosed)
                    {
                        warn!("{bound}: {count} idle connection(s) closed to make room");
                    }
                    self.close(key);
                    return true;
                }
            }
            if self.now < self.next_search {
                return false;
            }
            self.search_idle();
            if self.idle.is_empty() {
                self.next_search = self.now + FRUITLESS;
                return false;
            }
        }
    }

    /// When a connection began to wait for its next request, or for its first if it has waited for
    /// [`SILENCE`]; `None` if it is not waiting.
    fn idle_since(&self, key: Key) -> Option<Instant> {
        let slot = self.slots.get(key.0)?;
        let connection = slot.connection.as_ref()?;
        let idle = slot.generation == key.1
            && slot.phase == Phase::Reading
            && (connection.served > 0
                || self.now.saturating_duration_since(connection.mark) >= SILENCE)
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
        // Memory was not short in between, or nobody has needed it.
        if self.now >= self.next_relief + STALL {
            self.short_since = self.now;
        }
        self.next_relief = self.now + RELIEF;
        let mut stalled: Vec<_> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| {
                let write_half =
                    slot.write_half.as_ref().filter(|write_half| write_half.has_waiting())?;
                let since = write_half.progress();
                let long = self.now.saturating_duration_since(since) >= STALL;
                long.then_some((since, (index, slot.generation)))
            })
            .collect();
        stalled.sort_unstable();
        for (since, key) in stalled {
            if !self.handle.memory_budget.is_over() {
                return true;
            }
            if self.goes_on(key, since) {
                self.go_on_later(key);
            } else {
                self.give_up_response(key);
            }
        }
        // A client that takes a byte now and then is none that does not read, but it keeps out all others.
        if self.handle.memory_budget.is_over()
            && self.now.saturating_duration_since(self.short_since) >= SHORT
            && let Some(key) = self.largest_response()
        {
            self.give_up_response(key);
        }
        !self.handle.memory_budget.is_over()
    }

    /// True if a client has made room since then of which nothing was told: see [`WriteHalf::progress`].
    fn goes_on(&self, key: Key, since: Instant) -> bool {
        let Some(write_half) = &self.slots[key.0].write_half else { return false };
        write_half.flush().is_ok() && write_half.progress() > since
    }

    /// The connection that most bytes wait for.
    fn largest_response(&self) -> Option<Key> {
        let size =
            |slot: &super::Slot| Some(slot.write_half.as_ref()?.held()).filter(|size| *size > 0);
        let slots = self.slots.iter().enumerate();
        slots
            .filter_map(|(index, slot)| Some((size(slot)?, (index, slot.generation))))
            .max()
            .map(|(_, key)| key)
    }

    fn give_up_response(&mut self, key: Key) {
        if let Some(count) = self.handle.counters.increment_and_take_report(Count::StalledClosed) {
            warn!("--limit-memory is reached: {count} response(s) that are not read given up");
        }
        match self.slots[key.0].phase {
            // Its producer learns it, and brings the connection home.
            Phase::Lent => {
                if let Some(write_half) = &self.slots[key.0].write_half {
                    write_half.fail();
                }
            }
            _ => self.reset(key),
        }
    }
}
