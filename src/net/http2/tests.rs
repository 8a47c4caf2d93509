//! Sessions that get frames from memory, as a client sends them.

use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use h2::Reason;
use http::Response;

use super::{Ending, Found, NewStream, Session, Shared, Stream, Upgraded, upgraded};
use crate::config::{Budget, Http2Settings, Timeouts};
use crate::http1;
use crate::net::memory_budget::MemoryBudget;
use crate::net::output_queue::{Chunk, Flush, OutputQueue};
use crate::net::transport::{Then, Transport};
use crate::net::tuning::{HTTP2_SEND_BUFFER, HTTP2_TAKEN};
use crate::net::write_half::WriteHalf;
use crate::sys::clock;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// A head without its path: `:method: GET`, `:scheme: http`, `:authority: a`.
const HEAD: &[u8] = b"\x82\x86\x01\x01a";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A GET whose path is `path` as a part of the head.
fn get(stream: u32, path: &[u8]) -> Vec<u8> {
    frame(1, END_HEADERS | END_STREAM, stream, &[HEAD, path].concat())
}

struct Client {
    session: Session,
    shared: Arc<Shared>,
}

impl Client {
    fn new() -> Client {
        Client::with_window(65_535)
    }

    fn with_window(initial_window_size: u32) -> Client {
        Client::with(initial_window_size, None)
    }

    /// One whose request has asked for HTTP/2.
    fn upgraded(upgraded: Option<Upgraded>) -> Client {
        Client::with(65_535, upgraded)
    }

    fn with(initial_window_size: u32, upgraded: Option<Upgraded>) -> Client {
        let settings = Http2Settings {
            max_concurrent_streams: 100,
            initial_window_size,
            max_frame_size: 16_384,
            max_header_list_size: 65_536,
            ..Http2Settings::default()
        };
        let shared = Arc::new(Shared::new(Waker::noop().clone(), None));
        let session = Session::new(&settings, true, shared.clone(), upgraded, clock::now());
        Client { session, shared }
    }

    /// One that has sent its preface, with large windows.
    fn open() -> Client {
        let mut client = Client::new();
        client.send(PREFACE);
        client.send(&frame(4, 0, 0, b"\0\x04\x7f\xff\xff\xff"));
        client.send(&frame(8, 0, 0, b"\x7f\x00\x00\x00"));
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        self.session.receive(&mut bytes.to_vec(), clock::now());
    }

    fn accept(&mut self) -> NewStream {
        match self.session.poll() {
            Found::Request(new) => *new,
            other => panic!("no request, but {other:?}"),
        }
    }

    /// What the server has sent since the last call.
    fn output(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        while !matches!(self.session.poll(), Found::Closed(_)) {
            if self.session.send_output(|bytes| output.extend_from_slice(bytes)).is_none() {
                break;
            }
        }
        output
    }
}

fn kinds(mut frames: &[u8]) -> Vec<u8> {
    let mut kinds = vec![];
    while let Some(&[a, b, c, kind, ..]) = frames.first_chunk::<9>() {
        kinds.push(kind);
        frames = &frames[9 + u32::from_be_bytes([0, a, b, c]) as usize..];
    }
    kinds
}

#[test]
fn path_with_a_fragment_or_without_value_is_malformed() {
    let mut client = Client::open();
    let long = [b"\x04\x7f\x00/", &[b'x'; 124][..], b"#y"].concat();
    let cases: &[(&[u8], bool)] = &[
        (b"\x04\x02/a", true),
        (b"\x04\x04/a#b", false),
        (b"\x44\x04#top", false),
        (b"\xbe", false),
        (b"\x84", true),
        (&long, false),
    ];
    for (number, (path, is_valid)) in cases.iter().enumerate() {
        client.send(&get(2 * number as u32 + 1, path));
        let new = client.accept();
        assert_eq!(new.head.is_ok(), *is_valid, "{}", path.escape_ascii());
        assert!(*is_valid || new.head == Err(http1::Error::Target));
    }
    // Without an authority the library lets the path be missing.
    let head = b"\x82\x86\x0f\x17\x01a";
    client.send(&frame(1, END_HEADERS | END_STREAM, 21, head));
    assert_eq!(client.accept().head, Err(http1::Error::Target));
}

