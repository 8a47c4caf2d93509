//! A connection to the metrics address: reads one request after the other, and sends the response
//! to each before it reads the next. It never blocks, and everything that it holds is bounded.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustix::event::PollFlags;
use socket2::Socket;

use super::answer::Answer;
use super::endpoint::{Client, Ended, is_not_ready};
use crate::http1::{self, Event, Head, Limits, Next, ResponseHead, Underscores};
use crate::net::HttpDate;
use crate::sys::sigpipe;

/// How long a client may take for a request, and to read a part of a response.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may be idle between two requests: longer than a scrape interval.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// How long input is discarded before a close, so that the client gets the response before the
/// reset that unread input would cause. [RFC 9112 section 9.6]
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes that one read takes.
const READ_BYTES: usize = 8 * 1024;
/// Bytes that a client may send in vain before its connection is closed.
const MAX_DISCARDED: usize = 256 * 1024;

/// The limits of a request.
pub(super) fn limits() -> Arc<Limits> {
    Arc::new(Limits {
        request_line: 4 * 1024,
        fields: 64,
        field_size: 8 * 1024,
        head: 16 * 1024,
        body: 0,
        chunk_extension: 1024,
        trailers: 1024,
        underscores: Underscores::Drop,
    })
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It sends a request, or may send one.
    Reading,
    /// It gets server-sent events until it disconnects.
    Streaming,
    /// It gets the rest of its last response.
    Ending,
    /// It has got its last response, and what it sends is discarded.
    Lingering,
}

/// One connection.
#[derive(Debug)]
pub(super) struct HttpClient {
    socket: Socket,
    http: http1::Connection,
    state: State,
    /// Received and not parsed. The parser's limits bound it.
    input: Vec<u8>,
    /// Not sent yet: one response, or one event, at most.
    output: Vec<u8>,
    /// Bytes of `output` that are sent.
    sent: usize,
    /// When the client has last made progress.
    progress_at: Instant,
    /// Bytes that were discarded.
    discarded: usize,
    /// The input behind the last request is not parsed yet.
    has_unparsed: bool,
    /// There is an event that it has not got yet.
    expects_event: bool,
}

impl HttpClient {
    pub(super) fn new(socket: Socket, limits: Arc<Limits>, now: Instant) -> HttpClient {
        HttpClient {
            socket,
            http: http1::Connection::new(limits),
            state: State::Reading,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            progress_at: now,
            discarded: 0,
            has_unparsed: false,
            expects_event: false,
        }
    }

    fn has_output(&self) -> bool {
        self.sent < self.output.len()
    }

    fn is_idle(&self) -> bool {
        self.input.is_empty() && self.http.is_idle()
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.state == State::Streaming
    }

