//! Sessions with a client in memory. `tests/tls/` has those of real clients.

use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, Error, SupportedProtocolVersion};

use super::*;
use crate::config::{HttpProtocols, TlsSettings};
use crate::net::tls::config::build;
use crate::net::tls::trusts_all::TrustsAll;
use crate::net::tls::{Material, TicketKeys};

struct Pair {
    server: Records,
    client: ClientConnection,
    /// What the server has received.
    content: Vec<u8>,
    /// What the server has not sent yet.
    answer: Vec<u8>,
    is_ended: bool,
}

fn pair(version: &'static SupportedProtocolVersion) -> Pair {
    pair_with(version, HttpProtocols::default(), &[])
}

/// A server with these protocols, and a client that offers others.
fn pair_with(
    version: &'static SupportedProtocolVersion,
    protocols: HttpProtocols,
    offered: &[&str],
) -> Pair {
    let file = |name: &str| {
        vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/tls")).join(name)]
    };
    let settings = TlsSettings {
        certfiles: file("cert.pem"),
        keyfiles: file("key.pem"),
        protocols,
        ..TlsSettings::default()
    };
    let material = Material::read(&settings).unwrap();
    let server = build(&material, &TicketKeys::new().unwrap(), &settings, None).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustsAll))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    Pair {
        server: Records::new(Arc::new(server)).unwrap(),
        client: ClientConnection::new(Arc::new(config), name).unwrap(),
        content: Vec::new(),
        answer: Vec::new(),
        is_ended: false,
    }
}

impl Pair {
    /// The server receives bytes, as its session passes them on.
    fn receive(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut input = self.server.incomplete().to_vec();
        input.extend_from_slice(bytes);
        let Pair { server, content, answer, .. } = self;
        let processed = server.process(&mut input, |part| content.extend_from_slice(part), answer);
        self.is_ended |= processed.is_ended;
        processed.result
    }

    /// Exchanges what both sides want to send, `step` bytes at a time to the server.
    fn exchange(&mut self, step: usize) {
        loop {
            let mut records = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut records).unwrap();
            }
            for part in records.chunks(step) {
                self.receive(part).unwrap();
            }
            let answer = std::mem::take(&mut self.answer);
            if records.is_empty() && answer.is_empty() {
                return;
            }
            self.deliver(&answer);
        }
    }

    /// The client receives bytes; returns their content.
    fn deliver(&mut self, mut records: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        while !records.is_empty() {
            self.client.read_tls(&mut records).unwrap();
            self.client.process_new_packets().unwrap();
            let read = self.client.reader().read_to_end(&mut content);
            assert!(read.is_ok() || read.unwrap_err().kind() == ErrorKind::WouldBlock);
        }
        content
    }

    fn encrypt(&mut self, slices: &[IoSlice<'_>]) -> (usize, Vec<u8>) {
        let mut out = vec![0; 2 * MAX_UNSENT];
        let (taken, written) =
            self.server.encrypt(slices, &mut Vec::new(), &mut out).expect("an open session");
        out.truncate(written);
        (taken, out)
    }
}

#[test]
fn session_is_the_same_however_its_records_are_cut() {
    for version in [&TLS13, &TLS12] {
        for step in [1, 2, 7, 4096, usize::MAX] {
            let mut pair = pair(version);
            pair.exchange(step);
            assert!(!pair.server.is_handshaking() && !pair.client.is_handshaking());
            let variables = pair.server.variables();
            assert!(variables.contains(&("SSL_TLS_SNI", "localhost".to_owned())));
            let sent: Vec<u8> = (0..40_000_u32).map(|number| number as u8).collect();
            for part in sent.chunks(10_000) {
                pair.client.writer().write_all(part).unwrap();
                pair.exchange(step);
            }
            assert_eq!(pair.content, sent);
            assert!(!pair.is_ended);
            pair.client.send_close_notify();
            pair.exchange(step);
            assert!(pair.is_ended);
        }
    }
}

#[test]
fn client_without_http2_is_refused_if_nothing_else_is_served() {
    for version in [&TLS13, &TLS12] {
        let mut chosen = pair_with(version, HttpProtocols::Http2, &["http/1.1", "h2"]);
        chosen.exchange(usize::MAX);
        assert_eq!(chosen.server.alpn_protocol(), Some(&b"h2"[..]));
        for offered in [&[][..], &["http/1.1"]] {
            let mut refused = pair_with(version, HttpProtocols::Http2, offered);
            let mut hello = Vec::new();
            refused.client.write_tls(&mut hello).unwrap();
            assert_eq!(refused.receive(&hello), Err(Error::NoApplicationProtocol));
            assert_eq!(refused.answer, [21, 3, 3, 0, 2, 2, 120], "{offered:?}");
        }
        // The next session of the thread is not affected.
        pair(version).exchange(usize::MAX);
    }
}

#[test]
fn idle_session_holds_no_buffer() {
    let mut pair = pair(&TLS13);
    pair.exchange(usize::MAX);
    assert_eq!(pair.server.held_bytes(), 0);
    pair.client.writer().write_all(&[7; 20_000]).unwrap();
    let mut records = Vec::new();
    while pair.client.wants_write() {
        pair.client.write_tls(&mut records).unwrap();
    }
    pair.receive(&records[..9000]).unwrap();
    assert!(pair.server.held_bytes() >= 9000);
    pair.receive(&records[9000..]).unwrap();
    assert_eq!((pair.content.len(), pair.server.held_bytes()), (20_000, 0));
}

