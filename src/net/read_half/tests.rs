//! The reading half over a socket pair. The tests call [`ReadHalf::on_readable`], as the poller
//! does.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use mio::{Poll, Token, Waker};
use socket2::Socket;

use super::*;
use crate::config;
use crate::http1::{self, Event};
use crate::net::memory_budget::MemoryBudget;
use crate::net::transport::Transport;

const SIZED: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const SIZED_BODY: &[u8] = b"one\ntwo\nend";
const CHUNKED_BODY: &[u8] = b"3\r\none\r\n5;x=y\r\n\ntwo\n\r\n3\r\nend\r\n0\r\nTrailer: t\r\n\r\n";

/// The arguments of some reads, and what they return.
type Reads = (&'static [(usize, Until)], &'static [&'static [u8]]);
/// A change of the settings.
type Change = fn(&mut Settings);

/// A request whose head has been read.
struct Site {
    client: UnixStream,
    half: ReadHalf,
    budget: Arc<MemoryBudget>,
    _poll: Poll,
}

impl Site {
    /// `arrived` are the bytes that have come with the head.
    fn open(head: &str, arrived: &[u8]) -> Site {
        Site::open_with(head, arrived, |_| {})
    }

    fn open_with(head: &str, arrived: &[u8], change: impl FnOnce(&mut Settings)) -> Site {
        let mut settings = config::parse_api(&[]).unwrap();
        settings.timeouts.body = Duration::from_secs(30);
        change(&mut settings);
        let mut http = http1::Connection::new(settings.limits);
        assert_eq!(http.receive(head.as_bytes()), Ok((head.len(), Event::Head)));
        let expects = http.head().expect_continue();
        let decoder = http.lend_content().unwrap();
        let (client, server) = UnixStream::pair().unwrap();
        server.set_nonblocking(true).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        let link = Arc::new(PollerLink::new(waker, &settings));
        let budget = link.memory_budget.clone();
        let socket = Socket::from(std::os::fd::OwnedFd::from(server));
        let write_half = Arc::new(WriteHalf::new(Transport::Plain(socket), budget.clone()));
        let parts = (decoder, arrived.to_vec());
        let half = ReadHalf::new(write_half, link, &settings, parts, expects);
        Site { client, half, budget, _poll: poll }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).unwrap();
        self.half.on_readable();
    }

    /// Bytes that the server has sent, without waiting.
    fn received(&mut self) -> Vec<u8> {
        self.client.set_nonblocking(true).unwrap();
        let mut bytes = vec![0; 1000];
        let count = self.client.read(&mut bytes).unwrap_or(0);
        self.client.set_nonblocking(false).unwrap();
        bytes.truncate(count);
        bytes
    }
}

#[test]
fn content_in_two_pieces_is_read_as_one() {
    for (head, body) in [(SIZED, SIZED_BODY), (CHUNKED, CHUNKED_BODY)] {
        for split in 0..=body.len() {
            let reads: [Reads; 5] = [
                (&[(usize::MAX, Until::Full), (1, Until::Full)], &[SIZED_BODY, b""]),
                (
                    &[(2, Until::Full), (9, Until::Full), (1, Until::Any)],
                    &[b"on", b"e\ntwo\nend", b""],
                ),
                (
                    &[(99, Until::Line), (2, Until::Line), (99, Until::Line)],
                    &[b"one\n", b"tw", b"o\n"],
                ),
                (&[(0, Until::Full), (0, Until::Line), (0, Until::Any)], &[b"", b"", b""]),
                (
                    &[(8, Until::Full), (99, Until::Line), (99, Until::Line)],
                    &[b"one\ntwo\n", b"end", b""],
                ),
            ];
            for (reads, expected) in reads {
                let mut site = Site::open(head, &body[..split]);
                site.send(&[&body[split..], b"GET /next"].concat());
                let found: Vec<_> = reads
                    .iter()
                    .map(|&(limit, until)| site.half.read(limit, until).unwrap())
                    .collect();
                assert_eq!(found, expected, "{head} split at {split}");
                // What follows belongs to the next request, read or not.
                if site.half.read(usize::MAX, Until::Full).is_ok() {
                    let (decoder, input) = site.half.end().unwrap();
                    assert!(decoder.is_complete());
                    // If the content had arrived with the head, the rest stays in the socket.
                    let expected: &[u8] = if split < body.len() { b"GET /next" } else { b"" };
                    assert_eq!(input, expected);
                }
            }
        }
    }
}

#[test]
fn buffered_read_neither_waits_nor_reads_from_the_socket() {
    let mut site = Site::open(SIZED, b"one\ntw");
    site.send(b"o\nend");
    let read = |limit, until| site.half.read_buffered(limit, until);
    assert_eq!(read(99, Until::Full), None);
    assert_eq!(read(99, Until::Line).unwrap(), b"one\n");
    assert_eq!(read(99, Until::Line), None);
    assert_eq!(read(1, Until::Line).unwrap(), b"t");
    assert_eq!(read(99, Until::Any).unwrap(), b"w");
    assert_eq!(read(99, Until::Any), None);
    assert_eq!(site.half.read(1, Until::Full).unwrap(), b"o");
    // The rest has arrived with that byte.
    assert_eq!(read(99, Until::Full).unwrap(), b"\nend");
    assert_eq!(read(99, Until::Full).unwrap(), b"");
}

#[test]
fn read_waits_for_each_piece() {
    for (head, body) in [(SIZED, SIZED_BODY), (CHUNKED, CHUNKED_BODY)] {
        let site = Site::open(head, b"");
        let mut client = site.client.try_clone().unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| site.half.read(usize::MAX, Until::Full));
            for byte in body {
                client.write_all(&[*byte]).unwrap();
                site.half.on_readable();
            }
            assert_eq!(reader.join().unwrap().unwrap(), SIZED_BODY);
        });
    }
}

