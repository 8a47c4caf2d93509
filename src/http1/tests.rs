//! Unit tests of the whole core through its public types.
//!
//! Each request is read in three ways: whole, byte by byte, and followed by another request. All
//! three must give the same result, so that neither the packets of the network nor pipelining can
//! change what a request means. These helpers check for each case that no byte of the next request
//! is used and that nothing is read after an error; the tables do not repeat that.

mod chunked;
mod connections;
mod fields;
mod framing;
mod limits;
mod line;
mod response_framing;
mod responses;
mod splits;

use super::*;

/// The request that follows when a request is read in the third way.
const NEXT_REQUEST: &[u8] = b"DELETE /next HTTP/1.1\r\nHost: next\r\n\r\n";
/// An HTTP-date, which the caller of the core supplies.
const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

/// A copy of all that a head says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HeadCopy {
    method: String,
    raw_target: String,
    path: String,
    query: String,
    authority: Option<String>,
    version: Version,
    fields: Vec<(String, String)>,
    framing: Framing,
    keep_alive: bool,
    expect_continue: bool,
}

impl HeadCopy {
    fn of(head: &Head) -> HeadCopy {
        HeadCopy {
            method: text(head.method()),
            raw_target: text(head.raw_target()),
            path: text(head.path()),
            query: text(head.query()),
            authority: head.authority().map(text),
            version: head.version(),
            fields: head.fields().map(|(name, value)| (text(name), text(value))).collect(),
            framing: head.framing(),
            keep_alive: head.keep_alive(),
            expect_continue: head.expect_continue(),
        }
    }

    /// The values of all fields of this name.
    fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect()
    }
}

/// How the reading of one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is complete, and used this many bytes.
    Complete(usize),
    /// More bytes are needed.
    Unfinished,
    Rejected(Error),
}

/// The events of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parsed {
    head: Option<HeadCopy>,
    content: Vec<u8>,
    outcome: Outcome,
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Reads one request from `input`. Whenever more bytes are needed, `step` of them arrive.
fn read_in_steps(connection: &mut Connection, input: &[u8], step: usize) -> Parsed {
    read_with_arrivals(connection, input, |arrived| arrived + step)
}

/// Reads one request. Whenever more bytes are needed, `next` maps the number that has arrived to
/// the new one.
fn read_with_arrivals(
    connection: &mut Connection,
    input: &[u8],
    next: impl Fn(usize) -> usize,
) -> Parsed {
    let mut parsed = Parsed { head: None, content: Vec::new(), outcome: Outcome::Unfinished };
    let (mut at, mut arrived) = (0, next(0).min(input.len()));
    loop {
        let (used, event) = match connection.receive(&input[at..arrived]) {
            Ok(step) => step,
            Err(error) => {
                parsed.outcome = Outcome::Rejected(error);
                return parsed;
            }
        };
        assert!(at + used <= arrived, "used more than there is");
        match event {
            Event::Head => {
                assert!(parsed.head.is_none(), "two heads");
                parsed.head = Some(HeadCopy::of(connection.head()));
            }
            Event::Content(range) => {
                assert!(!range.is_empty() && range.end <= used, "{range:?} of {used}");
                parsed.content.extend_from_slice(&input[at..][range]);
                assert_eq!(connection.received_bytes(), parsed.content.len() as u64);
            }
            Event::End => {
                parsed.outcome = Outcome::Complete(at + used);
                return parsed;
            }
            Event::NeedMore if arrived == input.len() => return parsed,
            Event::NeedMore => arrived = next(arrived).min(input.len()),
        }
        at += used;
    }
}

/// Sends a response without content. Returns its bytes, and what to do with the connection.
fn respond(connection: &mut Connection, status: &str) -> (String, Next) {
    let mut response = ResponseHead::default();
    response.start(status.as_bytes()).unwrap();
    let mut out = Vec::new();
    connection.begin(&response, Some(0), DATE, &mut out);
    connection.finish(&mut out).unwrap();
    (text(&out), connection.start_next())
}