#[test]
fn slices_of_any_size_arrive_in_full_records() {
    let sizes: [&[usize]; 8] = [
        &[0],
        &[5],
        &[200, 13],
        &[200, 0, 100_000],
        &[40_000, 3, 0, 9],
        &[16_384, 16_384],
        &[16_383, 2, 16_385],
        &[1; 20],
    ];
    for sizes in sizes {
        let mut pair = pair(&TLS13);
        pair.exchange(usize::MAX);
        let content: Vec<u8> = (0..sizes.iter().sum::<usize>()).map(|at| at as u8).collect();
        let mut rest = &content[..];
        let mut split = |&size: &usize| {
            let (slice, others) = rest.split_at(size);
            rest = others;
            IoSlice::new(slice)
        };
        let slices: Vec<_> = sizes.iter().map(&mut split).collect();
        let (taken, records) = pair.encrypt(&slices);
        let first: usize = sizes.iter().take(MAX_SLICES).sum();
        assert_eq!(taken, first.min(MAX_UNSENT), "{sizes:?}");
        // Header, type and tag of each record.
        assert_eq!(records.len(), taken + 22 * taken.div_ceil(RECORD), "{sizes:?}");
        assert_eq!(pair.deliver(&records), content[..taken], "{sizes:?}");
    }
}

#[test]
fn handshake_message_that_does_not_end_is_refused() {
    // The record at which a ClientHello is refused: of 16 MiB, and of the largest size that rustls
    // accepts.
    for (length, refused) in [([0xff, 0xff, 0xff], 0), ([0, 0xff, 0xff], 3)] {
        let mut pair = pair(&TLS13);
        let mut record = vec![22, 3, 1, 0x40, 0, 1];
        record.extend_from_slice(&length);
        record.resize(5 + RECORD, 0);
        let is_refused = |_: &usize| pair.receive(&record).is_err();
        assert_eq!((0..5).find(is_refused), Some(refused));
        assert!(pair.server.held_bytes() <= 2 * MAX_INCOMPLETE);
    }
}

#[test]
fn garbage_is_answered_with_one_alert() {
    for garbage in [&[0; 100][..], &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5], &[22, 3, 1, 255, 255, 0]] {
        let mut pair = pair(&TLS13);
        assert!(pair.receive(garbage).is_err());
        assert_eq!((pair.answer.len(), pair.answer[0]), (7, 21), "{:?}", pair.answer);
    }
    let mut pair = pair(&TLS13);
    pair.exchange(usize::MAX);
    assert!(
        pair.receive(&[
            23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3, 4, 5
        ])
        .is_err()
    );
    assert_eq!(pair.answer.len(), 24, "an encrypted alert");
}

#[test]
fn end_is_announced_once() {
    let mut pair = pair(&TLS13);
    pair.exchange(usize::MAX);
    let mut out = Vec::new();
    pair.server.close(&mut out);
    let length = out.len();
    pair.server.close(&mut out);
    assert_eq!((length, out.len()), (24, 24));
    pair.deliver(&out);
    assert_eq!(pair.client.reader().read(&mut [0]).unwrap(), 0);
}

#[test]
fn key_update_of_the_client_is_answered_with_the_next_record() {
    for is_end in [false, true] {
        let mut pair = pair(&TLS13);
        pair.exchange(usize::MAX);
        // Two updates before the server sends: one answer is enough.
        for _ in 0..2 {
            pair.client.refresh_traffic_keys().unwrap();
            pair.client.writer().write_all(b"x").unwrap();
            pair.exchange(1);
        }
        assert_eq!(pair.content, b"xx");
        if is_end {
            let mut out = Vec::new();
            pair.server.close(&mut out);
            assert!(pair.deliver(&out).is_empty());
            assert_eq!(pair.client.reader().read(&mut [0]).unwrap(), 0);
        } else {
            let (_, records) = pair.encrypt(&[IoSlice::new(b"y")]);
            assert_eq!(pair.deliver(&records), b"y");
        }
    }
}

#[test]
fn client_that_has_ended_its_side_gets_its_response() {
    for version in [&TLS13, &TLS12] {
        let mut pair = pair(version);
        pair.exchange(usize::MAX);
        pair.client.writer().write_all(b"request").unwrap();
        pair.client.send_close_notify();
        let mut records = Vec::new();
        while pair.client.wants_write() {
            pair.client.write_tls(&mut records).unwrap();
        }
        // It is ignored. [RFC 8446 section 6.1]
        records.extend_from_slice(b"GET / HTTP/1.1\r\n\r\n");
        pair.receive(&records).unwrap();
        assert!(pair.is_ended && pair.content == b"request");
        assert_eq!(pair.server.held_bytes(), 0);
        let (_, mut records) = pair.encrypt(&[IoSlice::new(b"response")]);
        pair.server.close(&mut records);
        assert_eq!(pair.deliver(&records), b"response");
        assert_eq!(pair.client.reader().read(&mut [0]).unwrap(), 0);
    }
}
