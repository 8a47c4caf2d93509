//! Properties, tried exhaustively rather than at random: where the network cuts a request changes
//! nothing, whatever single byte of it is wrong; and what is framed can be read back.

use super::*;

/// Requests that between them go through every state of the reading half.
const REQUESTS: [&str; 4] = [
    "\r\nGET /p?q HTTP/1.1\r\nHost: a:1\r\nX:  y z\t\r\n\r\n",
    "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "PUT http://h HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n\r\nabc\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
     3;n=\"q\\\"\" ; t = v\r\nabc\r\n0a\r\n0123456789\r\n0;e\r\nX: y\r\n\r\n",
];

#[test]
fn a_cut_changes_nothing() {
    for request in REQUESTS {
        let bytes = request.as_bytes();
        let whole = read(bytes);
        assert_eq!(whole.outcome, Outcome::Complete(bytes.len()), "{request:?}");
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut connection = Connection::new(Limits::default());
                let next = |arrived| match arrived {
                    _ if arrived < first => first,
                    _ if arrived < second => second,
                    _ => bytes.len(),
                };
                let story = read_at(&mut connection, bytes, next);
                assert_eq!(story, whole, "{request:?} cut at {first} and {second}");
            }
        }
    }
}

#[test]
fn one_wrong_byte_is_read_alike_in_every_way() {
    // Each byte of each request is replaced by each other. `read_with` compares the three ways.
    for request in REQUESTS {
        for at in 0..request.len() {
            for byte in 0..=u8::MAX {
                let mut bytes = request.as_bytes().to_vec();
                bytes[at] = byte;
                read(&bytes);
            }
        }
    }
}

#[test]
fn one_lost_or_doubled_byte_is_read_alike_in_every_way() {
    for request in REQUESTS {
        for at in 0..request.len() {
            let (before, after) = request.as_bytes().split_at(at);
            read([before, &after[1..]].concat());
            read([before, &after[..1], after].concat());
        }
    }
}

#[test]
fn what_is_chunked_can_be_read_back() {
    // The server's encoder against its own decoder: blocks of many sizes, as one request's content.
    let blocks: Vec<Vec<u8>> =
        (0..300usize).map(|n| (0..n * n % 521).map(|i| (i * 7 + n) as u8).collect()).collect();
    let mut connection = connection_after(&get(""));
    connection.begin(&response("200 OK", &[]), None, DATE, &mut Vec::new());
    let mut wire = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for block in &blocks {
        let frame = connection.frame(block.len());
        wire.extend_from_slice(frame.prefix());
        wire.extend_from_slice(&block[..frame.take]);
        wire.extend_from_slice(frame.suffix);
    }
    connection.finish(&mut wire).unwrap();
    let (_, content) = accepted(&wire);
    assert_eq!(connection.sent_bytes(), content.len() as u64);
    assert!(content == blocks.concat());
}
