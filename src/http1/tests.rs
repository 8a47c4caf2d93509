//! Unit tests of the whole core, through its door.
//!
//! Every request is read three ways: whole, byte by byte, and with a further request right behind
//! it. All three must tell the same story, so that neither the network's packets nor what a client
//! sends ahead can change what a request means. What is checked here for each case (nothing of the
//! next request is used, nothing is read after an error) is not repeated in the tables.

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

/// The request that follows in the third way.
const NEXT: &[u8] = b"DELETE /next HTTP/1.1\r\nHost: next\r\n\r\n";
/// An HTTP-date, as the caller of the core supplies it.
const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";

/// What a head said, copied out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
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

impl Told {
    fn of(head: &Head) -> Told {
        Told {
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
    /// It is complete, and used so many bytes.
    Complete(usize),
    /// More bytes are needed.
    Unfinished,
    Refused(Error),
}

/// All events of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Story {
    head: Option<Told>,
    content: Vec<u8>,
    outcome: Outcome,
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Reads one request from `input`, of which `step` more bytes arrive whenever more are needed.
fn read_in_steps(connection: &mut Connection, input: &[u8], step: usize) -> Story {
    read_at(connection, input, |arrived| arrived + step)
}

/// Reads one request; `next` says how many bytes have arrived after more were needed.
fn read_at(connection: &mut Connection, input: &[u8], next: impl Fn(usize) -> usize) -> Story {
    let mut story = Story { head: None, content: Vec::new(), outcome: Outcome::Unfinished };
    let (mut at, mut arrived) = (0, next(0).min(input.len()));
    loop {
        let (used, event) = match connection.receive(&input[at..arrived]) {
            Ok(step) => step,
            Err(error) => {
                story.outcome = Outcome::Refused(error);
                return story;
            }
        };
        assert!(at + used <= arrived, "used more than there is");
        match event {
            Event::Head => {
                assert!(story.head.is_none(), "two heads");
                story.head = Some(Told::of(connection.head()));
            }
            Event::Content(range) => {
                assert!(!range.is_empty() && range.end <= used, "{range:?} of {used}");
                story.content.extend_from_slice(&input[at..][range]);
                assert_eq!(connection.received(), story.content.len() as u64);
            }
            Event::End => {
                story.outcome = Outcome::Complete(at + used);
                return story;
            }
            Event::NeedMore if arrived == input.len() => return story,
            Event::NeedMore => arrived = next(arrived).min(input.len()),
        }
        at += used;
    }
}

/// Answers with a status that has no content; returns what is sent and what follows.
fn answer(connection: &mut Connection, status: &str) -> (String, Next) {
    let mut response = ResponseHead::default();
    response.start(status.as_bytes()).unwrap();
    let mut out = Vec::new();
    connection.begin(&response, Some(0), DATE, &mut out);
    connection.finish(&mut out).unwrap();
    (text(&out), connection.start_next())
}

/// Reads `input` in the three ways.
fn read_with(limits: Limits, input: &[u8]) -> Story {
    let mut connection = Connection::new(limits);
    let whole = read_in_steps(&mut connection, input, input.len().max(1));
    check_what_follows(&mut connection, &whole, &[]);

    let mut connection = Connection::new(limits);
    let bytewise = read_in_steps(&mut connection, input, 1);
    assert_eq!(whole, bytewise, "whole and byte by byte: {}", text(input));
    check_what_follows(&mut connection, &whole, &[]);

    if whole.outcome != Outcome::Unfinished {
        let behind = [input, NEXT].concat();
        let mut connection = Connection::new(limits);
        let followed = read_in_steps(&mut connection, &behind, behind.len());
        assert_eq!(whole, followed, "alone and with a request behind: {}", text(input));
        check_what_follows(&mut connection, &whole, NEXT);
    }
    whole
}

/// A complete request leaves the next one alone; a refused one is the connection's last.
fn check_what_follows(connection: &mut Connection, story: &Story, behind: &[u8]) {
    match story.outcome {
        Outcome::Unfinished => {}
        Outcome::Complete(_) => {
            assert_eq!(connection.receive(behind), Ok((0, Event::NeedMore)), "eaten too early");
            let (_, next) = answer(connection, "204 No Content");
            if story.head.as_ref().is_some_and(|head| head.keep_alive) {
                assert_eq!(next, Next::Request);
                assert!(connection.is_idle());
                if !behind.is_empty() {
                    let second = read_in_steps(connection, behind, behind.len());
                    assert_eq!(second.outcome, Outcome::Complete(behind.len()));
                    assert_eq!(second.head.unwrap().path, "/next");
                }
            } else {
                assert_eq!(next, Next::Close);
            }
        }
        Outcome::Refused(error) => {
            assert!(!connection.wants_head() && !connection.wants_content());
            assert_eq!(connection.receive(NEXT), Ok((0, Event::NeedMore)), "read after an error");
            let (code, reason) = error.status();
            let (sent, next) = answer(connection, &format!("{code} {reason}"));
            assert!(sent.contains("Connection: close"), "{sent}");
            assert_eq!(next, Next::Close);
            assert_eq!(connection.receive(NEXT), Ok((0, Event::NeedMore)), "read after an error");
        }
    }
}

fn read(input: impl AsRef<[u8]>) -> Story {
    read_with(Limits::default(), input.as_ref())
}

/// The head and the content of a request that is complete with the last byte of `input`.
#[track_caller]
fn accepted(input: impl AsRef<[u8]>) -> (Told, Vec<u8>) {
    let input = input.as_ref();
    let story = read(input);
    assert_eq!(story.outcome, Outcome::Complete(input.len()), "{}", text(input));
    (story.head.unwrap(), story.content)
}

#[track_caller]
fn assert_refused(input: impl AsRef<[u8]>, error: Error) {
    let input = input.as_ref();
    assert_eq!(read(input).outcome, Outcome::Refused(error), "{}", text(input));
}

/// `input` is refused with one of these statuses.
#[track_caller]
fn assert_status(input: impl AsRef<[u8]>, statuses: &[u16]) {
    let input = input.as_ref();
    match read(input).outcome {
        Outcome::Refused(error) if statuses.contains(&error.status().0) => {}
        outcome => panic!("{outcome:?}: {}", text(input)),
    }
}

/// A GET with these field lines, each with its CRLF, behind Host.
fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// A connection that has read `request`, which is complete.
fn connection_after(request: &str) -> Connection {
    let mut connection = Connection::new(Limits::default());
    let story = read_in_steps(&mut connection, request.as_bytes(), request.len());
    assert_eq!(story.outcome, Outcome::Complete(request.len()), "{request}");
    connection
}

/// A response head of this status and these fields.
fn response(status: &str, fields: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead::default();
    head.start(status.as_bytes()).unwrap();
    for (name, value) in fields {
        head.field(name.as_bytes(), value.as_bytes()).unwrap();
    }
    head
}

#[test]
fn every_error_knows_its_status() {
    // No wildcard: a new error does not compile until its status is decided here too.
    let expected = |error| match error {
        Error::BareLf
        | Error::RequestLine
        | Error::Method
        | Error::Tls
        | Error::Target
        | Error::VersionSyntax
        | Error::Field
        | Error::Underscore
        | Error::Host
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
        Error::FieldsTooLarge => 431,
        Error::UnknownTransferCoding | Error::Connect => 501,
        Error::Version => 505,
    };
    // One request for each.
    let chunked = |body: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    let limits = Limits {
        request_line: 60,
        fields: 3,
        body: 10,
        chunk_extension: 4,
        underscores: Underscores::Refuse,
        ..Limits::default()
    };
    for (input, error) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n".into(), Error::BareLf),
        ("GET /\r\n\r\n".into(), Error::RequestLine),
        ("G@T / HTTP/1.1\r\n\r\n".into(), Error::Method),
        ("\x16\x03\x01\x02".into(), Error::Tls),
        ("GET # HTTP/1.1\r\n\r\n".into(), Error::Target),
        ("GET / HTTP/x.1\r\n\r\n".into(), Error::VersionSyntax),
        (get("no colon\r\n"), Error::Field),
        (get("X_Y: 1\r\n"), Error::Underscore),
        ("GET / HTTP/1.1\r\n\r\n".into(), Error::Host),
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
        (get("A: 1\r\nB: 2\r\nC: 3\r\n"), Error::FieldsTooLarge),
        (get("Transfer-Encoding: gzip, chunked\r\n"), Error::UnknownTransferCoding),
        ("CONNECT a:80 HTTP/1.1\r\n\r\n".into(), Error::Connect),
        ("GET / HTTP/2.0\r\n\r\n".into(), Error::Version),
    ] {
        let input: String = input;
        let story = read_with(limits, input.as_bytes());
        assert_eq!(story.outcome, Outcome::Refused(error), "{input}");
        let (code, reason) = error.status();
        assert_eq!(code, expected(error), "{error:?}");
        // The pair is a status line that the response half takes.
        assert_eq!(ResponseHead::default().start(format!("{code} {reason}").as_bytes()), Ok(()));
        assert!(!error.to_string().is_empty());
    }
}
