//! The poller over real sockets, where timing matters: which connections it leaves to other
//! processes that accept from the same sockets, and what arrives between two polls. The black-box
//! tests cover the rest.

mod hand_over;
mod large;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::connections::Phase;
use super::{Poller, PollerHandle};
use crate::config::{self, Bind};
use crate::http1::ResponseHead;
use crate::net::tuning::READ_BUFFER;
use crate::net::{BindOptions, Body, Chunk, Connection, Lent, bind};
use crate::sys::clock::Moment;
use crate::sys::fork_free::ForkFree;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A poller that listens at a unix socket, where a client's bytes arrive at once.
struct Site {
    poller: Poller,
    handle: Arc<PollerHandle>,
    directory: tempfile::TempDir,
    _fork_free: ForkFree,
}

impl Site {
    fn open() -> Site {
        Site::open_with(&[])
    }

    fn open_with(options: &[(&str, &str)]) -> Site {
        let directory = tempfile::tempdir().unwrap();
        let bound = Bind::Unix(directory.path().join("s"));
        Site::open_at(&bound, directory, options)
    }

    fn open_at(bound: &Bind, directory: tempfile::TempDir, options: &[(&str, &str)]) -> Site {
        let listeners = bind(bound, BindOptions::with_backlog(16)).unwrap();
        let options =
            options.iter().map(|(name, value)| (name.to_string(), vec![value.to_string()]));
        let settings = Arc::new(config::parse_api(&options.collect::<Vec<_>>()).unwrap());
        let (poller, handle) = Poller::new(listeners, settings, None).unwrap();
        Site { poller, handle, directory, _fork_free: ForkFree::new() }
    }

    /// A client that has connected and sent these bytes.
    fn client(&self, sent: &[u8]) -> UnixStream {
        let mut client = UnixStream::connect(self.directory.path().join("s")).unwrap();
        client.write_all(sent).unwrap();
        client
    }

    /// Polls once without blocking; returns the requests that became complete.
    fn poll(&mut self, free_threads: usize) -> Vec<Lent> {
        self.poller.set_free_threads(Some(free_threads));
        let mut ready = Vec::new();
        self.poller.poll_once(Some(Duration::ZERO), &mut ready).unwrap();
        ready
    }

    fn answer(&self, connection: Lent) {
        self.answer_with(connection, &[]);
    }

    /// Answers with more than a socket takes.
    fn answer_at_length(&self, mut connection: Lent) {
        const LENGTH: usize = 16 << 20;
        let mut head = ResponseHead::default();
        head.start(b"200 OK").unwrap();
        let Connection { http, queue, .. } = &mut *connection;
        let date = b"Thu, 01 Jan 1970 00:00:00 GMT";
        queue.gather(|out| http.begin(&head, Some(LENGTH as u64), date, out));
        http.frame(LENGTH);
        queue.push(Chunk::Shared(vec![0; LENGTH].into()));
        queue.gather(|out| http.finish(out)).unwrap();
        self.handle.return_connection(connection);
    }

    /// Lets the connections that send a response wait for a disk, since `waited`.
    fn wait_for_disk(&mut self, waited: Duration) {
        let state = &mut self.poller.state;
        for id in state.connections.ids() {
            let slot = state.connections.get_mut(id).unwrap();
            let Phase::Sending(connection) = &mut slot.phase else { panic!("it sends nothing") };
            let since = state.now.as_nanos() - waited.as_nanos() as u64;
            connection.head_complete_at = Moment::from_nanos(since);
            slot.is_loading = true;
            // As an event that the socket is writable.
            slot.reschedule(id, &mut state.run_queue);
        }
    }

    fn answer_with(&self, mut connection: Lent, fields: &[(&[u8], &[u8])]) {
        let mut head = ResponseHead::default();
        head.start(b"204 No Content").unwrap();
        fields.iter().for_each(|(name, value)| head.add_field(name, value).unwrap());
        let Connection { http, queue, .. } = &mut *connection;
        queue.gather(|out| http.begin(&head, None, b"Thu, 01 Jan 1970 00:00:00 GMT", out));
        queue.gather(|out| http.finish(out)).unwrap();
        self.handle.return_connection(connection);
    }
}