/// Reads `input` in the three ways.
fn read_with(limits: Limits, input: &[u8]) -> Parsed {
    let mut connection = Connection::new(limits);
    let whole = read_in_steps(&mut connection, input, input.len().max(1));
    check_next_request(&mut connection, &whole, &[]);

    let mut connection = Connection::new(limits);
    let bytewise = read_in_steps(&mut connection, input, 1);
    assert_eq!(whole, bytewise, "whole and byte by byte: {}", text(input));
    check_next_request(&mut connection, &whole, &[]);

    if whole.outcome != Outcome::Unfinished {
        let following = [input, NEXT_REQUEST].concat();
        let mut connection = Connection::new(limits);
        let followed = read_in_steps(&mut connection, &following, following.len());
        assert_eq!(whole, followed, "alone and followed by a request: {}", text(input));
        check_next_request(&mut connection, &whole, NEXT_REQUEST);
    }
    whole
}

/// Checks that a complete request uses no byte of the next one, and that a rejected request is the
/// last of its connection.
fn check_next_request(connection: &mut Connection, parsed: &Parsed, following: &[u8]) {
    match parsed.outcome {
        Outcome::Unfinished => {}
        Outcome::Complete(_) => {
            assert_eq!(
                connection.receive(following),
                Ok((0, Event::NeedMore)),
                "used before the response"
            );
            let (_, next) = respond(connection, "204 No Content");
            if parsed.head.as_ref().is_some_and(|head| head.keep_alive) {
                assert_eq!(next, Next::Request);
                assert!(connection.is_idle());
                if !following.is_empty() {
                    let second = read_in_steps(connection, following, following.len());
                    assert_eq!(second.outcome, Outcome::Complete(following.len()));
                    assert_eq!(second.head.unwrap().path, "/next");
                }
            } else {
                assert_eq!(next, Next::Close);
            }
        }
        Outcome::Rejected(error) => {
            assert!(!connection.wants_head() && !connection.wants_content());
            assert_eq!(
                connection.receive(NEXT_REQUEST),
                Ok((0, Event::NeedMore)),
                "read after an error"
            );
            let (code, reason) = error.status();
            let (sent, next) = respond(connection, &format!("{code} {reason}"));
            assert!(sent.contains("Connection: close"), "{sent}");
            assert_eq!(next, Next::Close);
            assert_eq!(
                connection.receive(NEXT_REQUEST),
                Ok((0, Event::NeedMore)),
                "read after an error"
            );
        }
    }
}

fn read(input: impl AsRef<[u8]>) -> Parsed {
    read_with(Limits::default(), input.as_ref())
}

/// The head and the content of a request that is complete with the last byte of `input`.
#[track_caller]
fn accepted(input: impl AsRef<[u8]>) -> (HeadCopy, Vec<u8>) {
    let input = input.as_ref();
    let parsed = read(input);
    assert_eq!(parsed.outcome, Outcome::Complete(input.len()), "{}", text(input));
    (parsed.head.unwrap(), parsed.content)
}

#[track_caller]
fn assert_rejected(input: impl AsRef<[u8]>, error: Error) {
    let input = input.as_ref();
    assert_eq!(read(input).outcome, Outcome::Rejected(error), "{}", text(input));
}

/// Asserts that `input` is rejected with one of these statuses.
#[track_caller]
fn assert_status(input: impl AsRef<[u8]>, statuses: &[u16]) {
    let input = input.as_ref();
    match read(input).outcome {
        Outcome::Rejected(error) if statuses.contains(&error.status().0) => {}
        outcome => panic!("{outcome:?}: {}", text(input)),
    }
}

/// A GET with these field lines, each with its CRLF, after Host.
fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// A connection that has read `request`, which is complete.
fn connection_after(request: &str) -> Connection {
    let mut connection = Connection::new(Limits::default());
    let parsed = read_in_steps(&mut connection, request.as_bytes(), request.len());
    assert_eq!(parsed.outcome, Outcome::Complete(request.len()), "{request}");
    connection
}

/// A response head of this status and these fields.
fn response(status: &str, fields: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead::default();
    head.start(status.as_bytes()).unwrap();
    for (name, value) in fields {
        head.add_field(name.as_bytes(), value.as_bytes()).unwrap();
    }
    head
}

