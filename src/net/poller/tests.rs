//! What depends on the moment: which connections are left to other processes that accept from the same
//! sockets, and what comes between two looks at them. All else is seen from outside.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Connection, bind};
use super::{Poller, PollerHandle};
use crate::config::{self, Bind};
use crate::http1::ResponseHead;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A poller that listens at a unix socket, where what a client has done is there at once.
struct Site {
    poller: Poller,
    handle: Arc<PollerHandle>,
    directory: tempfile::TempDir,
}

impl Site {
    fn open() -> Site {
        let directory = tempfile::tempdir().unwrap();
        let listeners = bind(&Bind::Unix(directory.path().join("s")), 16, 0).unwrap();
        let settings = Arc::new(config::parse_api(&[]).unwrap());
        let (poller, handle) = Poller::new(listeners, settings, None).unwrap();
        Site { poller, handle, directory }
    }

    /// A client that has connected and sent this.
    fn client(&self, sent: &[u8]) -> UnixStream {
        let mut client = UnixStream::connect(self.directory.path().join("s")).unwrap();
        client.write_all(sent).unwrap();
        client
    }

    /// Turns once without waiting; the requests that became ready.
    fn turn(&mut self, room: usize) -> Vec<Box<Connection>> {
        let mut ready = Vec::new();
        self.poller.set_room(Some(room));
        self.poller.turn(Some(Duration::ZERO), &mut ready).unwrap();
        ready
    }

    fn answer(&self, mut connection: Box<Connection>) {
        let mut head = ResponseHead::default();
        head.start(b"204 No Content").unwrap();
        let Connection { http, queue, .. } = &mut *connection;
        queue.gather(|out| http.begin(&head, None, b"Thu, 01 Jan 1970 00:00:00 GMT", out));
        queue.gather(|out| http.finish(out)).unwrap();
        self.handle.return_connection(connection);
    }
}

#[test]
fn a_connection_that_brings_a_request_takes_up_room_at_once() {
    let mut site = Site::open();
    let mut first = site.client(REQUEST);
    let mut ready = site.turn(2);
    assert_eq!((ready.len(), site.poller.open()), (1, 1));
    site.answer(ready.remove(0));
    assert!(site.turn(2).is_empty());
    // Its next request takes one of two threads, the first of these three the other.
    first.write_all(REQUEST).unwrap();
    let _others = [REQUEST; 3].map(|request| site.client(request));
    let ready = site.turn(2);
    assert_eq!((ready.len(), site.poller.open()), (2, 2));
    // Nothing new is reported for those who were left: they are remembered.
    let ready = site.turn(2);
    assert_eq!((ready.len(), site.poller.open()), (2, 4));
}

#[test]
fn a_connection_that_brings_nothing_takes_up_no_room() {
    let mut site = Site::open();
    let mut first = site.client(REQUEST);
    let mut ready = site.turn(2);
    site.answer(ready.remove(0));
    assert!(site.turn(2).is_empty());
    first.write_all(REQUEST).unwrap();
    let _others = [b"GET /", REQUEST, REQUEST].map(|request| site.client(request));
    let ready = site.turn(2);
    assert_eq!((ready.len(), site.poller.open()), (2, 3));
}

#[test]
fn no_more_are_accepted_in_a_turn_than_there_is_room_for() {
    // They may be about to send their requests.
    let mut site = Site::open();
    let _clients = [b""; 5].map(|nothing| site.client(nothing));
    for open in [2, 4, 5] {
        assert!(site.turn(2).is_empty());
        assert_eq!(site.poller.open(), open);
    }
}

#[test]
fn who_has_no_room_leaves_new_connections_to_others_for_a_moment() {
    let mut site = Site::open();
    let _client = site.client(REQUEST);
    assert!(site.turn(0).is_empty());
    assert_eq!(site.poller.open(), 0);
    // A thread has come back.
    assert_eq!(site.turn(1).len(), 1);
}

#[test]
fn who_has_something_to_do_leaves_new_connections_to_others_for_one_turn() {
    let mut site = Site::open();
    let mut first = site.client(REQUEST);
    let mut ready = site.turn(1);
    let _other = site.client(REQUEST);
    for (found, open) in [(1, 1), (2, 2)] {
        first.write_all(REQUEST).unwrap();
        site.answer(ready.remove(0));
        ready = site.turn(1);
        assert_eq!((ready.len(), site.poller.open()), (found, open));
    }
}

#[test]
fn what_has_come_behind_a_response_is_served_while_the_server_stops() {
    let mut site = Site::open();
    let mut client = site.client(REQUEST);
    let mut ready = site.turn(2);
    site.handle.stop();
    assert!(site.turn(2).is_empty());
    // Its response is out before any event can tell of the next request.
    client.write_all(REQUEST).unwrap();
    site.answer(ready.remove(0));
    let mut ready = site.turn(2);
    assert_eq!(ready.len(), 1);
    site.answer(ready.remove(0));
    client.shutdown(std::net::Shutdown::Write).unwrap();
    while !site.poller.is_finished() {
        assert!(site.turn(2).is_empty());
    }
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert_eq!(received.windows(4).filter(|end| end == b"\r\n\r\n").count(), 2);
}
