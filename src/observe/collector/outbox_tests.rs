//! Tests of the queue of a collector, with real sockets.

use super::*;
use std::io::Read;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

use crate::observe::collector::UnixKind;
use crate::sys::fork_free::ForkFree;

fn outbox(path: &Path, kind: UnixKind) -> Outbox<()> {
    let outbox = Outbox::new("it");
    outbox.open(&Some((CollectorAddress::Unix(path.to_owned(), kind), ()))).unwrap();
    outbox
}

fn pause_is_over(outbox: &Outbox<()>) {
    outbox.lock().transfer.retry_at = None;
}

#[test]
fn message_is_sent_as_one_datagram() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let reader = UnixDatagram::bind(&path).unwrap();
    let outbox = outbox(&path, UnixKind::Any);
    assert_eq!(outbox.push(b"one".to_vec(), None), 3);
    outbox.push(b"two".to_vec(), None);
    assert!(outbox.is_pending() && !outbox.has_backlog());
    assert_eq!(outbox.send(), Outcome::Quiet);
    assert!(!outbox.is_pending());
    let mut buffer = [0; 16];
    for expected in ["one", "two"] {
        let length = reader.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], expected.as_bytes());
    }
}

#[test]
fn messages_that_may_be_joined_share_a_datagram_up_to_the_bound() {
    let outbox: Outbox<()> = Outbox::new("it");
    for text in ["aa", "bb", "cc"] {
        outbox.push(text.into(), Some(5));
    }
    assert_eq!(outbox.lock().queue, [b"aa\nbb".to_vec(), b"cc".to_vec()]);
    assert_eq!(outbox.lock().queued_bytes, 7);
}

#[test]
fn absent_collector_is_reported_once_and_gets_everything_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let outbox = outbox(&path, UnixKind::Datagram);
    outbox.push(b"kept".to_vec(), None);
    assert!(matches!(outbox.send(), Outcome::Failing(_)));
    assert!(outbox.has_backlog());
    // No attempt during the pause, and no second report after it.
    assert_eq!(outbox.send(), Outcome::Quiet);
    pause_is_over(&outbox);
    assert_eq!(outbox.send(), Outcome::Quiet);
    let reader = UnixDatagram::bind(&path).unwrap();
    pause_is_over(&outbox);
    assert_eq!(outbox.send(), Outcome::Recovered(0));
    assert_eq!(reader.recv(&mut [0; 16]).unwrap(), 4);
}

#[test]
fn restarted_collector_is_connected_to_again() {
    let _fork_free = ForkFree::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let first = UnixDatagram::bind(&path).unwrap();
    let outbox = outbox(&path, UnixKind::Datagram);
    outbox.push(b"1".to_vec(), None);
    outbox.send();
    drop(first);
    std::fs::remove_file(&path).unwrap();
    let second = UnixDatagram::bind(&path).unwrap();
    outbox.push(b"22".to_vec(), None);
    assert!(matches!(outbox.send(), Outcome::Failing(_)));
    pause_is_over(&outbox);
    assert_eq!(outbox.send(), Outcome::Recovered(0));
    assert_eq!(second.recv(&mut [0; 16]).unwrap(), 2);
}

#[test]
fn full_socket_keeps_messages_then_drops_and_counts_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let reader = UnixDatagram::bind(&path).unwrap();
    let outbox = outbox(&path, UnixKind::Datagram);
    let mut outcomes = Vec::new();
    let sent = 5000;
    for _ in 0..sent {
        outbox.push(vec![b'x'; 1000], None);
        outcomes.push(outbox.send());
    }
    assert!(outbox.has_backlog());
    assert!(outbox.lock().queued_bytes <= DROP_THRESHOLD_BYTES + 1000);
    assert!(outcomes.contains(&Outcome::Failing("it does not keep up".to_owned())));
    reader.set_nonblocking(true).unwrap();
    let mut received = 0;
    let lost = loop {
        while reader.recv(&mut [0; 2000]).is_ok() {
            received += 1;
        }
        if let Outcome::Recovered(lost) = outbox.send() {
            break lost;
        }
    };
    while reader.recv(&mut [0; 2000]).is_ok() {
        received += 1;
    }
    assert!(lost > 0);
    assert_eq!(received + lost, sent);
}

#[test]
fn end_of_the_process_waits_only_for_a_collector_that_reads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let reader = UnixDatagram::bind(&path).unwrap();
    let outbox = outbox(&path, UnixKind::Datagram);
    while !outbox.has_backlog() || outbox.lock().stalled_since.is_none() {
        outbox.push(vec![b'x'; 1000], None);
        outbox.send();
    }
    let hour = Duration::from_secs(3600);
    // It has taken nothing for that long, which is no time.
    outbox.finish(Instant::now() + hour, Duration::ZERO);
    assert!(outbox.has_backlog());
    let reading = std::thread::spawn(move || while reader.recv(&mut [0; 2000]).unwrap() > 1 {});
    outbox.push(b"x".to_vec(), None);
    outbox.finish(Instant::now() + hour, hour);
    assert!(!outbox.is_pending());
    reading.join().unwrap();
}

#[test]
fn stream_gets_whole_messages_although_it_takes_them_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    // Datagrams are tried first, and refused by a stream socket.
    let outbox = outbox(&path, UnixKind::Any);
    outbox.push(b"first\0".to_vec(), None);
    assert_eq!(outbox.send(), Outcome::Quiet);
    let mut expected = b"first\0".to_vec();
    let (mut reader, _) = listener.accept().unwrap();
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    for number in 0..2000_u32 {
        let message = vec![b'a' + (number % 26) as u8; 1000];
        expected.extend_from_slice(&message);
        outbox.push(message, None);
        outbox.send_until(Instant::now() + Duration::from_secs(10));
    }
    assert!(!outbox.is_pending());
    outbox.close();
    assert_eq!(reading.join().unwrap(), expected);
}

#[test]
fn other_collector_gets_what_is_queued_after_the_change() {
    let dir = tempfile::tempdir().unwrap();
    let [old, new] = ["a", "b"].map(|name| dir.path().join(name));
    let outbox = outbox(&old, UnixKind::Datagram);
    outbox.push(b"queued".to_vec(), None);
    outbox.send();
    let reader = UnixDatagram::bind(&new).unwrap();
    outbox.open(&Some((CollectorAddress::Unix(new, UnixKind::Datagram), ()))).unwrap();
    outbox.send();
    assert_eq!(reader.recv(&mut [0; 16]).unwrap(), 6);
    outbox.open(&None).unwrap();
    assert!(!outbox.is_open());
}

#[test]
fn datagrams_over_udp_without_a_reader_are_lost_and_not_reported() {
    let unused = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = unused.local_addr().unwrap().port();
    drop(unused);
    let outbox = Outbox::new("it");
    outbox.open(&Some((CollectorAddress::Udp("127.0.0.1".into(), port), ()))).unwrap();
    for _ in 0..10 {
        outbox.push(b"lost".to_vec(), None);
        outbox.push(b"lost".to_vec(), None);
        assert_eq!(outbox.send(), Outcome::Quiet);
    }
    assert!(!outbox.is_pending());
}
