//! What time ends: overdue connections, and all of them when the server stops.

use log::info;

use super::super::connection::Connection;
use super::super::timers::Key;
#[cfg(doc)]
use super::super::write_half::WriteHalf;
use super::accept::ACCEPT_TURN;
use super::{Phase, Poller};
use crate::observe::Count;

impl Poller {
    pub(super) fn expire(&mut self, ready: &mut Vec<Box<Connection>>) {
        while let Some(entry) = self.timers.pop(self.now) {
            let key = entry.1;
            if !self.is_current(key) {
                continue;
            }
            let slot = &mut self.slots[key.0];
            if !self.timers.is_due(entry, &mut slot.deadline, self.now) {
                continue;
            }
            match slot.phase {
                Phase::Sending => self.stop_sending(key, ready),
                Phase::Lent => {}
                Phase::Reading => self.stop_waiting(key, ready),
                _ => self.close(key),
            }
        }
    }

    /// Nothing has gone out for as long as that may be. The stall is counted from the last byte that went out,
    /// which may be now: see [`WriteHalf::progress`].
    fn stop_sending(&mut self, key: Key, ready: &mut Vec<Box<Connection>>) {
        self.send_on(key, ready);
        let slot = &self.slots[key.0];
        let (Phase::Sending, Some(connection)) = (slot.phase, &slot.connection) else { return };
        let due = connection.write_half.progress().checked_add(self.settings.timeouts.write);
        if due.is_some_and(|due| due <= self.now) {
            self.handle.counters.increment_and_take_report(Count::WriteTimeout);
            info!("{} does not read its response: closed", connection.peer.address());
            self.reset(key);
        }
    }

    /// What was to come has not come in time. It may be there all the same: a turn hears of so many connections
    /// at most, and a process that was stopped for a while finds all of them overdue.
    fn stop_waiting(&mut self, key: Key, ready: &mut Vec<Box<Connection>>) {
        self.slots[key.0].readable = true;
        self.read(key, ready);
        let slot = &self.slots[key.0];
        let (Phase::Reading, Some(connection)) = (slot.phase, &slot.connection) else { return };
        let due = connection.read_deadline(&self.settings.timeouts);
        if connection.http.is_idle() {
            self.give_up(key);
        } else if due.is_some_and(|due| due <= self.now) {
            let content = connection.http.wants_content();
            self.handle.counters.increment_and_take_report(match content {
                true => Count::BodyTimeout,
                false => Count::HeaderTimeout,
            });
            let what = if content { "content" } else { "head" };
            let detail = format!("the request {what} did not arrive in time");
            self.answer(key, 408, "Request Timeout", &detail, ready);
        }
    }

    /// Ends a connection that has been idle for as long as it may. A client that kept it may be sending the next
    /// request just now. A reset would tell it less than the plain end of the connection does, and HAProxy asks
    /// again only after that.
    fn give_up(&mut self, key: Key) {
        if self.slots[key.0].connection.as_ref().is_some_and(|c| c.served > 0) {
            self.handle.counters.increment_and_take_report(Count::KeepAlive);
            self.linger(key);
        } else {
            self.handle.counters.increment_and_take_report(Count::HeaderTimeout);
            self.close(key);
        }
    }

    /// Stops accepting. What the kernel has accepted on our behalf is served; idle connections close.
    pub(super) fn drain(&mut self, ready: &mut Vec<Box<Connection>>) {
        self.draining = true;
        // There is room for all of them now.
        self.accept_pause = None;
        self.to_accept = (0..self.listeners.len()).collect();
        // As many as the kernel may hold now: clients that go on to come would never let us end.
        for _ in 0..=self.settings.backlog as usize / ACCEPT_TURN {
            if self.accept_pause.is_none() && !self.to_accept.is_empty() {
                self.accept(ready);
            }
        }
        for (listener, _) in &mut self.listeners {
            let _ = self.poll.registry().deregister(listener.source());
        }
        self.listeners.clear();
        self.to_accept.clear();
        self.accept_pause = None;
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let key = (index, slot.generation);
            self.hurry(key);
            if self.slots[index].phase != Phase::Reading {
                continue;
            }
            // A request may have come that no event has told of yet.
            self.slots[index].readable = true;
            self.read(key, ready);
            if !self.gentle {
                self.end_if_idle(key);
            }
        }
    }

    /// While the server stops: a client that has had a response, and has sent nothing since, is sent the end.
    pub(super) fn end_if_idle(&mut self, key: Key) {
        let slot = &self.slots[key.0];
        if slot.phase == Phase::Reading
            && slot.connection.as_ref().is_some_and(|c| c.http.is_idle() && c.served > 0)
        {
            self.linger(key);
        }
    }
}