#[test]
fn content_that_cannot_be_read_to_its_end_fails_each_later_read() {
    let short = |settings: &mut Settings| settings.timeouts.body = Duration::from_millis(1);
    let small = |settings: &mut Settings| settings.limits.body = 4;
    let slow = |settings: &mut Settings| {
        settings.timeouts.body = Duration::from_millis(1);
        settings.timeouts.body_min_rate = 1;
    };
    let none: Change = |_| {};
    let protocol = ReadError::Protocol;
    type Case = (&'static str, &'static [u8], bool, Change, ReadError, u16);
    let cases: [Case; 8] = [
        (SIZED, b"one", true, none, ReadError::Disconnected, 400),
        (SIZED, b"", true, none, ReadError::Disconnected, 400),
        (CHUNKED, b"3\r\none\r\n0\r\n", true, none, ReadError::Disconnected, 400),
        (CHUNKED, b"3\r\nonexx", false, none, protocol(http1::Error::Chunk), 400),
        (CHUNKED, b"5\r\n", false, small, protocol(http1::Error::BodyTooLarge), 413),
        (CHUNKED, b"0\r\nno field\r\n\r\n", false, none, protocol(http1::Error::Trailer), 400),
        (SIZED, b"one", false, short, ReadError::Timeout, 408),
        (CHUNKED, b"1\r\n", false, slow, ReadError::Timeout, 408),
    ];
    for (head, sent, ends, change, expected, status) in cases {
        for split in [0, sent.len()] {
            let mut site = Site::open_with(head, &sent[..split], change);
            site.send(&sent[split..]);
            if ends {
                site.client.shutdown(std::net::Shutdown::Write).unwrap();
            }
            for _ in 0..2 {
                assert_eq!(site.half.read(usize::MAX, Until::Full), Err(expected), "{sent:?}");
            }
            assert_eq!(site.half.error(), Some(expected));
            assert_eq!(site.half.describe(expected).0, status);
            assert!(!site.half.is_complete_at_response());
        }
    }
}

#[test]
fn content_before_an_error_can_be_read() {
    let site = Site::open(CHUNKED, b"3\r\noneX");
    assert_eq!(site.half.read(3, Until::Full).unwrap(), b"one");
    assert_eq!(site.half.read(1, Until::Full), Err(ReadError::Protocol(http1::Error::Chunk)));
    let site = Site::open(CHUNKED, b"3\r\noneX");
    assert_eq!(site.half.read_buffered(3, Until::Full).unwrap(), b"one");
    assert_eq!(site.half.read_buffered(3, Until::Full), None);
    assert_eq!(site.half.read(1, Until::Full), Err(ReadError::Protocol(http1::Error::Chunk)));
}

