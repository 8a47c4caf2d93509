//! Timeouts of a connection: slow clients, a slow application, and pauses of any length.
//!
//! After each turn of the poller, a model decides what must have ended, and that nothing else has.
//! The model knows only what the timeouts are documented to mean. Time passes only when the plan
//! says so. Unix sockets deliver at once, so the effect of each turn is certain.
#![no_main]
use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::IntoRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rustwsgi::config::Bind;
use rustwsgi::http1::{self, Event, Next};
use rustwsgi::net::{
    BindOptions, Lent, Moment, Poller, PollerHandle, SWEEP_INTERVAL, Verdict, WriteHalf, advance,
    bind, now,
};
use rustwsgi::observe::Count;
use rustwsgi_fuzz::{LIMITS, answer, check_refusal, request, settings, way, without_interim};

const HEADER: Duration = Duration::from_secs(10);
const BODY: Duration = Duration::from_secs(6);
/// Bytes of the body per second.
const RATE: u64 = 10;
const KEEP_ALIVE: Duration = Duration::from_secs(4);
const WRITE: Duration = Duration::from_secs(8);
const QUEUE: Duration = Duration::from_secs(5);
/// How long a connection may linger after its last response.
const LINGER: Duration = Duration::from_secs(2);
/// A client that closes its side this long after its request has given up.
const HALF_CLOSE_GRACE: Duration = Duration::from_secs(1);

/// More than a unix socket buffers by default.
static LARGE: [u8; 250_000] = [b'x'; 250_000];

/// A client that has read this many bytes has made the socket writable.
const REPORTED_ROOM: usize = 128 * 1024;

/// The counters that timeouts change.
const COUNTS: [Count; 6] = [
    Count::HeaderTimeout,
    Count::BodyTimeout,
    Count::KeepAlive,
    Count::WriteTimeout,
    Count::QueueTimeout,
    Count::ClientDisconnected,
];

struct Loop {
    poller: Poller,
    handle: Arc<PollerHandle>,
    address: SocketAddr,
}

thread_local! {
    static LOOP: RefCell<Loop> = RefCell::new(start());
}

fn start() -> Loop {
    let mut settings = settings();
    settings.timeouts.header = HEADER;
    settings.timeouts.body = BODY;
    settings.timeouts.body_min_rate = RATE;
    settings.timeouts.write_min_rate = 0;
    settings.timeouts.keep_alive = KEEP_ALIVE;
    settings.timeouts.write = WRITE;
    settings.timeouts.queue = QUEUE;
    let name = format!("rustwsgi-fuzz-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).expect("a name");
    let listener = UnixListener::bind_addr(&address).expect("a free name");
    let listeners =
        bind(&Bind::Fd(listener.into_raw_fd()), BindOptions::with_backlog(16)).expect("a listener");
    let (poller, handle) = Poller::new(listeners, Arc::new(settings), None).expect("epoll");
    Loop { poller, handle, address }
}

/// The state of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The client has connected; the poller has not run since.
    New,
    /// Waits for a request, or for the rest of one.
    Reading,
    /// Lent at that time: its request is queued or runs.
    Lent(Moment),
    /// The application has finished; the poller has not run since.
    Answered,
    /// Part of the response is unsent.
    Sending,
    /// The last response was sent at that time.
    Ending(Moment),
    Gone,
}

/// The expected state.
struct Model<'a> {
    data: &'a [u8],
    http: http1::Connection,
    phase: Phase,
    /// How much of `data` is parsed.
    at: usize,
    /// The body of the request so far.
    content: Vec<u8>,
    /// When the connection began to wait, or last received what it waits for.
    mark: Moment,
    content_since: Moment,
    served: usize,
    /// The poller has seen that the client closed its side.
    shut: bool,
    /// The client closed its side too long after its request: it has given up.
    left: bool,
    /// The time of the previous turn.
    before: Moment,
    /// Latest and earliest time at which the unsent bytes began to wait.
    blocked: (Moment, Moment),
    /// Since the last turn the client has read, or the application has written.
    stirred: bool,
    /// Bytes read by the client since the last turn.
    taken: usize,
    /// The responses.
    made: Vec<u8>,
    refusal: Option<u16>,
    /// The end of the responses may be lost.
    cut: bool,
}