/// No wildcard: a new error does not compile until its status is listed here.
fn expected_status(error: Error) -> u16 {
    match error {
        Error::BareLf
        | Error::RequestLine
        | Error::Method
        | Error::Tls
        | Error::ProxyHeader
        | Error::LeadingEmptyLines
        | Error::Target
        | Error::VersionSyntax
        | Error::Field
        | Error::Underscore
        | Error::Host
        | Error::MissingHost
        | Error::RepeatedContentType
        | Error::ContentLength
        | Error::ConflictingFraming
        | Error::TransferEncoding
        | Error::Chunk
        | Error::ChunkExtension
        | Error::Trailer => 400,
        Error::BodyTooLarge => 413,
        Error::RequestLineTooLong => 414,
        Error::Expectation => 417,
        Error::Misdirected => 421,
        Error::TooManyFields
        | Error::FieldTooLong
        | Error::HeadTooLarge
        | Error::HeaderListTooLarge
        | Error::TrailersTooLarge => 431,
        Error::UnknownTransferCoding | Error::Connect => 501,
        Error::Version => 505,
    }
}

#[test]
fn every_error_has_a_status_and_a_message() {
    // One request for each error.
    let chunked = |body: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    let limits = Limits {
        request_line: 60,
        fields: 3,
        field_size: 60,
        head: 200,
        body: 10,
        chunk_extension: 4,
        trailers: 20,
        underscores: Underscores::Refuse,
    };
    for (input, error) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n".into(), Error::BareLf),
        ("GET /\r\n\r\n".into(), Error::RequestLine),
        ("G@T / HTTP/1.1\r\n\r\n".into(), Error::Method),
        ("\x16\x03\x01\x02".into(), Error::Tls),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n\r\n".into(), Error::ProxyHeader),
        ("\r\n\r\n\0\r\nQUIT\n".into(), Error::LeadingEmptyLines),
        ("GET # HTTP/1.1\r\n\r\n".into(), Error::Target),
        ("GET / HTTP/x.1\r\n\r\n".into(), Error::VersionSyntax),
        (get("no colon\r\n"), Error::Field),
        (get("X_Y: 1\r\n"), Error::Underscore),
        ("GET / HTTP/1.1\r\n\r\n".into(), Error::MissingHost),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n".into(), Error::Host),
        (get("Content-Type: a/b\r\nContent-Type: a/b\r\n"), Error::RepeatedContentType),
        (get("Content-Length: x\r\n"), Error::ContentLength),
        (get("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"), Error::ConflictingFraming),
        (get("Transfer-Encoding: x\r\n"), Error::TransferEncoding),
        (chunked("x"), Error::Chunk),
        (chunked("1;abcd\r\n"), Error::ChunkExtension),
        (chunked("0\r\nno colon\r\n\r\n"), Error::Trailer),
        (get("Content-Length: 11\r\n"), Error::BodyTooLarge),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(60)), Error::RequestLineTooLong),
        (get("Expect: more\r\n"), Error::Expectation),
        ("GET https://a/ HTTP/1.1\r\n\r\n".into(), Error::Misdirected),
        (get("A: 1\r\nB: 2\r\nC: 3\r\n"), Error::TooManyFields),
        (get(&format!("A: {}\r\n", "a".repeat(60))), Error::FieldTooLong),
        (get(&format!("A: {0}\r\nB: {0}\r\nC: {0}\r\n", "a".repeat(57))), Error::HeadTooLarge),
        (chunked(&format!("0\r\nA: {}\r\n\r\n", "a".repeat(20))), Error::TrailersTooLarge),
        (get("Transfer-Encoding: gzip, chunked\r\n"), Error::UnknownTransferCoding),
        ("CONNECT a:80 HTTP/1.1\r\n\r\n".into(), Error::Connect),
        ("GET / HTTP/2.0\r\n\r\n".into(), Error::Version),
    ] {
        let input: String = input;
        let parsed = read_with(limits, input.as_bytes());
        assert_eq!(parsed.outcome, Outcome::Rejected(error), "{input}");
        let (code, reason) = error.status();
        assert_eq!(code, expected_status(error), "{error:?}");
        // Code and reason phrase are a valid status for a response.
        assert_eq!(ResponseHead::default().start(format!("{code} {reason}").as_bytes()), Ok(()));
        assert!(!error.to_string().is_empty());
    }
}