/// A regression test: a connection that the client had opened a moment before was dropped.
#[test]
fn shutdown_before_the_preface_serves_the_request_that_is_on_its_way() {
    let mut client = Client::new();
    assert!(matches!(client.session.poll(), Found::Nothing));
    client.session.shut_down();
    assert!(matches!(client.session.poll(), Found::Nothing));
    client.send(PREFACE);
    client.send(&frame(4, 0, 0, b""));
    client.send(&get(1, b"\x84"));
    let new = client.accept();
    assert!(new.head.is_ok());
    new.stream.set_head(Response::new(()));
    new.stream.end();
    let kinds = kinds(&client.output());
    assert!(kinds.contains(&7), "GOAWAY: {kinds:?}");
    assert!(kinds.contains(&1), "HEADERS: {kinds:?}");
}

/// Regression: the server held the preface back for the end of the SETTINGS, and the connection
/// stayed open without an answer.
#[test]
fn invalid_settings_after_an_upgrade_end_the_connection() {
    let fields =
        "Host: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n";
    for (settings, code) in [
        (frame(4, 0, 0, b"\0\x04\0"), Reason::FRAME_SIZE_ERROR),
        (frame(4, 0, 0, b"\0\x04\x80\0\0\0"), Reason::FLOW_CONTROL_ERROR),
    ] {
        let bytes = [PREFACE, &settings].concat();
        for piece in [1, 30, bytes.len()] {
            let mut http = http1::Connection::new(http1::Limits::default());
            http.receive(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes()).unwrap();
            let upgraded = upgraded(http.head());
            assert!(upgraded.is_some());
            let mut client = Client::upgraded(upgraded);
            for bytes in bytes.chunks(piece) {
                client.send(bytes);
            }
            let found = client.session.poll();
            assert!(
                matches!(found, Found::Closed(Ending::Malformed)),
                "{found:?} {code:?} {piece}"
            );
            let output = client.session.send_output(<[u8]>::to_vec).unwrap_or_default();
            assert_eq!(kinds(&output), [4, 8, 7], "{code:?} {piece}");
            assert!(output.ends_with(&u32::from(code).to_be_bytes()), "{code:?} {piece}");
        }
    }
}

/// Regression: the server kept the numbers of invalid requests whose streams it never accepts.
#[test]
fn stream_that_is_ignored_after_goaway_leaves_nothing_behind() {
    let mut client = Client::open();
    client.send(&get(1, b"\x84"));
    // Its response keeps the connection open.
    let _running = client.accept();
    client.output();
    client.session.shut_down();
    let output = client.output();
    assert_eq!(kinds(&output), [7, 6], "GOAWAY and PING");
    let ping = &output[output.len() - 8..];
    client.send(&frame(6, 1, 0, ping));
    let goaway = client.output();
    assert_eq!((kinds(&goaway), &goaway[9..13]), (vec![7], &[0, 0, 0, 1][..]));
    for number in 1..1000 {
        client.send(&get(2 * number + 1, b""));
        assert!(matches!(client.session.poll(), Found::Nothing));
    }
    assert_eq!(client.session.invalid_heads(), 0);
}

fn send(stream: &Stream, bytes: &[u8]) -> Result<usize, ErrorKind> {
    stream.send(&[IoSlice::new(bytes)], Then::Open).map_err(|error| error.kind())
}

