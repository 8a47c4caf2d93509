//! Relays between a client and an application that has taken its connection, for connections whose
//! descriptor the application cannot use: see [`Taken`](super::taken::Taken). The poller calls it
//! when one of the two sides is ready.
//!
//! Each direction holds at most one read: nothing more is read from one side until the other side
//! has taken it, so flow control reaches from end to end. What the client does not take waits in
//! the write half, with the deadlines and the memory budget of responses. The end of one side is
//! passed on once its bytes are, and leaves the other direction open.

use std::io::{self, IoSlice};

use socket2::Socket;

use super::address::Peer;
use super::connection::Connection;
use super::output_queue::Flush;
use super::read_buffer::ReadBuffer;
use super::sending::{Then, send};
use super::transport::Transport;
use super::tuning::MAX_READ_PER_TURN;
use super::write_half::WriteHalf;

/// A connection, and the socket whose other end the application has.
#[derive(Debug)]
pub(super) struct Relay {
    /// Its `input` waits for the application, its `queue` for the client.
    connection: Box<Connection>,
    socket: Socket,
    /// The socket may have bytes, an end or an error to read.
    is_readable: bool,
    /// The client has sent its end.
    has_client_ended: bool,
    /// The application has sent its end.
    has_application_ended: bool,
    /// The application has closed its socket: it reads no more either.
    is_application_gone: bool,
    /// The end of the client was passed on.
    is_input_shut: bool,
    /// The end of the application was passed on.
    is_output_shut: bool,
}

/// What one direction of a relay has done in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relayed {
    /// One of the two sides has nothing, or takes nothing: an event follows.
    Waits,
    /// The share of the turn is used up.
    More,
}

/// Whether a relay goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It does.
    Continues,
    /// Both sides have ended: close the client's connection.
    Close,
    /// The application has gone: let the client read to the end.
    Linger,
}

impl Relay {
    pub(super) fn new(connection: Box<Connection>, socket: Socket) -> Relay {
        Relay {
            connection,
            socket,
            is_readable: true,
            has_client_ended: false,
            has_application_ended: false,
            is_application_gone: false,
            is_input_shut: false,
            is_output_shut: false,
        }
    }

    /// Relays from the client to the application. Fails if the client's connection has.
    pub(super) fn relay_input(
        &mut self,
        transport: &Transport,
        is_readable: &mut bool,
        buffer: &mut ReadBuffer,
    ) -> io::Result<Relayed> {
        let mut total = 0;
        loop {
            if !self.connection.input.is_empty() {
                let input = std::mem::take(&mut self.connection.input);
                self.connection.input = self.send_input(input);
            }
            if !self.connection.input.is_empty() || self.has_client_ended || !*is_readable {
                return Ok(Relayed::Waits);
            }
            if total >= MAX_READ_PER_TURN {
                return Ok(Relayed::More);
            }
            match transport.append_to(buffer.empty()) {
                Ok(0) => self.has_client_ended = true,
                Ok(count) => {
                    total += count;
                    let sent = self.send_to_application(buffer.filled());
                    self.connection.input.extend_from_slice(&buffer.filled()[sent..]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => *is_readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends what waits for the application; returns the rest.
    fn send_input(&mut self, mut input: Vec<u8>) -> Vec<u8> {
        let sent = self.send_to_application(&input);
        if sent == input.len() {
            return Vec::new();
        }
        input.drain(..sent);
        input
    }

    /// Sends what the socket takes, and returns how much. Bytes that the application
    /// will not read count as sent.
    fn send_to_application(&mut self, mut bytes: &[u8]) -> usize {
        let length = bytes.len();
        while !self.is_application_gone && !bytes.is_empty() {
            match send(&self.socket, &[IoSlice::new(bytes)], Then::Open) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return length - bytes.len();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It has closed its socket, or the half that reads.
                Err(_) => return length,
            }
        }
        length
    }

    /// Relays from the application to the client. Fails if the client's connection has.
    pub(super) fn relay_output(
        &mut self,
        write_half: &WriteHalf,
        buffer: &mut ReadBuffer,
    ) -> io::Result<Relayed> {
        let mut total = 0;
        loop {
            let queue = &mut self.connection.queue;
            let flush = match queue.is_empty() {
                true if write_half.has_waiting() => write_half.flush()?,
                true => Flush::Done,
                false => write_half.send(queue)?,
            };
            match flush {
                Flush::Done => {}
                Flush::Blocked => return Ok(Relayed::Waits),
                Flush::More | Flush::Cold => return Ok(Relayed::More),
            }
            if self.has_application_ended || !self.is_readable {
                return Ok(Relayed::Waits);
            }
            if total >= MAX_READ_PER_TURN {
                return Ok(Relayed::More);
            }
            // The deadline of the client, and its minimum rate, begin anew for these bytes.
            write_half.start_next();
            let spare = rustix::buffer::spare_capacity(buffer.empty());
            match rustix::io::read(&self.socket, spare).map_err(io::Error::from) {
                Ok(0) => self.has_application_ended = true,
                Ok(count) => {
                    total += count;
                    let bytes = buffer.filled();
                    self.connection.queue.gather(|out| out.extend_from_slice(bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It has closed its socket with unread input.
                Err(_) => (self.has_application_ended, self.is_application_gone) = (true, true),
            }
        }
    }

    /// Passes the ends of the two sides on, once the bytes before them are out.
    pub(super) fn pass_ends_on(&mut self, write_half: &WriteHalf) -> Outcome {
        let is_input_done = self.has_client_ended && self.connection.input.is_empty();
        if is_input_done && !self.is_input_shut {
            self.is_input_shut = true;
            let _ = self.socket.shutdown(std::net::Shutdown::Write);
        }
        if !self.has_application_ended || write_half.has_waiting() {
            return Outcome::Continues;
        }
        if is_input_done {
            return Outcome::Close;
        }
        if self.is_application_gone {
            return Outcome::Linger;
        }
        if !self.is_output_shut {
            self.is_output_shut = true;
            if write_half.transport().end_sending().is_err() {
                return Outcome::Close;
            }
        }
        Outcome::Continues
    }
}

impl Relay {
    /// Records that the application's socket may have something to read, and whether both its
    /// directions have ended.
    pub(super) fn on_event(&mut self, is_readable: bool, is_gone: bool) {
        self.is_readable |= is_readable;
        self.is_application_gone |= is_gone;
    }

    /// Reports the bytes that it holds to the memory budget.
    pub(super) fn charge(&mut self) {
        self.connection.charge();
    }

    /// The address of the peer, for the log.
    pub(super) fn peer(&self) -> &Peer {
        &self.connection.peer
    }
}

impl Drop for Relay {
    /// Closing is not enough: a child that the application has forked holds a copy.
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}
