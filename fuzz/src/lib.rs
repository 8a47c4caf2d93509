//! What the targets over whole connections share: small limits, an application that answers well and
//! badly, and a way to look at what came of it.

use std::io::{Read, Seek};

use rustwsgi::config::Settings;
use rustwsgi::http1::{self, Limits, ResponseHead};
use rustwsgi::net::{Body, Connection};

/// Larger content goes to a file.
pub const BUFFER: usize = 64;
/// Small enough that a fuzzer reaches them.
pub const LIMITS: Limits = Limits {
    request_line: 256,
    fields: 10,
    field_size: 256,
    head: 1024,
    body: 2048,
    chunk_extension: 64,
    trailers: 256,
    underscores: http1::Underscores::Drop,
};

const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The defaults, but for what a fuzzer could not reach.
pub fn settings() -> Settings {
    let mut settings = rustwsgi::config::parse_api(&[]).expect("the defaults are good");
    settings.limits = LIMITS;
    settings.body_buffer = BUFFER;
    settings
}

/// Which of eight ways the request of this number is answered in.
pub fn way(ways: &[u8], request: usize) -> u8 {
    ways.get(request % ways.len().max(1)).map_or(0, |byte| byte & 7)
}

/// Answers a request in one of eight ways, three of which break off. `large` is what one of them has to
/// say.
pub fn answer(http: &mut http1::Connection, way: u8, large: &[u8], out: &mut Vec<u8>) {
    let mut head = ResponseHead::default();
    let status: &[u8] = if way == 5 { b"204 No Content" } else { b"200 OK" };
    head.start(status).expect("a good status");
    let field: Option<(&[u8], &[u8])> = match way {
        2 => Some((b"Content-Length", b"9")),
        4 => Some((b"Connection", b"close")),
        _ => None,
    };
    if let Some((name, value)) = field {
        head.add_field(name, value).expect("a good field");
    }
    http.begin(&head, (way == 0).then_some(5), DATE, out);
    let blocks: &[&[u8]] = if way == 6 { &[large, b"", b"end"] } else { &[b"", b"hello"] };
    for block in blocks {
        let frame = http.frame(block.len());
        out.extend_from_slice(frame.prefix());
        out.extend_from_slice(&block[..frame.take]);
        out.extend_from_slice(frame.suffix);
    }
    if way == 3 {
        http.abort();
    } else {
        let _ = http.finish(out);
    }
}

/// The head and the content of a request as the application would get it.
pub fn request(connection: &mut Connection) -> (Vec<u8>, Vec<u8>) {
    let mut content = vec![];
    match std::mem::take(&mut connection.body) {
        Body::Empty => {}
        Body::Memory(bytes) => {
            assert!(bytes.len() <= BUFFER, "{} bytes are kept in memory", bytes.len());
            content = bytes;
        }
        Body::File(mut file, length) => {
            file.rewind().expect("a file");
            file.read_to_end(&mut content).expect("a file");
            assert_eq!(content.len() as u64, length);
        }
    }
    (connection.http.head().bytes().to_vec(), content)
}

/// What was received but for the answers to `Expect`: whether a client is told to continue depends on the
/// pieces.
pub fn without_interim(received: &[u8]) -> Vec<u8> {
    let mut rest = vec![];
    let mut at = 0;
    while at < received.len() {
        if received[at..].starts_with(CONTINUE) {
            at += CONTINUE.len();
        } else {
            rest.push(received[at]);
            at += 1;
        }
    }
    rest
}

/// What follows the responses must be this refusal and nothing else, or nothing.
pub fn check_refusal(rest: &[u8], status: Option<u16>) {
    let Some(status) = status else {
        assert!(rest.is_empty(), "more than was sent");
        return;
    };
    assert!(rest.starts_with(format!("HTTP/1.1 {status} ").as_bytes()), "no refusal by {status}");
    // The page may speak of HTTP/1.1, but no line of it begins so.
    let another = rest.windows(10).any(|window| window == b"\nHTTP/1.1 ");
    assert!(!another, "one refusal, and the end");
}