/// A regression test: each of 100 streams held 64 KiB, and no limit counted them.
#[test]
fn streams_share_a_bound_of_what_the_protocol_takes() {
    let mut client = Client::open();
    let streams: Vec<_> = (0..20)
        .map(|number| {
            client.send(&get(2 * number + 1, b"\x84"));
            client.accept().stream
        })
        .collect();
    let block = vec![b'x'; 1 << 20];
    let mut first_waiting = None;
    for stream in &streams {
        stream.set_head(Response::new(()));
        match send(stream, &block) {
            Ok(sent) => assert_eq!(sent, HTTP2_SEND_BUFFER),
            Err(error) => {
                assert_eq!(error, ErrorKind::WouldBlock);
                assert!(stream.is_blocked());
                first_waiting.get_or_insert(stream.number());
            }
        }
    }
    assert_eq!(first_waiting, Some(1 + HTTP2_TAKEN / HTTP2_SEND_BUFFER));
    assert!(client.session.held_bytes() >= HTTP2_TAKEN);
    assert_eq!(client.shared.take_resumable(), None);
    assert!(!streams[3].waits_for_others() && streams[19].waits_for_others());
    let output = client.output();
    assert!(output.len() > HTTP2_TAKEN);
    assert_eq!(client.shared.taken_bytes(), 0);
    assert_eq!(client.shared.take_resumable(), first_waiting);
    assert_eq!(client.shared.take_resumable(), None);
    assert!(send(&streams[19], &block).is_ok() && !streams[19].is_blocked());
    // What is dropped with a stream is not held either.
    streams[19].reset();
    client.output();
    assert_eq!(client.shared.taken_bytes(), 0);
}

/// A regression test: each drive asked the protocol about each open stream.
#[test]
fn stream_is_signalled_once_flow_control_lets_it_go_on() {
    let mut client = Client::new();
    client.send(PREFACE);
    client.send(&frame(4, 0, 0, b"\0\x04\0\0\0\0"));
    client.send(&get(1, b"\x84"));
    let stream = client.accept().stream;
    assert!(!stream.take_signal());
    stream.set_head(Response::new(()));
    assert_eq!(send(&stream, b"hello"), Err(ErrorKind::WouldBlock));
    client.output();
    assert!(stream.is_blocked() && !stream.waits_for_others() && !stream.take_signal());
    assert!(!client.session.take_has_reset());
    client.send(&frame(8, 0, 1, b"\0\0\0\x02"));
    client.output();
    assert!(stream.take_signal() && !stream.take_signal());
    assert_eq!(send(&stream, b"hello"), Ok(2));
    assert_eq!(send(&stream, b"llo"), Err(ErrorKind::WouldBlock));
    client.send(&frame(3, 0, 1, b"\0\0\0\x08"));
    client.output();
    assert!(client.session.take_has_reset() && client.session.is_reset(&stream));
    assert!(stream.is_cancelled());
}

#[test]
fn content_that_is_left_to_the_application_holds_back_the_client() {
    let mut client = Client::open();
    client.output();
    let head = [HEAD, b"\x84"].concat();
    client.send(&frame(1, END_HEADERS, 1, &head));
    let NewStream { stream, content, .. } = client.accept();
    stream.leave_content(content.expect("the stream has not ended"));
    let mut buffer = vec![0; 100_000];
    let mut read = || stream.read(&mut buffer).map_err(|error| error.kind());
    assert_eq!(read(), Err(ErrorKind::WouldBlock));
    for _ in 0..3 {
        client.send(&frame(0, 0, 1, &[b'x'; 16_384]));
    }
    assert!(!kinds(&client.output()).contains(&8), "WINDOW_UPDATE");
    assert!(stream.receive_left());
    assert!(stream.unread_bytes() >= 3 * 16_384);
    assert!(!kinds(&client.output()).contains(&8), "WINDOW_UPDATE");
    assert_eq!(read(), Ok(3 * 16_384));
    assert!(kinds(&client.output()).contains(&8), "WINDOW_UPDATE");
    client.send(&frame(0, END_STREAM, 1, b""));
    client.output();
    assert!(stream.take_signal() && stream.receive_left());
    assert_eq!((read(), read()), (Ok(0), Ok(0)));
    stream.drop_content();
    assert_eq!(read(), Err(ErrorKind::BrokenPipe));
}

