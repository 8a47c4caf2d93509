//! Two pollers, as those of two workers, that hand requests over to each other.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::{REQUEST, Site};
use crate::net::hand_over::MAX_MESSAGE;
use crate::net::{Body, HandOver, Lent, Local};
use crate::observe::Count;
use crate::proxies::Scheme;
use crate::sys::clock::Moment;

/// Two workers, of which only the first one has a listener that clients know.
fn two_workers() -> (Site, Site, Arc<HandOver>) {
    two_workers_with(&[])
}

fn two_workers_with(options: &[(&str, &str)]) -> (Site, Site, Arc<HandOver>) {
    let (name, port) = ("localhost".into(), "80".into());
    let local = Local { index: 0, name, port, is_https: false, redirect_port: None };
    let hand_over = Arc::new(HandOver::new(vec![local]).unwrap());
    let [one, two] = [(); 2].map(|()| {
        let mut site = Site::open_with(options);
        site.poller.join_hand_over(hand_over.add_worker()).unwrap();
        site.turn(0);
        site
    });
    (one, two, hand_over)
}

impl Site {
    /// One turn of a worker with this many free threads.
    fn turn(&mut self, free_threads: usize) -> Vec<Lent> {
        self.poller.set_vacant_threads(free_threads);
        self.poll(free_threads)
    }

    /// Takes the one request that is ready.
    fn take_one(&mut self) -> Lent {
        let mut ready = self.turn(1);
        assert_eq!(ready.len(), 1);
        ready.remove(0)
    }

    /// Hands the request of a client over that has just been received.
    fn receive_and_offer(&mut self) {
        self.poller.set_vacant_threads(0);
        let connection = self.poll(1).pop().unwrap();
        assert!(self.poller.is_movable(&connection));
        self.poller.hand_over(connection).unwrap();
        assert_eq!(self.poller.open(), 0);
    }

    fn count(&self, what: Count) -> u64 {
        self.handle.counters().get(what)
    }
}

fn read_response(client: &mut UnixStream) -> String {
    let mut buffer = [0; 4096];
    let count = client.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

#[test]
fn connection_that_was_handed_over_is_served_by_the_other_worker() {
    let (mut one, mut two, _) = two_workers();
    let mut client = one.client(REQUEST);
    one.receive_and_offer();
    for _ in 0..2 {
        let connection = two.take_one();
        two.answer(connection);
        assert!(two.turn(1).is_empty());
        assert!(read_response(&mut client).starts_with("HTTP/1.1 204"));
        client.write_all(REQUEST).unwrap();
        // The first worker has forgotten the connection, and the kernel has too.
        assert!(one.turn(0).is_empty() && one.poller.events.is_empty());
    }
    assert_eq!((one.count(Count::HandedOver), two.count(Count::TakenOver)), (1, 1));
}

#[test]
fn client_that_proxies_have_named_goes_with_the_request() {
    let header = include_bytes!("../../../../fuzz/seeds/proxy_header/v2-ssl");
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
    for (trusted, client) in [("203.0.113.1", Some("192.0.2.1")), ("127.0.0.1", None)] {
        let (mut one, mut two, _) = two_workers_with(&[
            ("proxy_protocol", "v2"),
            ("forwarded_headers", "for"),
            ("forwarded_allow_ips", trusted),
        ]);
        let mut socket = one.client(&[&header[..], request].concat());
        one.receive_and_offer();
        // The next request of the connection comes without a header of the PROXY protocol, too.
        for _ in 0..2 {
            let connection = two.take_one();
            assert_eq!(connection.peer.0, Some("203.0.113.1:4711".parse().unwrap()));
            let forwarded = connection.forwarded().unwrap();
            let ip = forwarded.client.map(|client| client.ip.to_string());
            assert_eq!((ip.as_deref(), forwarded.scheme), (client, Some(Scheme::Https)));
            two.answer(connection);
            assert!(two.turn(1).is_empty());
            assert!(read_response(&mut socket).starts_with("HTTP/1.1 204"));
            socket.write_all(request).unwrap();
        }
    }
}

#[test]
fn request_arrives_with_its_content_and_what_follows_it() {
    let post = |fields: &str, rest: &str| {
        format!("POST /p?q HTTP/1.1\r\nHost: a\r\nX-Field: 1\r\n{fields}\r\n{rest}").into_bytes()
    };
    for (sent, body, behind) in [
        (REQUEST.to_vec(), "", ""),
        (b"GET / HTTP/1.0\r\n\r\n".to_vec(), "", ""),
        ([REQUEST, b"GET /2"].concat(), "", "GET /2"),
        (post("Content-Length: 5\r\n", "hello"), "hello", ""),
        (post("Content-Length: 0\r\n", "GET"), "", "GET"),
        (post("Expect: 100-continue\r\nContent-Length: 2\r\n", "hi"), "hi", ""),
        (
            post("Transfer-Encoding: chunked\r\n", "2\r\nab\r\n1;x\r\nc\r\n0\r\nT: 1\r\n\r\n+"),
            "abc",
            "+",
        ),
        (post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), "", ""),
    ] {
        let (mut one, mut two, _) = two_workers();
        let mut client = one.client(&sent);
        let connection = one.take_one();
        let head = connection.http.head().bytes().to_vec();
        assert!(one.poller.is_movable(&connection));
        let (started, at) = (connection.waiting(), connection.head_complete_at);
        one.poller.hand_over(connection).unwrap();
        let mut connection = two.take_one();
        assert_eq!(connection.http.head().bytes(), head);
        let taken = connection.take_body();
        let content = match &taken {
            Body::Empty => b"",
            Body::Memory(bytes, start) => &bytes[*start..],
            Body::File(..) => panic!("a file"),
        };
        assert_eq!((content, &*connection.input), (body.as_bytes(), behind.as_bytes()));
        assert!(connection.head_complete_at <= at.max(started.since));
        assert_eq!(connection.http.received_bytes(), body.len() as u64);
        two.answer(connection);
        two.turn(1);
        let response = read_response(&mut client);
        assert!(response.starts_with("HTTP/1.1 204"), "no 100: {response}");
    }
}