impl Model<'_> {
    /// Updates the model for a turn of the poller, after the client has sent `sent` bytes and, if
    /// `shut`, closed its side. `waits`: output is unsent. Returns the counter that must change.
    fn poll(&mut self, sent: usize, shut: bool, waits: bool, write_timeout: bool) -> Option<Count> {
        let now = now();
        // On a new connection the poller notices an end behind other bytes from the next turn on.
        let notices = self.phase != Phase::New;
        if std::mem::take(&mut self.stirred) {
            self.blocked.1 = now;
        }
        let counted = match self.phase {
            Phase::New => {
                self.mark = now;
                self.phase = Phase::Reading;
                self.read(sent, shut && sent == 0)
            }
            Phase::Reading => self.read(sent, shut),
            Phase::Lent(since) => {
                if shut && !self.shut {
                    self.left = self.before.saturating_duration_since(since) >= HALF_CLOSE_GRACE;
                }
                None
            }
            Phase::Answered | Phase::Sending if write_timeout => {
                assert!(now >= self.blocked.0 + WRITE, "the client has had no time to read");
                assert!(self.taken < REPORTED_ROOM, "the client has just read");
                self.cut = true;
                self.phase = Phase::Gone;
                Some(Count::WriteTimeout)
            }
            Phase::Answered | Phase::Sending if waits => {
                // Progress of the client may show only when its time is over.
                assert!(
                    now < self.blocked.1 + 2 * WRITE,
                    "the client does not read, but its connection lives"
                );
                self.phase = Phase::Sending;
                None
            }
            Phase::Answered | Phase::Sending => self.settle(sent, shut),
            Phase::Ending(since) => {
                if shut || now >= since + LINGER {
                    self.phase = Phase::Gone;
                }
                None
            }
            Phase::Gone => None,
        };
        self.shut |= shut && notices;
        self.before = now;
        self.taken = 0;
        counted
    }

    /// Moves on after the response has been sent.
    fn settle(&mut self, sent: usize, shut: bool) -> Option<Count> {
        let next = match self.refusal {
            Some(_) => Next::Close,
            None => self.http.start_next(),
        };
        match next {
            Next::Request => {
                self.phase = Phase::Reading;
                self.mark = now();
                self.served += 1;
                self.read(sent, shut)
            }
            Next::Close => {
                self.phase = Phase::Ending(now());
                None
            }
            Next::Reset => {
                self.phase = Phase::Gone;
                None
            }
        }
    }

    fn read(&mut self, sent: usize, shut: bool) -> Option<Count> {
        loop {
            let was_idle = self.http.is_idle();
            let Ok((used, event)) = self.http.receive(&self.data[self.at..sent]).map_err(|error| {
                self.refuse(error.status().0);
            }) else {
                return None;
            };
            if was_idle && !self.http.is_idle() {
                self.mark = now();
            }
            let piece = &self.data[self.at..self.at + used];
            self.at += used;
            match event {
                Event::NeedMore if shut => {
                    self.phase = Phase::Gone;
                    return None;
                }
                Event::NeedMore => return self.check_deadlines(),
                Event::Head => (self.mark, self.content_since) = (now(), now()),
                Event::Content(range) => {
                    self.content.extend_from_slice(&piece[range]);
                    self.mark = now();
                }
                Event::End => {
                    self.phase = Phase::Lent(now());
                    self.left = false;
                    return None;
                }
            }
        }
    }

    fn check_deadlines(&mut self) -> Option<Count> {
        let content = self.http.wants_content();
        let idle = self.http.is_idle();
        let due = match (content, idle && self.served > 0) {
            (true, _) => {
                let earned =
                    Duration::from_secs_f64(self.http.received_bytes() as f64 / RATE as f64);
                (self.mark + BODY).min(self.content_since + BODY + earned)
            }
            (_, true) => self.mark + KEEP_ALIVE,
            _ => self.mark + HEADER,
        };
        if now() < due {
            return None;
        }
        if !idle {
            self.refuse(408);
            return Some(if content { Count::BodyTimeout } else { Count::HeaderTimeout });
        }
        if self.served > 0 {
            self.phase = Phase::Ending(now());
            Some(Count::KeepAlive)
        } else {
            self.phase = Phase::Gone;
            Some(Count::HeaderTimeout)
        }
    }

    /// The server sends an error response and then closes.
    fn refuse(&mut self, status: u16) {
        self.refusal = Some(status);
        self.phase = Phase::Ending(now());
        self.blocked = (now(), now());
    }
}

