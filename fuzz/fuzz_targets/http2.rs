//! A connection of HTTP/2 through the poller: a client opens, feeds, resets and ends streams in any
//! order, breaks rules, and sends any bytes, while requests get complete and aborted responses.
//!
//! A model of the streams predicts the result. Each request that is complete, and not reset before,
//! is returned once with its whole content. Each one that is answered and not reset gets its whole
//! response and the end of its stream. A frame that its stream's state forbids is answered with a
//! reset of the stream, or with the end of the connection. Whatever the client sends, the frames of
//! the server keep the rules of `frames`. [RFC 9113 section 5.1]
#![no_main]
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rustwsgi::config::{Cleartext, HttpProtocols};
use rustwsgi::http1::ResponseHead;
use rustwsgi::net::{BindOptions, Connection, Lent, Poller, PollerHandle, bind};
use rustwsgi_fuzz::frames::*;
use rustwsgi_fuzz::steps::{ConnectionViolation, Input, Step, StreamViolation};
use rustwsgi_fuzz::{request, settings};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Requests that the server takes at a time: `--http2-max-concurrent-streams`.
const MAX_STREAMS: usize = 100;
/// More resets than this may end the connection.
const MAX_RESETS: usize = 50;
/// More steps than this may exceed a bound of the connection.
const MAX_STEPS: usize = 500;
/// A stream with more content may exceed its window: `--http2-initial-window-size`.
const MAX_CONTENT: usize = 50_000;
/// All of them together, so that the socket takes what has not been read.
const MAX_TOTAL_CONTENT: usize = 200_000;
/// More than all responses: the windows that the client gives in the end.
const LAST_WINDOW: u32 = 1 << 28;

struct Loop {
    poller: Poller,
    handle: Arc<PollerHandle>,
    address: SocketAddr,
}

thread_local! {
    static LOOP: RefCell<Loop> = RefCell::new(start());
}

fn start() -> Loop {
    let listeners =
        bind(&"127.0.0.1:0".parse().expect("an address"), BindOptions::with_backlog(16))
            .expect("a free port");
    let address = listeners[0].tcp_address().expect("TCP");
    let mut settings = settings();
    settings.tls.protocols = HttpProtocols::Both;
    settings.http2.cleartext = Cleartext::Both;
    // The model does not reject.
    settings.limits.body = 1 << 20;
    settings.trusted = vec!["*".parse().expect("all peers")];
    let (poller, handle) = Poller::new(listeners, Arc::new(settings), None).expect("epoll");
    Loop { poller, handle, address }
}

/// What the model knows of a stream.
#[derive(Debug, Default)]
struct Stream {
    content: Vec<u8>,
    is_complete: bool,
    is_reset: bool,
    /// The client has sent a frame that is an error of the stream.
    is_violated: bool,
    /// The content of the response, and whether that is aborted.
    answer: Option<(Vec<u8>, bool)>,
}

struct Run<'a> {
    server: &'a mut Loop,
    client: TcpStream,
    ready: Vec<Lent>,
    streams: BTreeMap<u32, Stream>,
    frames: Frames,
    /// Bytes of content that the client has sent.
    content_total: usize,
    ended: bool,
    /// A step has broken a rule of the connection.
    is_broken: bool,
    /// Bytes have been sent that the model does not know.
    is_raw: bool,
}