/// A regression test: with a small `--http2-initial-window-size`, a client that had sent content
/// before the settings reached it was never allowed to send the rest.
#[test]
fn window_that_becomes_smaller_is_announced_again() {
    let mut client = Client::with_window(16_384);
    client.send(PREFACE);
    client.send(&frame(4, 0, 0, b""));
    client.send(&frame(1, END_HEADERS, 1, &[HEAD, b"\x84"].concat()));
    let NewStream { stream, content, .. } = client.accept();
    stream.leave_content(content.expect("the stream has not ended"));
    client.send(&frame(0, 0, 1, &[b'x'; 10_000]));
    client.send(&frame(0, 0, 1, &[b'x'; 10_000]));
    client.output();
    assert!(stream.receive_left());
    assert_eq!(stream.read(&mut [0; 20_000]).ok(), Some(20_000));
    assert!(!kinds(&client.output()).contains(&8) && !client.session.take_has_ack());
    client.send(&frame(4, 1, 0, b""));
    assert!(!kinds(&client.output()).contains(&8), "the library has learned it: remove this");
    assert!(client.session.take_has_ack() && !client.session.take_has_ack());
    stream.announce_window();
    assert_eq!(client.output(), frame(8, 0, 1, &20_000_u32.to_be_bytes()));
}

/// A regression test: content stayed in memory after it was read, until all was read.
#[test]
fn content_that_was_read_is_not_held_while_the_client_is_ahead() {
    let mut client = Client::open();
    client.send(&frame(1, END_HEADERS, 1, &[HEAD, b"\x84"].concat()));
    let NewStream { stream, content, .. } = client.accept();
    stream.leave_content(content.expect("the stream has not ended"));
    let mut buffer = [0; 16_384];
    for number in 0..200 {
        client.send(&frame(0, 0, 1, &[number; 16_384]));
        client.output();
        assert!(stream.receive_left());
        if number > 0 {
            assert_eq!(stream.read(&mut buffer).ok(), Some(buffer.len()));
            assert!(buffer.iter().all(|&byte| byte == number - 1));
        }
        assert!(stream.unread_bytes() <= 8 * buffer.len(), "{number}");
    }
}

/// A regression test: 100 images that a slow client loaded at the same time were reset after
/// `--write-timeout`, although it read all the time.
#[test]
fn wait_for_other_streams_is_no_sign_of_a_slow_client() {
    let mut client = Client::open();
    let budget = Arc::new(MemoryBudget::new(Budget { memory: usize::MAX, spool: u64::MAX }));
    let timeouts = Timeouts { write: Duration::from_secs(30), ..Timeouts::default() };
    let moves_on = |half: &WriteHalf| {
        let due = || half.deadline((&timeouts).into()).expect("a deadline").0;
        let (first, began) = (due(), clock::now());
        while clock::now() == began {}
        due() > first
    };
    let halves: Vec<_> = (0..5)
        .map(|number| {
            client.send(&get(2 * number + 1, b"\x84"));
            let stream = client.accept().stream;
            stream.set_head(Response::new(()));
            let half = WriteHalf::new(Transport::Stream(stream), budget.clone());
            let mut queue = OutputQueue::default();
            queue.push(Chunk::Gathered(vec![b'x'; 1 << 20]));
            assert_eq!(half.send(&mut queue).unwrap(), Flush::Blocked);
            half
        })
        .collect();
    assert!(moves_on(&halves[4]));
    client.output();
    assert_eq!(halves[4].flush().unwrap(), Flush::Blocked);
    assert!(!moves_on(&halves[4]), "it waits for its own window now");
}