/// A running request, and the rest of its response.
struct Running {
    connection: Lent,
    rest: Vec<u8>,
}

struct Run<'a> {
    server: &'a mut Loop,
    client: UnixStream,
    ways: &'a [u8],
    model: Model<'a>,
    sent: usize,
    has_shut: bool,
    ready: Vec<Lent>,
    running: Option<Running>,
    write_half: Option<Arc<WriteHalf>>,
    requests: usize,
    received: Vec<u8>,
    has_ended: bool,
}

impl Run<'_> {
    fn poll(&mut self) {
        let counts = |handle: &PollerHandle| COUNTS.map(|count| handle.counters().get(count));
        let before = counts(&self.server.handle);
        let waiting = self.ready.len();
        self.server.poller.poll_once(Some(Duration::ZERO), &mut self.ready).expect("a poll");
        let after = counts(&self.server.handle);
        let counted: Vec<_> =
            (0..COUNTS.len()).filter(|&i| after[i] > before[i]).map(|i| COUNTS[i]).collect();
        let waits = self.write_half.as_ref().is_some_and(|write_half| write_half.has_waiting());
        let write_timeout = counted.contains(&Count::WriteTimeout);
        let was = self.model.phase;
        let must = self.model.poll(self.sent, self.has_shut, waits, write_timeout);
        assert_eq!(
            counted,
            must.into_iter().collect::<Vec<_>>(),
            "{was:?} became {:?}",
            self.model.phase
        );
        // The last response may have to wait as well.
        if matches!(self.model.phase, Phase::Ending(_)) && waits {
            self.model.phase = Phase::Sending;
        }
        if let Phase::Lent(since) = self.model.phase
            && since == now()
            && was != self.model.phase
        {
            assert_eq!(self.ready.len(), 1, "a request is complete");
            let connection = &mut self.ready[0];
            self.write_half = Some(connection.write_half.clone());
            let (head, content) = request(connection);
            assert_eq!(head, self.model.http.head().bytes());
            assert_eq!(content, std::mem::take(&mut self.model.content));
        }
        if waiting > 0 && self.server.poller.is_sweep_due() {
            self.sweep();
        }
        let open = self.server.poller.open();
        match self.model.phase {
            Phase::Gone => assert_eq!(open, 0, "{was:?} should have ended"),
            Phase::Ending(_) => assert!(open <= 1),
            phase => assert_eq!(open, 1, "{was:?} became {phase:?}, not the end"),
        }
    }

    fn sweep(&mut self) {
        let Some(connection) = self.ready.pop() else { return };
        let Phase::Lent(since) = self.model.phase else { panic!("nobody waits") };
        let verdict = match now().saturating_duration_since(since) {
            _ if self.model.left => Verdict::Disconnected,
            waited if waited >= QUEUE => Verdict::Expired,
            _ => Verdict::Keep,
        };
        assert_eq!(self.server.poller.verdict(&connection), verdict);
        match verdict {
            Verdict::Keep => return self.ready.push(connection),
            Verdict::Disconnected => self.model.phase = Phase::Gone,
            Verdict::Expired => self.model.refuse(503),
        }
        self.server.poller.reject_queued(connection);
    }

    /// Runs a request, or the rest of one. `half` keeps half of the response for a later step.
    fn answer(&mut self, half: bool) {
        if self.running.is_none() {
            let Some(mut connection) = self.ready.pop() else { return };
            let way = way(self.ways, self.requests);
            self.requests += 1;
            let (mut rest, at) = (vec![], self.model.made.len());
            answer(&mut connection.http, way, &LARGE, &mut rest);
            answer(&mut self.model.http, way, &LARGE, &mut self.model.made);
            assert!(self.model.made[at..] == rest);
            self.model.blocked = (now(), now());
            self.running = Some(Running { connection, rest });
        }
        let Some(Running { mut connection, mut rest }) = self.running.take() else { return };
        self.model.stirred = true;
        let later = if half { rest.split_off(rest.len() / 2) } else { vec![] };
        connection.queue.gather(|out| out.extend_from_slice(&rest));
        if half {
            connection.send_soon().expect("nobody has closed it");
            self.running = Some(Running { connection, rest: later });
        } else {
            self.model.phase = Phase::Answered;
            self.server.handle.return_connection(connection);
        }
    }

    fn send(&mut self, count: usize) {
        let data = &self.model.data[self.sent..];
        if self.has_shut || data.is_empty() {
            return;
        }
        // Fails only after the server has closed.
        match self.client.write(&data[..count.min(data.len())]) {
            Ok(count) => self.sent += count,
            Err(_) => self.shut(),
        }
    }

    fn shut(&mut self) {
        let _ = self.client.shutdown(Shutdown::Write);
        self.has_shut = true;
    }

    fn receive(&mut self, count: usize) {
        let mut buffer = [0; 64 * 1024];
        match self.client.read(&mut buffer[..count]) {
            Ok(0) => self.has_ended = true,
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                self.model.stirred = true;
                self.model.taken += count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Nothing is lost: on a unix socket the end comes after all bytes.
            Err(_) => self.has_ended = true,
        }
    }

    fn step(&mut self, step: u8) {
        let size = usize::from(step >> 3);
        match step & 7 {
            0 => self.send(1 + size),
            1 => self.poll(),
            2 => self.answer(size & 1 == 1),
            3 => self.receive(1 << (size & 15)),
            4 => advance(Duration::from_millis(1 << (size & 15))),
            5 => advance(SWEEP_INTERVAL * size as u32),
            6 => self.send(32 * size),
            _ if size == 0 => self.shut(),
            _ => self.receive(64 * 1024),
        }
    }
}

