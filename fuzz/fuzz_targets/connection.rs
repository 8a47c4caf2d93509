//! A whole connection through the poller. A client sends any bytes in any pieces, and reads, while
//! requests get valid and broken responses.
//!
//! The state machine of `http1` alone predicts the result. The poller must return each request
//! once, in order, with its whole body. The client must receive the predicted bytes, then at most
//! one error response, then the end. Time stands still here: the target `deadlines` tests timeouts.
#![no_main]
use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rustwsgi::net::{BindOptions, Connection, Lent, Poller, PollerHandle, bind};
use rustwsgi_fuzz::{
    LARGE, answer, check_refusal, predict, request, settings, way, without_interim,
};

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
    let (poller, handle) = Poller::new(listeners, Arc::new(settings()), None).expect("epoll");
    Loop { poller, handle, address }
}

/// A client, and what the poller has read from it and written to it.
struct Run<'a> {
    server: &'a mut Loop,
    client: TcpStream,
    ways: &'a [u8],
    ready: Vec<Lent>,
    requests: Vec<(Vec<u8>, Vec<u8>)>,
    received: Vec<u8>,
    ended: bool,
}

impl Run<'_> {
    fn poll(&mut self, timeout: Duration) {
        self.server.poller.poll_once(Some(timeout), &mut self.ready).expect("a poll");
        assert!(self.ready.len() <= 1, "one client, one request at a time");
    }

    fn answer(&mut self) {
        let Some(mut connection) = self.ready.pop() else { return };
        let way = way(self.ways, self.requests.len());
        self.requests.push(request(&mut connection));
        let Connection { http, queue, .. } = &mut *connection;
        queue.gather(|out| answer(http, way, &LARGE, out));
        self.server.handle.return_connection(connection);
    }

    fn send(&mut self, bytes: &[u8]) {
        // Fails only after the server has closed: the socket buffers more than a fuzzer sends.
        let _ = self.client.write_all(bytes);
    }

    fn receive(&mut self) {
        let mut buffer = [0; 16 * 1024];
        match self.client.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.ended = true,
        }
    }
}

// Input: a line of steps, a line of response kinds, and the client's bytes. Seeds stay readable.
fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |&byte| byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (plan, ways, data) = (part(), part(), part());
    let outcome = predict(data, ways);
    LOOP.with_borrow_mut(|server| {
        let client = TcpStream::connect(server.address).expect("a client");
        client.set_nonblocking(true).expect("a socket");
        let (ready, requests, received) = (vec![], vec![], vec![]);
        let mut run = Run { server, client, ways, ready, requests, received, ended: false };
        let mut at = 0;
        for step in plan {
            match step & 3 {
                0 => {
                    let end = data.len().min(at + 1 + usize::from(step >> 2));
                    run.send(&data[at..end]);
                    at = end;
                }
                1 => run.poll(Duration::ZERO),
                2 => run.answer(),
                _ => run.receive(),
            }
        }
        run.send(&data[at..]);
        let _ = run.client.shutdown(Shutdown::Write);
        let mut turns = 0;
        while !run.ended || run.server.poller.open() > 0 {
            run.answer();
            // The loopback usually delivers at once.
            run.poll(if turns < 50 { Duration::ZERO } else { Duration::from_millis(1) });
            run.receive();
            turns += 1;
            assert!(turns < 2000, "the connection does not end");
        }
        assert_eq!(run.requests, outcome.requests);
        let received = without_interim(&run.received);
        if outcome.reset {
            // A reset discards what the client has not read.
            assert!(outcome.sent.starts_with(&received));
            return;
        }
        assert!(received.starts_with(&outcome.sent), "a response is missing or changed");
        let rest = &received[outcome.sent.len()..];
        check_refusal(rest, outcome.refusal);
    });
});
