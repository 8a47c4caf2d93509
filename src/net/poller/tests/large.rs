//! Large responses to clients on the same machine.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::{REQUEST, Site};
use crate::config::Bind;
use crate::net::arena::ConnectionId;
use crate::net::tuning::MAX_LARGE_WRITES;

#[test]
fn large_response_waits_until_another_one_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut site = Site::open_at(&Bind::Tcp("127.0.0.1".into(), 0), directory, &[]);
    let port = site.poller.listeners[0].1.port.parse().unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    client.write_all(REQUEST).unwrap();
    let connection = loop {
        if let Some(connection) = site.poll(1).pop() {
            break connection;
        }
    };
    // Responses to other clients, which do not end in the time of this test.
    let others = (0..MAX_LARGE_WRITES).map(|number| ConnectionId::from_token(1000 + number));
    let later = site.poller.state.now + Duration::from_secs(3600);
    others.clone().for_each(|id| assert!(site.poller.state.large.begin_or_wait(id, later)));
    site.answer_at_length(connection);
    site.poll(1);
    site.poll(1);
    client.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 1 << 20];
    assert_eq!(client.read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    others.take(1).for_each(|id| site.poller.state.large.end(id));
    let mut received = 0;
    while received < 16 << 20 {
        site.poll(1);
        received += client.read(&mut buffer).unwrap_or(0);
    }
    // Its place is free again.
    assert!(site.poller.state.large.begin_or_wait(ConnectionId::from_token(2000), later));
}