impl Run<'_> {
    fn send(&mut self, bytes: &[u8]) {
        // Fails only after the server has closed: the socket buffers more than a fuzzer sends.
        let _ = self.client.write_all(bytes);
    }

    /// The lowest stream that is idle.
    fn next_stream(&self) -> u32 {
        self.streams.last_key_value().map_or(1, |(id, _)| id + 2)
    }

    /// One of the streams for which `is_possible` holds.
    fn select(&self, which: u8, is_possible: impl Fn(&Stream) -> bool) -> Option<u32> {
        let possible = self.streams.iter().filter(|(_, stream)| is_possible(stream));
        let ids: Vec<u32> = possible.map(|(id, _)| *id).collect();
        ids.get(usize::from(which) % ids.len().max(1)).copied()
    }

    fn has_ended(&self, id: u32) -> bool {
        self.frames.streams.get(&id).is_some_and(Sent::has_ended)
    }

    fn open(&mut self, is_complete: bool, has_priority: bool, padding: Option<u8>, cuts: u8) {
        let active = self.streams.keys().filter(|id| !self.has_ended(**id)).count();
        if active >= MAX_STREAMS || self.frames.goaway.is_some() {
            return;
        }
        let id = self.next_stream();
        let path = format!("/{id}");
        let mut block = vec![if is_complete { 0x82 } else { 0x83 }, 0x86, 0x04, path.len() as u8];
        block.extend_from_slice(path.as_bytes());
        block.extend_from_slice(b"\x01\x01a");
        let mut pieces = block.chunks(block.len().div_ceil(1 + usize::from(cuts % 4)));
        let (mut flags, mut payload) = (u8::from(is_complete), vec![]);
        if let Some(length) = padding {
            flags |= PADDED;
            payload.push(length);
        }
        if has_priority {
            flags |= HAS_PRIORITY;
            payload.extend_from_slice(&[0, 0, 0, 0, 15]);
        }
        payload.extend_from_slice(pieces.next().expect("a head"));
        payload.resize(payload.len() + usize::from(padding.unwrap_or(0)), 0);
        let rest: Vec<&[u8]> = pieces.collect();
        let end_of = |is_last: bool| if is_last { END_HEADERS } else { 0 };
        self.send(&frame(HEADERS, flags | end_of(rest.is_empty()), id, &payload));
        for (number, piece) in rest.iter().enumerate() {
            self.send(&frame(CONTINUATION, end_of(number + 1 == rest.len()), id, piece));
        }
        self.streams.insert(id, Stream { is_complete, ..Stream::default() });
        self.frames.last_opened = id;
    }

    /// One of the streams whose content is not complete.
    fn incomplete(&self, which: u8) -> Option<u32> {
        self.select(which, |it| !it.is_complete && !it.is_reset && !it.is_violated)
    }

    fn data(&mut self, which: u8, length: u16, padding: Option<u8>, is_end: bool) {
        let Some(id) = self.incomplete(which) else { return };
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let content = vec![which; usize::from(length % 4096)];
        let total = self.content_total + content.len();
        if stream.content.len() + content.len() > MAX_CONTENT || total > MAX_TOTAL_CONTENT {
            return;
        }
        // It counts against the window, which the model does not follow.
        let padding = padding.map(|length| length % 16);
        self.content_total = total;
        stream.content.extend_from_slice(&content);
        stream.is_complete = is_end;
        let mut payload = padding.map_or(vec![], |length| vec![length]);
        payload.extend_from_slice(&content);
        payload.resize(payload.len() + usize::from(padding.unwrap_or(0)), 0);
        let flags = u8::from(is_end) | if padding.is_some() { PADDED } else { 0 };
        self.send(&frame(DATA, flags, id, &payload));
    }

    fn trailers(&mut self, which: u8) {
        let Some(id) = self.incomplete(which) else { return };
        self.streams.entry(id).or_default().is_complete = true;
        self.send(&frame(HEADERS, END_STREAM | END_HEADERS, id, b"\x00\x01t\x01v"));
    }

    fn reset(&mut self, which: u8) {
        let resets = self.streams.values().filter(|stream| stream.is_reset).count();
        let Some(id) = self.select(which, |stream| !stream.is_reset) else { return };
        if resets < MAX_RESETS {
            self.streams.entry(id).or_default().is_reset = true;
            self.send(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
        }
    }

    fn allow(&mut self, which: u8, bytes: u16) {
        let id = match which {
            0 => 0,
            which => self.select(which, |stream| !stream.is_reset).unwrap_or(0),
        };
        self.grant(id, u32::from(bytes).max(1));
    }

    fn grant(&mut self, id: u32, bytes: u32) {
        self.frames.allow(id, bytes);
        self.send(&frame(WINDOW_UPDATE, 0, id, &bytes.to_be_bytes()));
    }

    fn unknown(&mut self, kind: u8, which: u8, length: u8) {
        let id = self.select(which, |_| true).unwrap_or(0);
        self.send(&frame(kind.max(0x20), 0, id, &vec![0; usize::from(length)]));
    }

    /// Sends a frame that is an error of its stream. Whether the stream is still known to a server
    /// that has ended it is not certain, so others are left alone.
    fn violate(&mut self, which: u8, violation: StreamViolation) {
        let is_possible = |stream: &Stream| {
            let is_open = !stream.is_reset && !stream.is_violated && stream.answer.is_none();
            is_open && (stream.is_complete || violation == StreamViolation::EmptyWindowUpdate)
        };
        let Some(id) = self.select(which, is_possible) else { return };
        let violations = self.streams.values().filter(|stream| stream.is_violated).count();
        if violations >= MAX_RESETS {
            return;
        }
        self.streams.entry(id).or_default().is_violated = true;
        self.send(&violation.frame(id));
    }

    fn break_connection(&mut self, violation: ConnectionViolation) {
        let idle = self.next_stream();
        self.is_broken = true;
        self.frames.knows_client = false;
        self.send(&violation.frames(idle));
    }

    fn poll(&mut self, timeout: Duration) {
        self.server.poller.poll_once(Some(timeout), &mut self.ready).expect("a poll");
    }

    fn answer(&mut self, is_aborted: bool, has_length: bool, more: usize) {
        let Some(mut connection) = self.ready.pop() else { return };
        let (head, mut content) = request(&mut connection);
        if !self.is_raw {
            let line = String::from_utf8(head).expect("an ASCII head");
            let path = line.split(' ').nth(1).expect("a target");
            let id = path[1..].parse::<u32>().expect("the path of a stream");
            let stream = self.streams.get_mut(&id).expect("a stream that was opened");
            assert!(stream.answer.is_none(), "{id} runs twice");
            assert!(stream.is_complete, "{id} runs before its end");
            assert_eq!(stream.content, content, "the content of {id}");
            content.resize(content.len() + more, b'r');
            stream.answer = Some((content.clone(), is_aborted));
        }
        let mut head = ResponseHead::default();
        head.start(b"200 OK").expect("a status");
        let length = content.len();
        connection.begin(&head, has_length.then_some(length as u64), b"now");
        let Connection { http, queue, .. } = &mut *connection;
        let take = http.frame(length).take;
        queue.gather(|out| out.extend_from_slice(&content[..take]));
        if is_aborted {
            http.abort();
        } else {
            let _ = queue.gather(|out| http.finish(out));
        }
        self.server.handle.return_connection(connection);
    }

    fn receive(&mut self) {
        let mut buffer = [0; 16 * 1024];
        match self.client.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.frames.receive(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.ended = true,
        }
    }

    /// The client now takes whatever comes.
    fn open_windows(&mut self) {
        self.grant(0, LAST_WINDOW);
        let open = self.streams.iter().filter(|(_, stream)| !stream.is_reset);
        let ids: Vec<u32> = open.map(|(id, _)| *id).filter(|id| !self.has_ended(*id)).collect();
        for id in ids {
            self.grant(id, LAST_WINDOW);
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Open { is_complete, has_priority, padding, cuts } => {
                self.open(is_complete, has_priority, padding, cuts);
            }
            Step::Data { which, length, padding, is_end } => {
                self.data(which, length, padding, is_end);
            }
            Step::Trailers { which } => self.trailers(which),
            Step::Reset { which } => self.reset(which),
            Step::Allow { which, bytes } => self.allow(which, bytes),
            Step::Ping => self.send(&frame(PING, 0, 0, b"12345678")),
            Step::Settings => self.send(&frame(SETTINGS, 0, 0, &[])),
            Step::Priority { which } => {
                let id = self.select(which, |_| true).unwrap_or(1);
                self.send(&frame(PRIORITY, 0, id, &[0, 0, 0, 0, 9]));
            }
            Step::Unknown { kind, which, length } => self.unknown(kind, which, length),
            Step::Poll => self.poll(Duration::ZERO),
            Step::Receive => self.receive(),
            Step::Answer { is_aborted, has_length, more } => {
                self.answer(is_aborted, has_length, usize::from(more));
            }
            Step::Violate { which, violation } => self.violate(which, violation),
            Step::Break { violation } => self.break_connection(violation),
        }
    }

    /// True once nothing more is to come.
    fn is_done(&self) -> bool {
        self.streams.iter().all(|(id, stream)| {
            let is_idle = stream.is_reset || (!stream.is_complete && !stream.is_violated);
            is_idle || self.has_ended(*id)
        })
    }

    /// The result is the one that the model predicts.
    fn check(&self) {
        let code = self.frames.goaway.map(|(_, code)| code);
        if self.is_raw {
            return;
        }
        let is_violated = self.streams.values().any(|stream| stream.is_violated);
        if self.is_broken {
            assert!(code.is_some_and(|code| code != 0), "an error of the connection: {code:?}");
            return;
        }
        if is_violated && code.is_some_and(|code| code != 0) {
            return;
        }
        assert!(matches!(code, None | Some(0)), "GOAWAY {code:?}");
        assert!(self.is_done(), "{:?}", self.streams);
        for (id, stream) in &self.streams {
            let Some(sent) = self.frames.streams.get(id) else { continue };
            if stream.is_violated {
                // The response may be sent before the frame is read.
                assert!(sent.reset.is_some() || stream.answer.is_some(), "{id} is not reset");
            } else if let (Some((content, is_aborted)), false) = (&stream.answer, stream.is_reset) {
                assert!(content.starts_with(&sent.content), "the response to {id}");
                assert_eq!(sent.reset.is_some(), *is_aborted, "the end of {id}");
                assert!(*is_aborted || sent.content == *content, "{id} is too short");
            }
        }
    }
}

