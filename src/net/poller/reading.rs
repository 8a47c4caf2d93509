//! Bytes in: until a request is complete, refused, or its client gone.

use std::io::{self, Read as _};
use std::time::Duration;

use log::debug;

use super::super::connection::{Connection, Read, Refusal};
use super::super::timers::Key;
use super::{Phase, Poller};

/// Bytes read from one connection in one turn.
const READ_TURN: usize = 256 * 1024;
/// How long a connection that never made a request may still make one while the server stops.
const LAST_CALL: Duration = Duration::from_secs(1);

impl Poller {
    pub(super) fn read(&mut self, key: Key, ready: &mut Vec<Box<Connection>>) {
        let mut total = 0;
        while self.slots[key.0].readable {
            let slot = &mut self.slots[key.0];
            let (Some(connection), Some(write_half)) = (&mut slot.connection, &slot.write_half)
            else {
                return;
            };
            let count = match write_half.socket().read(&mut self.scratch) {
                Ok(0) => {
                    if !connection.http.is_idle() || connection.has_input() {
                        debug!("{} left in the middle of a request", connection.peer.address());
                    }
                    return self.close(key);
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    slot.readable = false;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    debug!("{}: {error}", connection.peer.address());
                    return self.close(key);
                }
            };
            // A short read has emptied the socket: the next byte will make a new edge.
            slot.readable = count == self.scratch.len() || slot.half_closed;
            let read = connection.feed(&self.scratch[..count], self.settings.body_buffer, self.now);
            if !self.digest(key, read, ready) {
                return;
            }
            total += count;
            if total >= READ_TURN && self.slots[key.0].readable {
                self.go_on_later(key);
                break;
            }
        }
        self.set_read_deadline(key);
    }

    /// Acts on what was parsed; true if the connection wants to read more.
    pub(super) fn digest(
        &mut self,
        key: Key,
        read: Read,
        ready: &mut Vec<Box<Connection>>,
    ) -> bool {
        match read {
            Read::NeedMore => {
                let Some(connection) = &mut self.slots[key.0].connection else { return false };
                // A 100 Continue, if anything.
                if !connection.queue.is_empty()
                    && connection.write_half.send(&mut connection.queue).is_err()
                {
                    self.close(key);
                    return false;
                }
                true
            }
            Read::Ready => {
                self.lend(key, ready);
                false
            }
            Read::Refused(refusal) => {
                self.refuse(key, &refusal, ready);
                false
            }
        }
    }

    pub(super) fn lend(&mut self, key: Key, ready: &mut Vec<Box<Connection>>) {
        if self.handle.memory_budget.is_over() && !self.relieve() {
            return self.refuse(key, &Refusal::Memory, ready);
        }
        let slot = &mut self.slots[key.0];
        if let Some(mut connection) = slot.connection.take() {
            if self.draining || self.settings.timeouts.keep_alive.is_zero() {
                connection.http.close_after_response();
            }
            slot.phase = Phase::Lent;
            slot.lent_at = self.now;
            slot.left = false;
            self.timers.set(key, &mut slot.deadline, None);
            ready.push(connection);
        }
    }

    pub(super) fn set_read_deadline(&mut self, key: Key) {
        let slot = &mut self.slots[key.0];
        if let Some(connection) = &slot.connection {
            let mut due = connection.read_deadline(&self.settings.timeouts);
            if self.draining && !self.gentle && connection.http.is_idle() {
                let last_call = self.now + LAST_CALL;
                due = Some(due.map_or(last_call, |due| due.min(last_call)));
            }
            self.timers.set(key, &mut slot.deadline, due);
        }
    }
}
