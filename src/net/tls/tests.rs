//! Sessions between a client in memory and the TLS of several processes: which tickets they resume.

use std::io::{ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, SupportedProtocolVersion, version};
use socket2::Socket;

use super::session::HANDSHAKE_FAILED;
use super::stream::TlsStream;
use super::tickets::ROTATION_INTERVAL;
use super::trusts_all::TrustsAll;
use super::{Renewal, Tls};
use crate::config::{Budget, TlsSettings};
use crate::net::memory_budget::MemoryBudget;

fn settings() -> TlsSettings {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/tls"));
    TlsSettings {
        certfiles: vec![directory.join("cert.pem")],
        keyfiles: vec![directory.join("key.pem")],
        ..TlsSettings::default()
    }
}

/// A client that keeps its tickets, and trusts all servers.
#[derive(Debug)]
struct Client(Arc<ClientConfig>);

impl Client {
    fn new(version: &'static SupportedProtocolVersion) -> Client {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustsAll))
            .with_no_client_auth();
        Client(Arc::new(config))
    }

    /// Connects, and takes the tickets of the server; returns whether it has resumed a session.
    fn resumes(&self, tls: &Tls) -> bool {
        let (client, _, _) = self.connect(tls);
        client.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Connects, and takes the tickets of the server. Returns both sides, and the client's socket.
    fn connect(&self, tls: &Tls) -> (ClientConnection, TlsStream, UnixStream) {
        let (mut socket, accepted) = UnixStream::pair().unwrap();
        for end in [&socket, &accepted] {
            end.set_nonblocking(true).unwrap();
        }
        let budget = Arc::new(MemoryBudget::new(Budget { memory: usize::MAX, spool: u64::MAX }));
        let server = tls.accept(Socket::from(accepted), &budget).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(self.0.clone(), name).unwrap();
        // Two more turns than a handshake takes, for the tickets.
        for _ in 0..5 {
            while client.wants_write() {
                client.write_tls(&mut socket).unwrap();
            }
            let read = server.read(&mut [0; 100]);
            assert_eq!(read.unwrap_err().kind(), ErrorKind::WouldBlock);
            while client.read_tls(&mut socket).is_ok() {
                client.process_new_packets().unwrap();
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        (client, server, socket)
    }
}

/// The keys of the master change, and its workers get them.
fn rotate(master: &mut Renewal, times: u32, workers: &[&Renewal]) {
    assert!(master.renew(Instant::now() + ROTATION_INTERVAL * times));
    for worker in workers {
        worker.tls().replace_encoded(&master.encode()).unwrap();
    }
}

#[test]
fn tickets_are_resumed_by_all_workers_while_keys_rotate() {
    for version in [&version::TLS13, &version::TLS12] {
        let mut master = Renewal::read(&settings(), None).unwrap();
        let workers = [(); 2].map(|()| Renewal::read(&settings(), Some(&master)).unwrap());
        let [first, second] = &workers;
        let client = Client::new(version);
        assert!(!client.resumes(first.tls()), "there is no ticket yet");
        assert!(client.resumes(second.tls()));
        // The key before the last one decrypts, and the client gets a ticket of the new one.
        rotate(&mut master, 1, &[first]);
        assert!(client.resumes(first.tls()));
        assert!(!client.resumes(second.tls()), "it does not have the key yet");
        second.tls().replace_encoded(&master.encode()).unwrap();
        assert!(client.resumes(second.tls()));
        // A reload in between changes nothing.
        master = Renewal::read(&settings(), Some(&master)).unwrap();
        rotate(&mut master, 2, &[first, second]);
        assert!(client.resumes(first.tls()));
        // Two rotations later the key is gone.
        rotate(&mut master, 3, &[]);
        rotate(&mut master, 4, &[first, second]);
        assert!(!client.resumes(second.tls()));
        assert!(client.resumes(first.tls()));
    }
}

#[test]
fn tickets_end_with_the_master_that_made_their_keys() {
    // After an upgrade (USR2), the next connection of a client is a full handshake.
    let client = Client::new(&version::TLS13);
    let [old, new] = [(); 2].map(|()| Renewal::read(&settings(), None).unwrap());
    assert!(!client.resumes(old.tls()));
    assert!(client.resumes(old.tls()));
    assert!(!client.resumes(new.tls()));
    assert!(client.resumes(new.tls()));
}

/// A regression test: a read that had content to return met a record that was not authentic. The
/// next read returned as content what the attacker had sent behind it, unencrypted.
#[test]
fn bytes_behind_a_record_that_is_not_authentic_are_no_content() {
    const INJECTED: &[u8] = b"GET /injected HTTP/1.1\r\nHost: a\r\n\r\n";
    let renewal = Renewal::read(&settings(), None).unwrap();
    for version in [&version::TLS13, &version::TLS12] {
        let (mut client, server, mut socket) = Client::new(version).connect(renewal.tls());
        // More than one read takes from the socket.
        let sent = vec![b'a'; 100_000];
        let mut records = Vec::new();
        for part in sent.chunks(10_000) {
            client.writer().write_all(part).unwrap();
            client.write_tls(&mut records).unwrap();
        }
        records.extend_from_slice(&[23, 3, 3, 0, 20]);
        records.extend_from_slice(&[0; 20]);
        records.extend_from_slice(INJECTED);
        socket.write_all(&records).unwrap();
        let mut buffer = vec![0; 2 * sent.len()];
        let read = server.read(&mut buffer).unwrap();
        assert!(read > 0 && sent.starts_with(&buffer[..read]));
        assert!(server.has_more(), "no event reports the failure");
        assert_eq!(server.read(&mut buffer).unwrap_err().kind(), HANDSHAKE_FAILED);
    }
}