#[test]
fn new_connection_with_a_request_occupies_a_free_thread_at_once() {
    let mut site = Site::open();
    let mut first = site.client(REQUEST);
    let mut ready = site.poll(2);
    assert_eq!((ready.len(), site.poller.open()), (1, 1));
    site.answer(ready.remove(0));
    assert!(site.poll(2).is_empty());
    // Its next request takes one of two threads, the first of these three the other.
    first.write_all(REQUEST).unwrap();
    let _others = [REQUEST; 3].map(|request| site.client(request));
    let ready = site.poll(2);
    assert_eq!((ready.len(), site.poller.open()), (2, 2));
    // No new event is reported for the ones that were left: the listener is remembered.
    let ready = site.poll(2);
    assert_eq!((ready.len(), site.poller.open()), (2, 4));
}

#[test]
fn client_that_disconnects_while_its_file_is_loaded_frees_its_slot() {
    const LONG: Duration = Duration::from_secs(2);
    let mut site = Site::open();
    let [first, second, third] = [REQUEST; 3].map(|request| site.client(request));
    for _ in 0..3 {
        for connection in site.poll(3) {
            site.answer_at_length(connection);
        }
    }
    assert!(site.poll(2).is_empty());
    let wait = |site: &mut Site, waited, open| {
        site.wait_for_disk(waited);
        assert!(site.poll(2).is_empty());
        assert_eq!(site.poller.open(), open);
    };
    // This one only announces that it sends no further request, however long it waits then.
    first.shutdown(std::net::Shutdown::Write).unwrap();
    wait(&mut site, Duration::ZERO, 3);
    wait(&mut site, LONG, 3);
    // This one has waited before it does so.
    second.shutdown(std::net::Shutdown::Write).unwrap();
    wait(&mut site, LONG, 2);
    drop(third);
    wait(&mut site, Duration::ZERO, 1);
}

#[test]
fn new_connection_without_a_request_occupies_no_thread() {
    let mut site = Site::open();
    let mut first = site.client(REQUEST);
    let mut ready = site.poll(2);
    site.answer(ready.remove(0));
    assert!(site.poll(2).is_empty());
    first.write_all(REQUEST).unwrap();
    let _others = [b"GET /", REQUEST, REQUEST].map(|request| site.client(request));
    let ready = site.poll(2);
    assert_eq!((ready.len(), site.poller.open()), (2, 3));
}

#[test]
fn turn_accepts_no_more_than_there_are_free_threads() {
    // They may be about to send their requests.
    let mut site = Site::open();
    let _clients = [b""; 5].map(|nothing| site.client(nothing));
    for open in [2, 4, 5] {
        assert!(site.poll(2).is_empty());
        assert_eq!(site.poller.open(), open);
    }
}

#[test]
fn worker_without_a_free_thread_leaves_new_connections_to_others() {
    let mut site = Site::open();
    let _client = site.client(REQUEST);
    assert!(site.poll(0).is_empty());
    assert_eq!(site.poller.open(), 0);
    // A thread has come back.
    assert_eq!(site.poll(1).len(), 1);
}

#[test]
fn busy_worker_leaves_new_connections_to_others_for_one_turn() {
    let mut site = Site::open();
    let mut first = site.client(REQUEST);
    let mut ready = site.poll(1);
    let _other = site.client(REQUEST);
    for (found, open) in [(1, 1), (2, 2)] {
        first.write_all(REQUEST).unwrap();
        site.answer(ready.remove(0));
        ready = site.poll(1);
        assert_eq!((ready.len(), site.poller.open()), (found, open));
    }
}

#[test]
fn request_behind_a_response_is_served_while_the_server_drains() {
    let mut site = Site::open();
    let mut client = site.client(REQUEST);
    let mut ready = site.poll(2);
    site.handle.stop();
    assert!(site.poll(2).is_empty());
    // Its response is sent before any event can report the next request.
    client.write_all(REQUEST).unwrap();
    site.answer(ready.remove(0));
    let mut ready = site.poll(2);
    assert_eq!(ready.len(), 1);
    site.answer(ready.remove(0));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    while !site.poller.is_finished() {
        assert!(site.poll(2).is_empty());
    }
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert_eq!(received.windows(4).filter(|end| end == b"\r\n\r\n").count(), 2);
}

#[test]
fn lingering_connection_is_hastened_when_the_server_drains_but_not_when_it_retires() {
    let mut site = Site::open();
    let _client = site.client(REQUEST);
    let mut ready = site.poll(2);
    site.answer_with(ready.remove(0), &[(b"Connection", b"close")]);
    assert!(site.poll(2).is_empty());
    let lingers_until = site.poller.state.timers.next();
    site.handle.retire();
    assert!(site.poll(2).is_empty());
    assert_eq!(site.poller.state.timers.next(), lingers_until);
    site.handle.stop();
    assert!(site.poll(2).is_empty());
    assert!(site.poller.state.timers.next() < lingers_until);
}