#[test]
fn continue_is_sent_once_a_read_has_to_wait() {
    let expects = SIZED.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    let short = |settings: &mut Settings| settings.timeouts.body = Duration::from_millis(1);
    let continue_response = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut site = Site::open_with(&expects, b"", short);
    assert_eq!(site.half.read(0, Until::Full).unwrap(), b"");
    assert_eq!(site.half.read_buffered(1, Until::Full), None);
    assert_eq!(site.received(), b"");
    assert!(site.half.read(1, Until::Full).is_err());
    assert_eq!(site.received(), continue_response);
    // Not if content has arrived, with the head or later, nor once the response has begun.
    let mut site = Site::open_with(&expects, b"o", short);
    assert!(site.half.read(2, Until::Full).is_err());
    assert_eq!(site.received(), b"");
    let mut site = Site::open_with(&expects, b"", short);
    site.send(b"o");
    assert!(site.half.read(2, Until::Full).is_err());
    assert_eq!(site.received(), b"");
    let mut site = Site::open_with(&expects, b"", short);
    assert!(!site.half.is_complete_at_response());
    assert!(site.half.read(2, Until::Full).is_err());
    assert_eq!(site.received(), b"");
    // Nor to a client that does not wait for it.
    let mut site = Site::open_with(SIZED, b"", short);
    assert!(site.half.read(2, Until::Full).is_err());
    assert_eq!(site.received(), b"");
}

#[test]
fn content_that_has_arrived_is_complete_at_the_response_and_can_still_be_read() {
    for (head, body) in [(SIZED, SIZED_BODY), (CHUNKED, CHUNKED_BODY)] {
        for split in [0, 3, body.len()] {
            let mut site = Site::open(head, &body[..split]);
            site.send(&body[split..]);
            assert!(site.half.is_complete_at_response());
            assert_eq!(site.half.read(usize::MAX, Until::Full).unwrap(), SIZED_BODY);
            let split = split.min(body.len() - 1);
            let mut site = Site::open(head, &body[..split]);
            site.send(&body[split..body.len() - 1]);
            assert!(!site.half.is_complete_at_response());
        }
    }
}

#[test]
fn content_is_read_ahead_up_to_a_bound() {
    let size = 1 << 20;
    let head = SIZED.replace("11", &size.to_string());
    let site = Site::open(&head, b"");
    let mut client = site.client.try_clone().unwrap();
    client.set_nonblocking(true).unwrap();
    let block = vec![b'x'; size];
    let mut sent = 0;
    // A unix socket holds about 200 KiB.
    for _ in 0..10 {
        sent += client.write(&block[sent..]).unwrap_or(0);
        assert!(!site.half.is_complete_at_response());
    }
    let state = site.half.lock();
    assert!(state.content.capacity() + state.input.capacity() <= 2 * READ_AHEAD + READ_BUFFER);
    drop(state);
    let counted = site.half.lock().reservation.memory_budget().memory_bytes();
    assert!(counted >= READ_AHEAD, "{counted}");
    assert!(site.half.end().is_some());
    assert_eq!(site.budget.memory_bytes(), 0);
}

#[test]
fn read_that_waits_can_be_ended_by_another_thread() {
    type End = fn(&ReadHalf) -> bool;
    let endings: [(End, ReadError); 2] = [
        (|half| half.end().is_some(), ReadError::Ended),
        (
            |half| {
                half.disconnect();
                true
            },
            ReadError::Disconnected,
        ),
    ];
    for (end, expected) in endings {
        let site = Site::open(SIZED, b"one");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| site.half.read(usize::MAX, Until::Full));
            while site.half.lock().waiting == 0 {
                std::thread::yield_now();
            }
            assert!(end(&site.half));
            assert_eq!(reader.join().unwrap(), Err(expected));
        });
        assert_eq!(site.half.read(1, Until::Any), Err(expected));
    }
}

#[test]
fn time_in_which_nothing_is_read_is_not_the_clients() {
    let mut site = Site::open_with(SIZED, b"one", |settings| {
        settings.timeouts.body = Duration::from_secs(1);
        settings.timeouts.body_min_rate = 1 << 20;
    });
    let left = site.half.lock().time_left(&site.half.timeouts);
    assert_eq!(left, Duration::from_secs(1));
    assert_eq!(site.half.read(3, Until::Full).unwrap(), b"one");
    site.half.lock().waited = Duration::from_millis(400);
    site.half.lock().waited_since_content = Duration::from_millis(300);
    let left = site.half.lock().time_left(&site.half.timeouts);
    assert!(left > Duration::from_millis(600) && left < Duration::from_millis(601), "{left:?}");
    site.send(b"\n");
    assert_eq!(site.half.read(1, Until::Full).unwrap(), b"\n");
    assert_eq!(site.half.lock().waited_since_content, Duration::ZERO);
}
