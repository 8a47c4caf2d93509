//! Deadlines for every connection, at almost no cost on the hot path.
//!
//! A deadline moves with every request but is rarely reached. So a connection only notes its
//! deadline; the heap holds at most one live entry for it, filed under an earlier or equal time, and
//! looks again when that time comes. A kept-alive connection costs one heap operation every few
//! seconds however many requests it makes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Which connection an entry is about: its slot, and the slot's generation.
pub(super) type Key = (usize, u32);

/// When one connection is due.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Deadline {
    /// When to act; `None` is never.
    due: Option<Instant>,
    /// When the heap will look at it next; entries filed under another time are stale.
    filed: Option<Instant>,
}

impl Deadline {
    /// True if the heap's entry for this time is this deadline's.
    pub(super) fn is_filed_under(&self, time: Instant) -> bool {
        self.filed == Some(time)
    }
}

/// The heap of all deadlines.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Key)>>,
}

impl Timers {
    /// Sets or clears a deadline.
    pub(super) fn set(&mut self, key: Key, deadline: &mut Deadline, due: Option<Instant>) {
        deadline.due = due;
        if let Some(due) = due
            && deadline.filed.is_none_or(|filed| due < filed)
        {
            deadline.filed = Some(due);
            self.heap.push(Reverse((due, key)));
        }
    }

    /// Sets a deadline, unless there is an earlier one.
    pub(super) fn hasten(&mut self, key: Key, deadline: &mut Deadline, due: Instant) {
        if deadline.due.is_none_or(|at| due < at) {
            self.set(key, deadline, Some(due));
        }
    }

    /// Forgets entries that are not `live` once they outnumber the `connections` by far: those of
    /// connections that are closed long before they are due.
    pub(super) fn tidy(&mut self, connections: usize, live: impl Fn(&(Instant, Key)) -> bool) {
        if self.heap.len() > 256 + 4 * connections {
            self.heap.retain(|Reverse(entry)| live(entry));
        }
    }

    /// When the loop must wake up at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes the next key whose filed time has come. The caller asks [`Timers::is_due`] of its deadline.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Key)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// True if the deadline behind a popped entry is due; files it anew if it has moved on.
    pub(super) fn is_due(
        &mut self,
        (filed, key): (Instant, Key),
        deadline: &mut Deadline,
        now: Instant,
    ) -> bool {
        if !deadline.is_filed_under(filed) {
            return false;
        }
        deadline.filed = None;
        match deadline.due {
            Some(due) if due <= now => true,
            due => {
                self.set(key, deadline, due);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn due(timers: &mut Timers, deadline: &mut Deadline, now: Instant) -> usize {
        let mut count = 0;
        while let Some(entry) = timers.pop(now) {
            count += usize::from(timers.is_due(entry, deadline, now));
        }
        count
    }

    #[test]
    fn a_deadline_that_moves_fires_once_at_its_last_place() {
        let (mut timers, mut deadline, start) =
            (Timers::default(), Deadline::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        timers.set((0, 0), &mut deadline, Some(at(5)));
        timers.set((0, 0), &mut deadline, Some(at(9)));
        assert_eq!(timers.heap.len(), 1);
        assert_eq!(due(&mut timers, &mut deadline, at(6)), 0);
        timers.set((0, 0), &mut deadline, Some(at(7)));
        assert_eq!(due(&mut timers, &mut deadline, at(7)), 1);
        assert_eq!(due(&mut timers, &mut deadline, at(20)), 0);
    }

    #[test]
    fn stale_entries_do_not_pile_up() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        for generation in 0..10_000 {
            let mut deadline = Deadline::default();
            timers.set((0, generation), &mut deadline, Some(now));
            timers.tidy(1, |(_, key)| key.1 == generation);
        }
        assert!(timers.heap.len() <= 261);
    }

    #[test]
    fn a_cleared_deadline_never_fires() {
        let (mut timers, mut deadline, now) =
            (Timers::default(), Deadline::default(), Instant::now());
        timers.set((0, 0), &mut deadline, Some(now));
        timers.set((0, 0), &mut deadline, None);
        assert_eq!(due(&mut timers, &mut deadline, now + Duration::from_secs(1)), 0);
        assert_eq!(timers.next(), None);
    }
}
