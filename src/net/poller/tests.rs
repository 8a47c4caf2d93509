//! The poller over real sockets, where timing matters: which connections it leaves to other
//! processes that accept from the same sockets, and what arrives between two polls. The black-box
//! tests cover the rest.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::{Poller, PollerHandle};
use crate::config::{self, Bind};
use crate::http1::ResponseHead;
use crate::net::{BindOptions, Connection, Lent, bind};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A poller that listens at a unix socket, where a client's bytes arrive at once.
struct Site {
    poller: Poller,
    handle: Arc<PollerHandle>,
    directory: tempfile::TempDir,
}

impl Site {
    fn open() -> Site {
        let directory = tempfile::tempdir().unwrap();
        let listeners =
            bind(&Bind::Unix(directory.path().join("s")), BindOptions::with_backlog(16)).unwrap();
        let settings = Arc::new(config::parse_api(&[]).unwrap());
        let (poller, handle) = Poller::new(listeners, settings, None).unwrap();
        Site { poller, handle, directory }
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
        self.poller.poll_once(Some(Duration::ZERO)).unwrap()
    }

    fn answer(&self, connection: Lent) {
        self.answer_with(connection, &[]);
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
