//! Deadlines for every connection, at almost no cost on the hot path.
//!
//! A deadline moves with every request but is rarely reached. So the connection stores its
//! deadline, and the heap holds at most one valid entry for it, at the same time or earlier. When
//! that time comes, the entry is moved to the deadline. A kept-alive connection costs one heap
//! operation every few seconds, however many requests it makes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::arena::ConnectionId;
use super::tuning::STALE_TIMERS;
use crate::sys::clock::Moment;

/// The deadline of one connection.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Deadline {
    /// When to act; `None` means never.
    due: Option<Moment>,
    /// The time of its entry in the heap, if it has one; entries with another time are stale.
    filed: Option<Moment>,
}

impl Deadline {
    /// True if an entry with this time is this deadline's, and not a stale one.
    pub(super) fn is_filed_under(&self, time: Moment) -> bool {
        self.filed == Some(time)
    }
}

/// The heap of all deadlines.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Moment, ConnectionId)>>,
}

impl Timers {
    /// Sets or clears a deadline.
    pub(super) fn set(&mut self, id: ConnectionId, deadline: &mut Deadline, due: Option<Moment>) {
        deadline.due = due;
        if let Some(due) = due
            && deadline.filed.is_none_or(|filed| due < filed)
        {
            deadline.filed = Some(due);
            self.heap.push(Reverse((due, id)));
        }
    }

    /// Sets a deadline, unless it is earlier already.
    pub(super) fn bring_forward(&mut self, id: ConnectionId, deadline: &mut Deadline, due: Moment) {
        if deadline.due.is_none_or(|at| due < at) {
            self.set(id, deadline, Some(due));
        }
    }

    /// Removes entries that are not `live`, once they far outnumber the `connections`. They belong
    /// to connections that were closed long before their deadline.
    pub(super) fn compact(
        &mut self,
        connections: usize,
        live: impl Fn(&(Moment, ConnectionId)) -> bool,
    ) {
        if self.heap.len() > STALE_TIMERS + 4 * connections {
            self.heap.retain(|Reverse(entry)| live(entry));
        }
    }

    /// When the poller must wake up at the latest.
    pub(super) fn next(&self) -> Option<Moment> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    /// Takes the next entry whose time has come. The caller then checks [`Timers::is_due`].
    pub(super) fn pop(&mut self, now: Moment) -> Option<(Moment, ConnectionId)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// True if the deadline of a popped entry is due; a deadline that has moved gets a new entry.
    pub(super) fn is_due(
        &mut self,
        (filed, id): (Moment, ConnectionId),
        deadline: &mut Deadline,
        now: Moment,
    ) -> bool {
        if !deadline.is_filed_under(filed) {
            return false;
        }
        deadline.filed = None;
        match deadline.due {
            Some(due) if due <= now => true,
            due => {
                self.set(id, deadline, due);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;
    use std::time::Duration;

    fn id(number: usize) -> ConnectionId {
        ConnectionId::from_token(number)
    }

    fn due(timers: &mut Timers, deadline: &mut Deadline, now: Moment) -> usize {
        let mut count = 0;
        while let Some(entry) = timers.pop(now) {
            count += usize::from(timers.is_due(entry, deadline, now));
        }
        count
    }

    #[test]
    fn deadline_that_moves_fires_once_at_its_last_time() {
        let (mut timers, mut deadline, start) =
            (Timers::default(), Deadline::default(), clock::now());
        let at = |s| start + Duration::from_secs(s);
        timers.set(id(0), &mut deadline, Some(at(5)));
        timers.set(id(0), &mut deadline, Some(at(9)));
        assert_eq!(timers.heap.len(), 1);
        assert_eq!(due(&mut timers, &mut deadline, at(6)), 0);
        timers.set(id(0), &mut deadline, Some(at(7)));
        assert_eq!(due(&mut timers, &mut deadline, at(7)), 1);
        assert_eq!(due(&mut timers, &mut deadline, at(20)), 0);
    }

    #[test]
    fn stale_entries_are_compacted() {
        let (mut timers, now) = (Timers::default(), clock::now());
        for generation in 0..10_000 {
            let mut deadline = Deadline::default();
            timers.set(id(generation), &mut deadline, Some(now));
            timers.compact(1, |(_, entry)| *entry == id(generation));
        }
        assert!(timers.heap.len() <= 261);
    }

    #[test]
    fn cleared_deadline_never_fires() {
        let (mut timers, mut deadline, now) =
            (Timers::default(), Deadline::default(), clock::now());
        timers.set(id(0), &mut deadline, Some(now));
        timers.set(id(0), &mut deadline, None);
        assert_eq!(due(&mut timers, &mut deadline, now + Duration::from_secs(1)), 0);
        assert_eq!(timers.next(), None);
    }
}