#[test]
fn request_that_another_worker_cannot_continue_stays() {
    let large = |length: usize| {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        [head.into_bytes(), vec![b'x'; length]].concat()
    };
    for (sent, expected) in [
        (REQUEST.to_vec(), true),
        (large(MAX_MESSAGE / 2), true),
        (large(MAX_MESSAGE), false),
        ([REQUEST, &large(MAX_MESSAGE)].concat(), false),
    ] {
        let (mut one, _two, _) = two_workers();
        let _client = one.client(&sent);
        let connection = loop {
            if let Some(connection) = one.turn(1).pop() {
                break connection;
            }
        };
        assert_eq!(one.poller.is_movable(&connection), expected, "{}", sent.len());
        // When all workers end, it may find no other one.
        one.handle.stop();
        one.turn(0);
        assert!(!one.poller.is_movable(&connection));
    }
}

#[test]
fn message_waits_until_a_thread_is_free() {
    let (mut one, mut two, _) = two_workers();
    let clients = [REQUEST; 3].map(|request| {
        let client = one.client(request);
        one.receive_and_offer();
        client
    });
    assert!(two.turn(0).is_empty());
    assert_eq!(two.turn(2).len(), 2);
    assert!(two.turn(0).is_empty());
    // No event reports it again. The first worker may take it as well.
    assert_eq!(one.turn(2).len(), 1);
    drop(clients);
}

/// All workers may always have more requests than threads.
#[test]
fn message_that_has_waited_too_long_is_queued_by_a_worker_whose_threads_work() {
    let (mut one, mut two, _) = two_workers();
    let clients = [REQUEST; 3].map(|request| {
        let client = one.client(request);
        one.receive_and_offer();
        client
    });
    let set_since = |site: &mut Site, since: Moment| {
        let hand_over = site.poller.state.hand_over.as_mut().unwrap();
        hand_over.waiting_since.as_mut().unwrap().0 = since;
    };
    let wait = |site: &mut Site| set_since(site, Moment::from_nanos(0));
    assert!(two.turn(0).is_empty());
    two.poller.set_jobs_taken(1);
    // This test may be slow.
    let later = two.poller.state.now + Duration::from_secs(3600);
    set_since(&mut two, later);
    assert!(two.turn(0).is_empty(), "it has only just been sent");
    wait(&mut two);
    assert_eq!(two.turn(0).len(), 1);
    assert!(two.turn(0).is_empty(), "the next one waits as well");
    wait(&mut two);
    assert!(two.turn(0).is_empty(), "no thread has begun a request since");
    two.poller.set_jobs_taken(2);
    assert_eq!(two.turn(0).len(), 1);
    two.poller.set_jobs_taken(3);
    wait(&mut two);
    two.handle.retire();
    assert!(two.turn(0).is_empty(), "that is for its successor");
    drop(clients);
}