fuzz_target!(|input: Input| {
    LOOP.with_borrow_mut(|server| {
        let client = TcpStream::connect(server.address).expect("a client");
        client.set_nonblocking(true).expect("a socket");
        let window = u32::from(input.window);
        let mut run = Run {
            server,
            client,
            ready: vec![],
            streams: BTreeMap::new(),
            frames: Frames::new(window),
            content_total: 0,
            ended: false,
            is_broken: false,
            is_raw: false,
        };
        let [a, b, c, d] = window.to_be_bytes();
        run.send(PREFACE);
        run.send(&frame(SETTINGS, 0, 0, &[0, 4, a, b, c, d]));
        for step in input.steps.iter().take(MAX_STEPS) {
            run.step(step);
            if run.is_broken {
                break;
            }
        }
        if !input.raw.is_empty() && !run.is_broken {
            run.is_raw = true;
            run.frames.knows_client = false;
            run.send(input.raw);
        } else if !run.is_broken {
            run.open_windows();
        }
        let mut turns = 0;
        let mut is_shut = false;
        while !run.ended || run.server.poller.open() > 0 {
            let is_last = run.is_raw || run.is_broken || run.is_done() || run.ended;
            if !is_shut && is_last {
                is_shut = true;
                let _ = run.client.shutdown(Shutdown::Write);
            }
            run.answer(false, true, 0);
            // The loopback usually delivers at once.
            run.poll(if turns < 50 { Duration::ZERO } else { Duration::from_millis(1) });
            run.receive();
            turns += 1;
            assert!(turns < 3000, "the connection does not end: {:?}", run.streams);
        }
        run.check();
    });
});
