//! The three ways a connection ends: at once, after what the client still sends, or with an error.

use std::io::{self, Read as _};
use std::time::Duration;

use super::super::timers::{Deadline, Key};
use super::{Phase, Poller};

/// A closing connection with unread input is read on for so long and so far, so that the client gets
/// the response before the reset that closing would cause. [RFC 9112 section 9.6]
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;
/// So long while the server stops, if nothing more is known to come: a request may yet cross the end of its
/// connection.
const LAST_MOMENT: Duration = Duration::from_millis(200);

impl Poller {
    /// Ends the sending side and waits for the client's, so that what it sends meanwhile causes no reset.
    pub(super) fn linger(&mut self, key: Key) {
        // Asked before the end is on its way: what comes later has crossed it.
        let quiet = self.is_quiet(key) && !self.has_unread(key);
        let slot = &mut self.slots[key.0];
        let shut = slot
            .write_half
            .as_ref()
            .map(|write_half| write_half.socket().shutdown(std::net::Shutdown::Write));
        if !matches!(shut, Some(Ok(()))) {
            return self.close(key);
        }
        slot.phase = Phase::Lingering(LINGER_BYTES);
        let due = self.now + if quiet { LAST_MOMENT } else { LINGER };
        self.timers.set(key, &mut slot.deadline, Some(due));
        self.linger_on(key, LINGER_BYTES);
    }

    /// The server stops, and this client has sent whole requests and no more: it is not waited for that long.
    fn is_quiet(&self, key: Key) -> bool {
        let connection = self.slots[key.0].connection.as_ref();
        self.draining
            && !self.gentle
            && connection.is_some_and(|c| !c.http.is_refused() && !c.has_input())
    }

    /// The server stops while this connection ends already.
    pub(super) fn hurry(&mut self, key: Key) {
        if self.slots[key.0].phase == Phase::Lingering(LINGER_BYTES) && self.is_quiet(key) {
            let slot = &mut self.slots[key.0];
            self.timers.hasten(key, &mut slot.deadline, self.now + LAST_MOMENT);
        }
    }

    pub(super) fn linger_on(&mut self, key: Key, mut left: usize) {
        let slot = &mut self.slots[key.0];
        let Some(write_half) = &slot.write_half else { return };
        loop {
            match write_half.socket().read(&mut self.scratch) {
                Ok(count) if count > 0 && count < left => left -= count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    slot.phase = Phase::Lingering(left);
                    return;
                }
                _ => return self.close(key),
            }
        }
    }

    /// Closes so that the client sees an error: its response broke off, and its end would look like
    /// the end of what had no length. What the kernel has not delivered goes as well, be it of an earlier
    /// response: no event tells when its queue is empty, and only HTTP/1.0 clients that pipeline could miss it.
    pub(super) fn reset(&mut self, key: Key) {
        if let Some(write_half) = &self.slots[key.0].write_half {
            let _ = write_half.socket().set_linger(Some(Duration::ZERO));
            // As for `close`, others may hold the descriptor. On Linux this is what resets at once;
            // see connect(2) on AF_UNSPEC. A unix socket knows no resets and is shut down.
            if rustix::net::connect_unspec(write_half.socket()).is_err() {
                let _ = write_half.socket().shutdown(std::net::Shutdown::Both);
            }
        }
        self.release(key);
    }

    pub(super) fn close(&mut self, key: Key) {
        // Dropping the descriptor is not enough: an application that has forked holds another.
        if let Some(write_half) = &self.slots[key.0].write_half {
            let _ = write_half.socket().shutdown(std::net::Shutdown::Both);
        }
        self.release(key);
    }

    pub(super) fn release(&mut self, key: Key) {
        let slot = &mut self.slots[key.0];
        slot.phase = Phase::Free;
        slot.connection = None;
        // The last reference to the socket goes here, which also takes it out of the poll set.
        slot.write_half = None;
        slot.deadline = Deadline::default();
        self.free.push(key.0);
        // There is a place, or a descriptor, for another.
        self.accept_pause = None;
        let slots = &self.slots;
        self.timers.tidy(slots.len(), |(due, key)| {
            let slot = &slots[key.0];
            slot.generation == key.1 && slot.deadline.is_filed_under(*due)
        });
    }
}