#[test]
fn free_thread_is_shown_to_other_workers_only_while_it_is_free() {
    let (one, mut two, _) = two_workers();
    assert!(one.poller.has_other_workers() && !one.poller.has_free_thread_elsewhere());
    two.turn(2);
    assert!(one.poller.has_free_thread_elsewhere());
    let reserved = [(); 3].map(|()| one.poller.reserve_thread_elsewhere());
    assert_eq!(reserved, [true, true, false]);
    let _client = two.client(REQUEST);
    assert_eq!(two.turn(1).len(), 1);
    assert!(!one.poller.has_free_thread_elsewhere(), "its only thread has a request");
    two.turn(1);
    assert!(one.poller.has_free_thread_elsewhere());
    two.poller.state.link.memory_budget.change_memory(0, usize::MAX / 2);
    two.turn(1);
    assert!(!one.poller.has_free_thread_elsewhere(), "it has no memory for the request");
    two.poller.state.link.memory_budget.change_memory(usize::MAX / 2, 0);
    two.turn(1);
    assert!(one.poller.has_free_thread_elsewhere());
    two.handle.retire();
    two.turn(1);
    assert!(!one.poller.has_free_thread_elsewhere());
}

#[test]
fn retiring_worker_serves_what_no_other_has_taken() {
    let (mut one, two, _) = two_workers();
    let mut client = one.client(REQUEST);
    one.receive_and_offer();
    one.handle.retire();
    one.turn(0);
    assert!(!one.poller.is_finished(), "its thread is busy");
    let connection = one.take_one();
    one.answer(connection);
    while !one.poller.is_finished() {
        assert!(one.turn(1).is_empty());
        let _ = client.shutdown(Shutdown::Write);
    }
    let response = read_response(&mut client);
    assert!(response.contains("Connection: close"), "{response}");
    drop(two);
}

#[test]
fn worker_that_retires_takes_from_others_only_at_its_end() {
    let (mut one, mut two, _) = two_workers();
    let kept = two.client(b"GET /");
    assert!(two.turn(1).is_empty());
    two.handle.retire();
    let _client = one.client(REQUEST);
    one.receive_and_offer();
    assert!(two.turn(1).is_empty(), "that is for its successor");
    drop(kept);
    assert_eq!(two.turn(1).len() + two.turn(1).len(), 1);
    assert!(!two.poller.is_finished());
}

#[test]
fn worker_that_ends_leaves_nothing_in_the_queue() {
    let (mut one, mut two, _) = two_workers();
    let _client = one.client(REQUEST);
    one.receive_and_offer();
    drop(one);
    two.handle.stop();
    let connection = two.take_one();
    assert!(!two.poller.is_finished());
    two.answer(connection);
    drop(_client);
    while !two.poller.is_finished() {
        assert!(two.turn(1).is_empty());
    }
}

#[test]
fn worker_whose_threads_are_stuck_ends_although_the_queue_has_messages() {
    let (mut one, _two, _) = two_workers();
    let _client = one.client(REQUEST);
    one.receive_and_offer();
    one.poller.set_stalled(true);
    one.handle.stop();
    one.turn(0);
    assert!(one.poller.is_finished());
}

#[test]
fn client_that_has_only_shut_its_side_is_served_after_the_hand_over() {
    let (mut one, mut two, _) = two_workers();
    let mut client = one.client(REQUEST);
    client.shutdown(Shutdown::Write).unwrap();
    one.receive_and_offer();
    let connection = two.take_one();
    // The kernel reports the end again, to another worker.
    assert!(two.turn(1).is_empty());
    assert_eq!(two.poller.verdict(&connection), super::super::Verdict::Keep);
    two.answer(connection);
    two.turn(1);
    assert!(read_response(&mut client).starts_with("HTTP/1.1 204"));
}

#[test]
fn request_that_has_waited_too_long_is_rejected_by_the_receiver() {
    let (mut one, mut two, _) = two_workers();
    let mut client = one.client(REQUEST);
    one.receive_and_offer();
    two.poller.state.overload.set_queue_timeout(Duration::ZERO);
    assert!(two.turn(1).is_empty());
    assert!(read_response(&mut client).starts_with("HTTP/1.1 503"));
    assert_eq!(two.count(Count::QueueTimeout), 1);
}

#[test]
fn malformed_message_costs_its_connection_only() {
    let (mut one, mut two, hand_over) = two_workers();
    let mut victims = Vec::new();
    for message in [&b""[..], b"nonsense", &[1; 100], &[0xff; MAX_MESSAGE]] {
        let (client, server) = UnixStream::pair().unwrap();
        hand_over.queue_for_tests().send(message, server.as_fd()).unwrap();
        victims.push(client);
    }
    // Not a socket.
    let file = tempfile::tempfile().unwrap();
    hand_over.queue_for_tests().send(b"nonsense", file.as_fd()).unwrap();
    let _client = one.client(REQUEST);
    one.receive_and_offer();
    let connection = two.take_one();
    assert_eq!((two.poller.open(), two.count(Count::TakenOver)), (1, 1));
    for mut victim in victims {
        assert_eq!(victim.read(&mut [0]).unwrap(), 0);
    }
    two.answer(connection);
}