    /// Does what is possible without waiting. Answers one request at most.
    ///
    /// # Errors
    /// If the connection has ended: the caller drops it.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        date: &mut HttpDate,
        answer: &mut dyn FnMut(&Head) -> Answer,
    ) -> Result<(), Ended> {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            return Err(Ended);
        }
        self.write(now)?;
        if self.has_output() {
            return Ok(());
        }
        match self.state {
            State::Reading => self.read_request(now, date, answer),
            State::Ending => self.linger(now),
            State::Streaming | State::Lingering => self.discard(),
        }
    }

    fn read_request(
        &mut self,
        now: Instant,
        date: &mut HttpDate,
        answer: &mut dyn FnMut(&Head) -> Answer,
    ) -> Result<(), Ended> {
        loop {
            match self.parse() {
                Ok(true) => {
                    let answer = answer(self.http.head());
                    self.respond(answer, date);
                    return self.write(now);
                }
                Ok(false) => {}
                Err(answer) => {
                    self.http.reject();
                    self.respond(*answer, date);
                    return self.write(now);
                }
            }
            let was_idle = self.is_idle();
            let length = self.input.len();
            self.input.resize(length + READ_BYTES, 0);
            let read = (&self.socket).read(&mut self.input[length..]);
            self.input.truncate(length + read.as_ref().map_or(0, |count| *count));
            match read {
                Ok(0) => return Err(Ended),
                Ok(_) if was_idle => self.progress_at = now,
                Ok(_) => {}
                Err(error) if is_not_ready(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Parses the input: whether a request is complete, or how it is refused.
    fn parse(&mut self) -> Result<bool, Box<Answer>> {
        self.has_unparsed = false;
        if self.input.is_empty() {
            return Ok(false);
        }
        loop {
            let refused = |error: http1::Error| {
                let (status, reason) = error.status();
                Box::new(Answer::refusal(status, reason, &error.to_string()))
            };
            let (used, event) = self.http.receive(&self.input).map_err(refused)?;
            self.input.drain(..used);
            match event {
                Event::End => return Ok(true),
                Event::NeedMore => return Ok(false),
                Event::Head | Event::Content(_) => {}
            }
        }
    }

    /// Queues a response.
    fn respond(&mut self, answer: Answer, date: &mut HttpDate) {
        let is_stream = answer.is_stream;
        let head = response_head(&answer);
        let length = (!is_stream).then_some(answer.body.len() as u64);
        self.http.begin(&head, length, date.at(SystemTime::now()), &mut self.output);
        self.send_block(&answer.body);
        if is_stream && !self.http.sends_no_content() {
            self.state = State::Streaming;
            return;
        }
        // The body has the length that the head declares.
        let _ = self.http.finish(&mut self.output);
        match self.http.start_next() {
            Next::Request => self.has_unparsed = !self.input.is_empty(),
            _ => self.state = State::Ending,
        }
    }

    /// There is a new event for those that stream.
    pub(super) fn expect_event(&mut self) {
        self.expects_event = self.is_streaming();
    }

    /// Sends the new event, if there is one, unless the client has not read the last one.
    pub(super) fn send_event(&mut self, event: &[u8], now: Instant) -> Result<(), Ended> {
        if !std::mem::take(&mut self.expects_event) || self.has_output() {
            return Ok(());
        }
        self.progress_at = now;
        self.send_block(event);
        self.write(now)
    }

    fn send_block(&mut self, block: &[u8]) {
        let frame = self.http.frame(block.len());
        self.output.extend_from_slice(frame.prefix());
        self.output.extend_from_slice(&block[..frame.take]);
        self.output.extend_from_slice(frame.suffix);
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
        if self.sent > 0 {
            // A large response needs no memory once it is sent.
            (self.output, self.sent) = (Vec::new(), 0);
        }
        match self.state {
            State::Ending => self.linger(now),
            _ => Ok(()),
        }
    }

    fn linger(&mut self, now: Instant) -> Result<(), Ended> {
        self.socket.shutdown(std::net::Shutdown::Write)?;
        (self.state, self.progress_at) = (State::Lingering, now);
        self.input = Vec::new();
        self.discard()
    }

    /// Discards what has arrived.
    fn discard(&mut self) -> Result<(), Ended> {
        let mut buffer = [0; READ_BYTES];
        loop {
            match (&self.socket).read(&mut buffer) {
                Ok(0) => return Err(Ended),
                Ok(count) => self.discarded += count,
                Err(error) if is_not_ready(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            if self.discarded > MAX_DISCARDED {
                return Err(Ended);
            }
        }
    }
}

impl Client for HttpClient {
    fn interest(&self) -> (BorrowedFd<'_>, PollFlags) {
        let flags = if self.has_output() { PollFlags::OUT } else { PollFlags::IN };
        (self.socket.as_fd(), flags)
    }

    fn deadline(&self) -> Option<Instant> {
        let timeout = match self.state {
            _ if self.has_output() => PROGRESS_TIMEOUT,
            State::Reading if self.is_idle() => IDLE_TIMEOUT,
            State::Reading | State::Ending => PROGRESS_TIMEOUT,
            State::Lingering => LINGER_TIMEOUT,
            State::Streaming => return None,
        };
        Some(self.progress_at + timeout)
    }

    fn rank(&self) -> (u8, Instant) {
        let rank = match self.state {
            State::Lingering => 0,
            State::Reading if self.is_idle() => 1,
            State::Reading | State::Ending => 2,
            State::Streaming => 3,
        };
        (rank, self.progress_at)
    }

    fn has_input(&self) -> bool {
        self.state == State::Reading && !self.has_output() && self.has_unparsed
    }
}

fn response_head(answer: &Answer) -> ResponseHead {
    let mut head = ResponseHead::default();
    let mut built = head.start(answer.status.as_bytes());
    for (name, value) in answer.fields() {
        built = built.and_then(|()| head.add_field(name.as_bytes(), value.as_bytes()));
    }
    debug_assert!(built.is_ok());
    head
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A client, and its end of the connection.
    fn connected() -> (HttpClient, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        (HttpClient::new(Socket::from(ours), limits(), Instant::now()), theirs)
    }

    /// Whether the master has to take another turn without an event.
    fn has_input_after(sent: &[u8]) -> bool {
        let (mut client, mut other_end) = connected();
        other_end.write_all(sent).unwrap();
        let mut answer = |_: &Head| Answer::new("200 OK", "text/plain", "fine");
        client.turn(Instant::now(), &mut HttpDate::default(), &mut answer).unwrap();
        client.has_input()
    }

    #[test]
    fn only_another_complete_request_calls_for_another_turn() {
        const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        // The empty line made the master turn without a pause for ten seconds.
        for partial in [&b""[..], b"\r\n", b"\r", b"G", b"GET / HTTP/1.1\r\nHost: a\r\n"] {
            assert!(!has_input_after(partial), "{partial:?}");
        }
        assert!(!has_input_after(REQUEST));
        assert!(has_input_after(&REQUEST.repeat(2)));
    }

    #[test]
    fn client_that_stops_in_its_request_is_closed() {
        let (mut client, mut other_end) = connected();
        other_end.write_all(b"\r\nGET /").unwrap();
        let mut turn = |now| {
            let mut answer = |_: &Head| Answer::new("200 OK", "text/plain", "fine");
            client.turn(now, &mut HttpDate::default(), &mut answer)
        };
        let now = Instant::now();
        assert!(turn(now).is_ok());
        assert!(turn(now + PROGRESS_TIMEOUT / 2).is_ok());
        assert!(turn(now + 2 * PROGRESS_TIMEOUT).is_err());
    }
}
