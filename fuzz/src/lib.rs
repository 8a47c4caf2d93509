//! Shared by the targets over whole connections: small limits, an application with valid and
//! broken responses, and checks of the output.

pub mod frames;
pub mod steps;

use std::io::{Read, Seek};

use rustwsgi::config::Settings;
use rustwsgi::http1::{self, Event, Limits, Next, ResponseHead};
use rustwsgi::net::{Body, Connection};

/// `--body-buffer-size`: a larger body goes to a file.
pub const BUFFER: usize = 64;
/// Small enough for a fuzzer to reach.
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

/// More than a socket takes at once.
pub const LARGE: [u8; 100_000] = [b'x'; 100_000];

const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The default settings with limits that a fuzzer can reach.
pub fn settings() -> Settings {
    let mut settings = rustwsgi::config::parse_api(&[]).expect("the defaults are good");
    settings.limits = LIMITS;
    settings.body_buffer = BUFFER;
    settings
}

/// What a connection must result in.
#[derive(Default)]
pub struct Outcome {
    pub requests: Vec<(Vec<u8>, Vec<u8>)>,
    pub sent: Vec<u8>,
    pub refusal: Option<u16>,
    pub reset: bool,
    /// The last response was aborted.
    pub cut: bool,
}

/// Predicts the result of a connection with the state machine of `http1` alone.
pub fn predict(data: &[u8], ways: &[u8]) -> Outcome {
    let mut http = http1::Connection::new(LIMITS);
    let (mut outcome, mut at, mut content) = (Outcome::default(), 0, vec![]);
    loop {
        match http.receive(&data[at..]) {
            Err(error) => {
                outcome.refusal = Some(error.status().0);
                return outcome;
            }
            Ok((used, event)) => {
                let piece = &data[at..at + used];
                at += used;
                match event {
                    Event::Head => {}
                    Event::Content(range) => content.extend_from_slice(&piece[range]),
                    Event::NeedMore => return outcome,
                    Event::End => {
                        let way = way(ways, outcome.requests.len());
                        let head = http.head().bytes().to_vec();
                        outcome.requests.push((head, std::mem::take(&mut content)));
                        answer(&mut http, way, &LARGE, &mut outcome.sent);
                        outcome.cut = http.is_cut_short();
                        match http.start_next() {
                            Next::Request => {}
                            Next::Close => return outcome,
                            Next::Reset => {
                                outcome.reset = true;
                                return outcome;
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Selects one of eight kinds of response for request number `request`.
pub fn way(ways: &[u8], request: usize) -> u8 {
    ways.get(request % ways.len().max(1)).map_or(0, |byte| byte & 7)
}

/// Writes one of eight kinds of response, three of which are aborted. `large` is the body of one.
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

/// The head and the body of a request as the application gets them.
pub fn request(connection: &mut Connection) -> (Vec<u8>, Vec<u8>) {
    let mut content = vec![];
    match connection.take_body() {
        Body::Empty => {}
        Body::Memory(bytes, start) => {
            let bytes = &bytes[start..];
            assert!(bytes.len() <= BUFFER, "{} bytes are kept in memory", bytes.len());
            content = bytes.to_vec();
        }
        Body::File(mut file, length) => {
            file.rewind().expect("a file");
            file.read_to_end(&mut content).expect("a file");
            assert_eq!(content.len() as u64, length);
        }
    }
    (connection.http.head().bytes().to_vec(), content)
}

/// `received` without its 100 (Continue) responses, which depend on how the input was split.
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

/// Checks that the responses are followed by this error response only, or by nothing.
pub fn check_refusal(rest: &[u8], status: Option<u16>) {
    let Some(status) = status else {
        assert!(rest.is_empty(), "output after the last response");
        return;
    };
    assert!(
        rest.starts_with(format!("HTTP/1.1 {status} ").as_bytes()),
        "no error response with {status}"
    );
    // The page may mention HTTP/1.1, but not at the start of a line.
    let another = rest.windows(10).any(|window| window == b"\nHTTP/1.1 ");
    assert!(!another, "another response after the error response");
}
