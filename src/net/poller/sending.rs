//! Bytes out, and what becomes of a connection once they are with the kernel.

use std::io::{self, Read as _};

use log::{error, info};

use super::super::connection::Connection;
use super::super::output_queue::Flush;
use super::super::timers::Key;
use super::super::write_half::TAKES_TOO_LONG;
use super::{Phase, Poller};
use crate::http1::Next;
use crate::observe::Count;

impl Poller {
    pub(super) fn come_home(
        &mut self,
        mut connection: Box<Connection>,
        ready: &mut Vec<Box<Connection>>,
    ) {
        let key = connection.key;
        let sent = connection.send();
        let slot = &mut self.slots[key.0];
        slot.connection = Some(connection);
        slot.phase = Phase::Sending;
        self.follow_up(key, sent, ready);
    }

    pub(super) fn send_on(&mut self, key: Key, ready: &mut Vec<Box<Connection>>) {
        let Some(write_half) = &self.slots[key.0].write_half else { return };
        let sent = write_half.flush();
        self.follow_up(key, sent, ready);
    }

    /// What becomes of a connection that was sent a response, or part of it.
    pub(super) fn follow_up(
        &mut self,
        key: Key,
        sent: io::Result<Flush>,
        ready: &mut Vec<Box<Connection>>,
    ) {
        let slot = &mut self.slots[key.0];
        let (Some(write_half), Some(connection)) = (&slot.write_half, &slot.connection) else {
            return;
        };
        match sent {
            Ok(Flush::Done) => self.settle(key, ready),
            Ok(flush) => {
                let due = write_half.progress().checked_add(self.settings.timeouts.write);
                self.timers.set(key, &mut slot.deadline, due);
                if flush == Flush::More {
                    self.go_on_later(key);
                }
            }
            Err(error) => {
                let peer = connection.peer.address();
                match error.kind() {
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        info!("{peer} left before its response was complete")
                    }
                    io::ErrorKind::TimedOut => {
                        self.handle.counters.increment_and_take_report(Count::WriteTimeout);
                        info!("{peer} does not read its response: closed");
                    }
                    // Whoever ended it has said so.
                    TAKES_TOO_LONG => {}
                    _ => error!("a response to {peer} broke off: {error}"),
                }
                self.reset(key);
            }
        }
    }

    /// The response is with the kernel: the next request, or the end.
    pub(super) fn settle(&mut self, key: Key, ready: &mut Vec<Box<Connection>>) {
        let draining = self.draining && !self.gentle;
        let slot = &mut self.slots[key.0];
        let Some(connection) = &mut slot.connection else { return };
        match connection.start_next(self.now) {
            Next::Request => {
                slot.phase = Phase::Reading;
                // A request that is here already is served, though no event has told of it.
                slot.readable |= draining;
                if connection.has_input() {
                    let read = connection.resume(self.settings.body_buffer, self.now);
                    if !self.digest(key, read, ready) {
                        return;
                    }
                }
                self.read(key, ready);
                if draining {
                    self.end_if_idle(key);
                }
            }
            Next::Close => {
                // A client that asked for the end has nothing more to say. If it breaks that rule between this
                // look and the close it may be reset; to linger would cost all others an event and a turn.
                // [RFC 9112 section 9.6]
                let done = connection.http.client_wants_close() && !connection.has_input();
                if done && !self.has_unread(key) { self.close(key) } else { self.linger(key) }
            }
            Next::Reset => self.reset(key),
        }
    }

    /// True if the client has sent more, which is thrown away.
    pub(super) fn has_unread(&mut self, key: Key) -> bool {
        let Some(write_half) = &self.slots[key.0].write_half else { return false };
        matches!(write_half.socket().read(&mut self.scratch), Ok(1..))
    }
}
