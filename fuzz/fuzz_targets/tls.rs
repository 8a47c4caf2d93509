//! A whole TLS connection through the poller: a client in memory, whose records reach the server cut
//! anywhere, or with a bit changed.
//!
//! As in the target `connection`, the state machine of `http1` alone predicts the result. Records
//! that arrive unchanged must lead to it, however they are cut. After a change, the server must end
//! the connection, and neither side may have got anything that the other did not send.
#![no_main]
use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use rustwsgi::config::TlsSettings;
use rustwsgi::net::{
    BindOptions, Connection, Lent, Poller, PollerHandle, Renewal, assign_services, bind,
};
use rustwsgi_fuzz::{
    LARGE, answer, check_refusal, predict, request, settings, way, without_interim,
};

#[path = "../../src/net/tls/trusts_all.rs"]
mod trusts_all;

use trusts_all::TrustsAll;

struct Loop {
    poller: Poller,
    handle: Arc<PollerHandle>,
    address: SocketAddr,
    /// The clients, of TLS 1.3 and 1.2.
    clients: [Arc<ClientConfig>; 2],
}

thread_local! {
    static LOOP: RefCell<Loop> = RefCell::new(start());
}

fn start() -> Loop {
    let file =
        |name: &str| vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tls")).join(name)];
    let tls = TlsSettings {
        certfiles: file("cert.pem"),
        keyfiles: file("key.pem"),
        ..TlsSettings::default()
    };
    let renewal = Renewal::read(&tls, None).expect("a certificate");
    let address = "127.0.0.1:0".parse().expect("an address");
    let mut listeners = bind(&address, BindOptions::with_backlog(16)).expect("a free port");
    assign_services(&mut listeners, Some(renewal.tls()));
    let address = listeners[0].tcp_address().expect("TCP");
    let (poller, handle) = Poller::new(listeners, Arc::new(settings()), None).expect("epoll");
    let clients = [&rustls::version::TLS13, &rustls::version::TLS12].map(|version| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .expect("a version")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustsAll))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Arc::new(config)
    });
    Loop { poller, handle, address, clients }
}

struct Run<'a> {
    server: &'a mut Loop,
    socket: TcpStream,
    client: ClientConnection,
    /// Records that were not sent yet.
    records: Vec<u8>,
    ways: &'a [u8],
    ready: Vec<Lent>,
    requests: Vec<(Vec<u8>, Vec<u8>)>,
    received: Vec<u8>,
    /// A record was changed.
    is_changed: bool,
    /// The client has found a violation of the protocol, and sends nothing more.
    has_failed: bool,
    /// The server has announced the end of the session.
    is_announced: bool,
    has_ended: bool,
}

impl Run<'_> {
    fn poll(&mut self, timeout: Duration) {
        self.server.poller.poll_once(Some(timeout), &mut self.ready).expect("a poll");
        assert!(self.ready.len() <= 1, "one client, one request at a time");
    }

    fn answer(&mut self) {
        let Some(mut connection) = self.ready.pop() else { return };
        assert!(connection.tls_variables().is_some(), "the handshake is complete");
        let way = way(self.ways, self.requests.len());
        self.requests.push(request(&mut connection));
        let Connection { http, queue, .. } = &mut *connection;
        queue.gather(|out| answer(http, way, &LARGE, out));
        self.server.handle.return_connection(connection);
    }

    /// Encrypts bytes, all of which fit: a fuzzer sends few.
    fn write(&mut self, bytes: &[u8]) -> usize {
        if !self.has_failed {
            self.client.writer().write_all(bytes).expect("room");
        }
        bytes.len()
    }

    /// Sends the next records, or a part of them.
    fn send(&mut self, count: usize) {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.records).expect("a vector");
        }
        let count = count.min(self.records.len());
        match self.socket.write(&self.records[..count]) {
            Ok(sent) => drop(self.records.drain(..sent)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The server has closed.
            Err(_) => self.records.clear(),
        }
    }

    fn change(&mut self, bit: u8) {
        self.send(0);
        if let Some(first) = self.records.first_mut() {
            *first ^= 1 << (bit & 7);
            self.is_changed = true;
        }
    }

    fn receive(&mut self) {
        let mut buffer = [0; 16 * 1024];
        let count = match self.socket.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Ok(0) | Err(_) => {
                self.has_ended = true;
                return;
            }
            Ok(count) => count,
        };
        let mut records = &buffer[..count];
        while !records.is_empty() {
            if self.client.read_tls(&mut records).map_or(true, |count| count == 0) {
                break;
            }
            match self.client.process_new_packets() {
                Ok(state) => self.is_announced |= state.peer_has_closed(),
                Err(error) => {
                    assert!(self.is_changed, "the server has violated the protocol: {error}");
                    self.has_failed = true;
                    return;
                }
            }
            // `WouldBlock` after the last byte.
            let _ = self.client.reader().read_to_end(&mut self.received);
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
        let socket = TcpStream::connect(server.address).expect("a client");
        socket.set_nonblocking(true).expect("a socket");
        let name = ServerName::try_from("localhost").expect("a name");
        let config = server.clients[plan.len() % 2].clone();
        let client = ClientConnection::new(config, name).expect("a client");
        let mut run = Run {
            server,
            socket,
            client,
            records: vec![],
            ways,
            ready: vec![],
            requests: vec![],
            received: vec![],
            is_changed: false,
            has_failed: false,
            is_announced: false,
            has_ended: false,
        };
        let mut at = 0;
        for &step in plan {
            let size = usize::from(step >> 3);
            match step & 7 {
                0 => {
                    let end = data.len().min(at + 1 + size);
                    at += run.write(&data[at..end]);
                }
                1 => run.poll(Duration::ZERO),
                2 => run.answer(),
                3 => run.receive(),
                4 => run.send(1 + size),
                5 => run.send(32 * size),
                6 if size == 0 => run.change(step),
                _ => run.send(usize::MAX),
            }
        }
        run.write(&data[at..]);
        let mut is_shut = false;
        let mut turns = 0;
        while !run.has_ended || run.server.poller.open() > 0 {
            if !is_shut && !run.client.is_handshaking() && !run.has_failed {
                run.client.send_close_notify();
            }
            run.send(usize::MAX);
            let is_done = !run.client.is_handshaking() || run.is_changed;
            if !is_shut && is_done && run.records.is_empty() && !run.client.wants_write() {
                let _ = run.socket.shutdown(Shutdown::Write);
                is_shut = true;
            }
            run.answer();
            // The loopback usually delivers at once.
            run.poll(if turns < 50 { Duration::ZERO } else { Duration::from_millis(1) });
            run.receive();
            turns += 1;
            assert!(turns < 2000, "the connection does not end");
        }
        let received = without_interim(&run.received);
        if run.is_changed || outcome.reset {
            let count = run.requests.len();
            assert_eq!(run.requests, outcome.requests[..count]);
            let common = received.len().min(outcome.sent.len());
            assert!(outcome.sent[..common] == received[..common], "a response was changed");
            return;
        }
        assert_eq!(run.requests, outcome.requests);
        assert!(received.starts_with(&outcome.sent), "a response is missing or changed");
        assert_eq!(run.is_announced, !outcome.cut, "the announcement of the end");
        check_refusal(&received[outcome.sent.len()..], outcome.refusal);
    });
});