#[test]
fn yielding_poller_leaves_the_accept_queue_and_serves_what_has_arrived() {
    let mut site = Site::open();
    let mut kept = site.client(REQUEST);
    let mut ready = site.poll(2);
    site.answer(ready.remove(0));
    assert!(site.poll(2).is_empty());
    let mut arrived = site.client(b"");
    assert!(site.poll(2).is_empty());
    arrived.write_all(REQUEST).unwrap();
    site.handle.yield_to_successor();
    let _waiting = site.client(REQUEST);
    let mut ready = site.poll(2);
    assert_eq!(ready.len(), 1, "that of `arrived`, not that of `waiting`");
    site.answer(ready.remove(0));
    assert!(site.poll(2).is_empty());
    let mut received = Vec::new();
    kept.read_to_end(&mut received).unwrap();
    arrived.read_to_end(&mut received).unwrap();
    assert_eq!(received.windows(4).filter(|end| end == b"\r\n\r\n").count(), 2);
    drop((kept, arrived));
    while !site.poller.is_finished() {
        assert!(site.poll(2).is_empty());
    }
}

/// Sends `parts` with a poll after each, and returns the bodies of the requests that became
/// complete. Each is answered, so that the next one is read.
fn bodies(parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut site = Site::open();
    let mut client = site.client(b"");
    let mut bodies = Vec::new();
    let mut poll = |site: &mut Site| {
        // Answers the requests of the last poll.
        for _ in 0..6 {
            for mut lent in site.poll(1) {
                bodies.push(match lent.take_body() {
                    Body::Empty => Vec::new(),
                    Body::Memory(bytes, start) => bytes[start..].to_vec(),
                    Body::File(..) => panic!("the body is small"),
                });
                site.answer(lent);
            }
        }
    };
    for part in parts {
        client.write_all(part).unwrap();
        poll(&mut site);
    }
    bodies
}

#[test]
fn body_is_the_same_in_every_chunking() {
    let head =
        |length: usize| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    for length in [1, 100, 5000, 36 * 1024, 64 * 1024, 72 * 1024, 150_000] {
        let body: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let request = [head(length).as_bytes(), &body].concat();
        // A whole request, and a part of another one, may follow at once.
        let sent = [&request[..], REQUEST, &request, &request].concat();
        let expected = [body.clone(), Vec::new(), body.clone(), body];
        for step in [100_000, 65_483, 40_000, 7001] {
            let parts: Vec<&[u8]> = sent.chunks(step).collect();
            assert!(bodies(&parts) == expected, "{length} bytes by {step}");
        }
        let (first, rest) = request.split_at(request.len() - 1);
        assert!(bodies(&[first, rest]) == expected[..1], "{length} bytes, the last one late");
        let (first, rest) = request.split_at(head(length).len());
        assert!(bodies(&[first, rest]) == expected[..1], "{length} bytes, the head alone");
    }
}

#[test]
fn chunked_body_is_the_same_in_every_chunking() {
    let chunk =
        |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body: Vec<u8> = (0..150_000).map(|i| (i % 251) as u8).collect();
    for size in [7000, 40_000, 72 * 1024, 150_000] {
        let chunks: Vec<Vec<u8>> = body.chunks(size).map(chunk).collect();
        let request = [head, &chunks.concat()[..], b"0\r\n\r\n"].concat();
        let sent = [&request[..], REQUEST, &request].concat();
        let expected = [body.clone(), Vec::new(), body.clone()];
        for step in [100_000, 65_483, 40_000, 7001] {
            let parts: Vec<&[u8]> = sent.chunks(step).collect();
            assert!(bodies(&parts) == expected, "chunks of {size} bytes by {step}");
        }
    }
}

#[test]
fn body_takes_the_read_buffer_over_and_fills_it_to_the_end() {
    let mut site = Site::open();
    let length = 64 * 1024;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let mut client = site.client(head.as_bytes());
    client.write_all(&vec![b'x'; length - 9]).unwrap();
    assert!(site.poll(1).is_empty());
    client.write_all(b"yyyyyyyyy").unwrap();
    let mut lent = site.poll(1).pop().unwrap();
    let Body::Memory(bytes, start) = lent.take_body() else { panic!("no body") };
    assert_eq!((start, bytes.len()), (head.len(), head.len() + length));
    assert_eq!(bytes.capacity(), READ_BUFFER, "it was not copied");
    assert!(bytes.ends_with(b"xyyyyyyyyy"));
}
