//! A connection to the control socket: reads one command after the other, and sends the outcome of
//! each before it reads the next. It never blocks, and everything that it holds is bounded.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::Socket;

use super::endpoint::{Client, Ended, is_not_ready};
use crate::control::{self, MAX_COMMAND, Outcome};
use crate::sys::peer::{PeerProcess, peer_of};
use crate::sys::sigpipe;

/// How long a client may take for a command, and to read a part of an outcome.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be idle between two commands.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It sends a command, or may send one.
    Reading,
    /// It waits for the outcome of its command.
    Waiting,
    /// It gets the rest of its last outcome.
    Ending,
}

/// One connection.
#[derive(Debug)]
pub(super) struct ControlClient {
    /// Its number, which no other connection has.
    pub(super) id: u64,
    socket: Socket,
    /// `None` if the system does not say.
    pub(super) peer: Option<PeerProcess>,
    state: State,
    /// Received, up to the length of one command.
    input: Vec<u8>,
    /// Not sent yet: one outcome at most.
    output: Vec<u8>,
    /// Bytes of `output` that are sent.
    sent: usize,
    /// When the client has last made progress.
    progress_at: Instant,
}

impl ControlClient {
    pub(super) fn new(id: u64, socket: Socket, now: Instant) -> ControlClient {
        ControlClient {
            id,
            peer: peer_of(&socket),
            socket,
            state: State::Reading,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            progress_at: now,
        }
    }

    /// Does what is possible without waiting. Returns a command, as a line, once it is complete;
    /// [`ControlClient::reply`] follows.
    ///
    /// # Errors
    /// If the connection has ended: the caller drops it.
    pub(super) fn turn(&mut self, now: Instant) -> Result<Option<Vec<u8>>, Ended> {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            return Err(Ended);
        }
        self.write(now)?;
        match self.state {
            _ if self.has_output() => Ok(None),
            State::Reading => self.read_command(now),
            State::Waiting if self.has_hung_up() => Err(Ended),
            State::Waiting => Ok(None),
            State::Ending => Err(Ended),
        }
    }

    fn read_command(&mut self, now: Instant) -> Result<Option<Vec<u8>>, Ended> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.input) {
                self.state = State::Waiting;
                return Ok(Some(self.input.drain(..=end).collect()));
            }
            let length = self.input.len();
            if length >= MAX_COMMAND {
                let reason = format!("a command has at most {MAX_COMMAND} bytes");
                self.reply(&Err(reason), true, now)?;
                return Ok(None);
            }
            self.input.resize(MAX_COMMAND, 0);
            let read = (&self.socket).read(&mut self.input[length..]);
            self.input.truncate(length + read.as_ref().map_or(0, |count| *count));
            match read {
                Ok(0) => return Err(Ended),
                Ok(_) if length == 0 => self.progress_at = now,
                Ok(_) => {}
                Err(error) if is_not_ready(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends the outcome of a command. With `is_last` the connection ends then.
    ///
    /// # Errors
    /// If the connection has ended.
    pub(super) fn reply(
        &mut self,
        outcome: &Outcome,
        is_last: bool,
        now: Instant,
    ) -> Result<(), Ended> {
        self.state = if is_last { State::Ending } else { State::Reading };
        self.output.extend(control::outcome_line(outcome));
        self.progress_at = now;
        self.write(now)
    }

    fn write(&mut self, now: Instant) -> Result<(), Ended> {
        while self.has_output() {
            let rest = &self.output[self.sent..];
            match sigpipe::suppressed(|| (&self.socket).write(rest)) {
                Ok(0) => return Err(Ended),
                Ok(count) => {
                    self.sent += count;
                    self.progress_at = now;
                }
                Err(error) if is_not_ready(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        // A large outcome needs no memory once it is sent.
        (self.output, self.sent) = (Vec::new(), 0);
        Ok(())
    }

    fn has_output(&self) -> bool {
        self.sent < self.output.len()
    }

    /// Whether the client has closed its socket. One that has only shut its sending side waits.
    fn has_hung_up(&self) -> bool {
        let mut watched = [PollFd::new(&self.socket, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let polled = rustix::event::poll(&mut watched, Some(&at_once));
        polled.is_ok() && watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

impl Client for ControlClient {
    fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        let flags = match self.state {
            _ if self.has_output() => PollFlags::OUT,
            // The end of the connection is reported in any case.
            State::Waiting => PollFlags::empty(),
            State::Reading | State::Ending => PollFlags::IN,
        };
        (self.socket.as_fd(), flags)
    }

    fn deadline(&self) -> Option<Instant> {
        let timeout = match self.state {
            _ if self.has_output() => PROGRESS_TIMEOUT,
            State::Waiting => return None,
            State::Reading if self.input.is_empty() => IDLE_TIMEOUT,
            State::Reading => PROGRESS_TIMEOUT,
            // Its last outcome is sent, so the next turn ends it.
            State::Ending => Duration::ZERO,
        };
        Some(self.progress_at + timeout)
    }

    fn rank(&self) -> (u8, Instant) {
        let rank = match self.state {
            State::Ending => 0,
            State::Reading if self.input.is_empty() => 1,
            State::Reading => 2,
            State::Waiting => 3,
        };
        (rank, self.progress_at)
    }

    fn has_input(&self) -> bool {
        self.state == State::Reading
            && !self.has_output()
            && memchr::memchr(b'\n', &self.input).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn connection_ends_with_its_last_outcome() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let now = Instant::now();
        let mut client = ControlClient::new(0, Socket::from(ours), now);
        theirs.write_all(b"{}\n").unwrap();
        assert!(matches!(client.turn(now), Ok(Some(line)) if line == b"{}\n"));
        assert!(client.reply(&Err("no".to_owned()), true, now).is_ok());
        // The master may get no other event.
        assert_eq!(client.deadline(), Some(now));
        assert!(client.turn(now).is_err());
    }
}