// Input: a line of steps, a line of response kinds, and the client's bytes. Seeds stay readable.
fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |&byte| byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (plan, ways, data) = (part(), part(), part());
    LOOP.with_borrow_mut(|server| {
        let client = UnixStream::connect_addr(&server.address).expect("a client");
        client.set_nonblocking(true).expect("a socket");
        let model = Model {
            data,
            http: http1::Connection::new(LIMITS),
            phase: Phase::New,
            at: 0,
            content: vec![],
            mark: now(),
            content_since: now(),
            served: 0,
            shut: false,
            left: false,
            before: now(),
            blocked: (now(), now()),
            stirred: false,
            taken: 0,
            made: vec![],
            refusal: None,
            cut: false,
        };
        let mut run = Run {
            server,
            client,
            ways,
            model,
            sent: 0,
            has_shut: false,
            ready: vec![],
            running: None,
            write_half: None,
            requests: 0,
            received: vec![],
            has_ended: false,
        };
        for &step in plan {
            run.step(step);
        }
        // Then the client sends the rest, or nothing more. Both must end.
        let falls_silent = plan.len() % 2 == 1;
        let mut turns = 0;
        while run.model.phase != Phase::Gone {
            if falls_silent {
                advance(LINGER);
            } else {
                run.send(data.len());
                if run.sent == data.len() && !run.has_shut {
                    run.shut();
                }
                run.receive(64 * 1024);
            }
            run.poll();
            run.answer(false);
            turns += 1;
            assert!(turns < 2000, "the connection does not end: {:?}", run.model.phase);
        }
        while !run.has_ended {
            let before = run.received.len();
            run.receive(64 * 1024);
            assert!(
                run.has_ended || run.received.len() > before,
                "the client is not told of the end"
            );
        }
        let received = without_interim(&run.received);
        let made = run.model.made.as_slice();
        if run.model.cut {
            assert!(made.starts_with(&received[..received.len().min(made.len())]));
            return;
        }
        assert!(received.starts_with(made), "a response is missing, or not as it was made");
        check_refusal(&received[made.len()..], run.model.refusal);
    });
});
