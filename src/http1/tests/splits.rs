//! Properties, checked exhaustively: a request is read alike wherever the network cuts it, even if
//! any one byte of it is wrong; and the decoder reads back what the encoder has written.

use super::*;

/// Requests that together reach every state of reading.
const REQUESTS: [&str; 4] = [
    "\r\nGET /p?q HTTP/1.1\r\nHost: a:1\r\nX:  y z\t\r\n\r\n",
    "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "PUT http://h HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n\r\nabc\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
     3;n=\"q\\\"\" ; t = v\r\nabc\r\n0a\r\n0123456789\r\n0;e\r\nX: y\r\n\r\n",
];

#[test]
fn request_cut_at_any_two_places_is_read_alike() {
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
                let parsed = read_with_arrivals(&mut connection, bytes, next);
                assert_eq!(parsed, whole, "{request:?} cut at {first} and {second}");
            }
        }
    }
}

#[test]
fn request_with_one_byte_replaced_is_read_alike() {
    // Each byte of each request is replaced by each value. `read_with` compares the three ways.
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
fn request_with_one_byte_lost_or_doubled_is_read_alike() {
    for request in REQUESTS {
        for at in 0..request.len() {
            let (before, after) = request.as_bytes().split_at(at);
            read([before, &after[1..]].concat());
            read([before, &after[..1], after].concat());
        }
    }
}

#[test]
fn encoded_chunks_are_decoded_to_the_same_content() {
    // The encoder of responses against the decoder of requests, with blocks of many sizes.
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
