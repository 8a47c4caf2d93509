//! Each limit at its boundary: a request of exactly that size is served, one byte or field more is
//! rejected with the status of the limit.

use super::*;

/// Reads `input` under `limits`. Returns the status that it is rejected with.
#[track_caller]
fn status(limits: Limits, input: &str) -> Option<u16> {
    match read_with(limits, input.as_bytes()).outcome {
        Outcome::Complete(used) => {
            assert_eq!(used, input.len());
            None
        }
        Outcome::Rejected(error) => Some(error.status().0),
        Outcome::Unfinished => panic!("unfinished: {input:?}"),
    }
}

/// Checks the limit that `set` sets. `make(n)` makes a request that has `n` of what is limited;
/// [`NEXT_REQUEST`] must not exceed the limit `least`.
#[track_caller]
fn check(set: fn(&mut Limits, usize), make: impl Fn(usize) -> String, least: usize, code: u16) {
    for limit in [least, least + 1, least + 37] {
        let mut limits = Limits::default();
        set(&mut limits, limit);
        if limit > least {
            assert_eq!(status(limits, &make(limit - 1)), None, "below {limit}");
        }
        assert_eq!(status(limits, &make(limit)), None, "at {limit}");
        assert_eq!(status(limits, &make(limit + 1)), Some(code), "above {limit}");
        assert_eq!(status(limits, &make(limit + 50)), Some(code), "far above {limit}");
    }
}

fn chunked(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

/// A string of `n` bytes.
fn fill(n: usize) -> String {
    "a".repeat(n)
}

#[test]
fn large_heads_and_trailers_are_reported_as_held() {
    let mut connection = Connection::new(Limits::default());
    let mut receive = |input: &str| {
        let mut used = 0;
        while let (took, event) = connection.receive(&input.as_bytes()[used..]).unwrap()
            && !matches!(event, Event::NeedMore | Event::End)
        {
            used += took;
        }
        let held = connection.held_bytes();
        if !connection.wants_content() && !connection.is_idle() {
            connection.begin(&ResponseHead::default(), None, b"", &mut Vec::new());
            connection.finish(&mut Vec::new()).unwrap();
            assert_eq!(connection.start_next(), Next::Request);
            assert_eq!(connection.held_bytes(), 0, "between requests");
        }
        held
    };
    assert_eq!(receive(&get("")), 0, "small heads are not counted");
    assert!((8000..12_000).contains(&receive(&get(&format!("X: {}\r\n", fill(8000))))));
    assert!((1_800..6_000).contains(&receive(&get(&"X:\r\n".repeat(90)))), "many small fields");
    let trailers = receive(&chunked(&format!("1\r\nx\r\n0\r\nX: {}", fill(5000))));
    assert!((5000..15_000).contains(&trailers), "{trailers}");
}

#[test]
fn request_line_over_limit_is_414() {
    // Neither its CRLF nor an empty line before it counts.
    for before in ["", "\r\n"] {
        let make = |n| format!("{before}GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", fill(n - 14));
        check(|limits, n| limits.request_line = n, make, 21, 414);
    }
}

#[test]
fn field_size_over_limit_is_431() {
    let make = |n| get(&format!("X: {}\r\n", fill(n - 3)));
    check(|limits, n| limits.field_size = n, make, 10, 431);
    // A long name counts like a long value, and a dropped field like the others.
    let make = |n| get(&format!("{}:\r\n", fill(n - 1)));
    check(|limits, n| limits.field_size = n, make, 10, 431);
    let make = |n| get(&format!("X_Y: {}\r\n", fill(n - 5)));
    check(|limits, n| limits.field_size = n, make, 10, 431);
}

#[test]
fn field_count_over_limit_is_431() {
    let make = |n| get(&"X: y\r\n".repeat(n - 1));
    check(|limits, n| limits.fields = n, make, 1, 431);
    let make = |n| get(&"X_Y: y\r\n".repeat(n - 1));
    check(|limits, n| limits.fields = n, make, 1, 431);
}

#[test]
fn head_size_over_limit_is_431() {
    let rest = get("X: \r\n").len();
    for before in ["", "\r\n"] {
        let make = |n| format!("{before}{}", get(&format!("X: {}\r\n", fill(n - rest))));
        check(|limits, n| limits.head = n, make, NEXT_REQUEST.len(), 431);
    }
}

#[test]
fn content_length_over_limit_is_413() {
    let make = |n| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {n}\r\n\r\n{}", fill(n));
    check(|limits, n| limits.body = n as u64, make, 0, 413);

    // Rejected before a byte of the body has arrived, with the head.
    let limits = Limits { body: 10, ..Limits::default() };
    let parsed = read_with(limits, get("Content-Length: 11\r\n").as_bytes());
    assert_eq!(parsed.outcome, Outcome::Rejected(Error::BodyTooLarge));
    assert_eq!(parsed.head, None);
}

#[test]
fn chunked_body_over_limit_is_413() {
    let one = |n| chunked(&format!("{n:x}\r\n{}\r\n0\r\n\r\n", fill(n)));
    check(|limits, n| limits.body = n as u64, one, 1, 413);
    let many = |n| chunked(&format!("{}0\r\n\r\n", "1\r\na\r\n".repeat(n)));
    check(|limits, n| limits.body = n as u64, many, 0, 413);

    // A chunk that exceeds the limit is rejected by its size line.
    let limits = Limits { body: 10, ..Limits::default() };
    for body in ["b\r\n", "8\r\naaaaaaaa\r\n3\r\n", "ffffffffffffffff\r\n"] {
        let parsed = read_with(limits, chunked(body).as_bytes());
        assert_eq!(parsed.outcome, Outcome::Rejected(Error::BodyTooLarge), "{body:?}");
    }
}

#[test]
fn body_of_any_size_without_limit_is_read() {
    let limits = Limits { body: u64::MAX, ..Limits::default() };
    let length = get("Content-Length: 18446744073709551615\r\n");
    for input in
        [&length, &chunked("ffffffffffffffff\r\na"), &chunked("1\r\na\r\nffffffffffffffff\r\n")]
    {
        let parsed = read_with(limits, input.as_bytes());
        assert_eq!(parsed.outcome, Outcome::Unfinished, "{input:?}");
        assert!(parsed.head.is_some());
    }
}

#[test]
fn chunk_extension_over_limit_is_400() {
    let set: fn(&mut Limits, usize) = |limits, n| limits.chunk_extension = n;
    check(set, |n| chunked(&format!("1;{}\r\na\r\n0\r\n\r\n", fill(n - 1))), 2, 400);
    check(set, |n| chunked(&format!("1;a=\"{}\"\r\na\r\n0\r\n\r\n", fill(n - 5))), 5, 400);
    check(set, |n| chunked(&format!("1{};a\r\na\r\n0\r\n\r\n", " ".repeat(n - 2))), 2, 400);
    check(set, |n| chunked(&format!("0;{}\r\n\r\n", fill(n - 1))), 2, 400);
    // The limit is for each chunk.
    let twice = chunked("1;abc\r\na\r\n1;abc\r\na\r\n0;abc\r\n\r\n");
    assert_eq!(status(Limits { chunk_extension: 4, ..Limits::default() }, &twice), None);
}

#[test]
fn trailer_size_over_limit_is_431() {
    // The empty line at the end does not count.
    let make = |n| chunked(&format!("0\r\nX:{}\r\n\r\n", fill(n - 4)));
    check(|limits, n| limits.trailers = n, make, 4, 431);
    let none = chunked("0\r\n\r\n");
    assert_eq!(status(Limits { trailers: 0, ..Limits::default() }, &none), None);
}

#[test]
fn trailer_count_over_limit_is_431() {
    // The limit is that of header fields, of which the head of `chunked` has two.
    let make = |n| chunked(&format!("0\r\n{}\r\n", "X: y\r\n".repeat(n)));
    check(|limits, n| limits.fields = n, make, 2, 431);
}

#[test]
fn unfinished_line_over_limit_is_rejected() {
    // If limits were checked at line ends only, a client could make the server buffer any amount.
    let limits = Limits { request_line: 20, field_size: 30, head: 100, ..Limits::default() };
    for (input, outcome) in [
        (format!("GET /{}", fill(15)), Outcome::Unfinished),
        (format!("GET /{}\r", fill(15)), Outcome::Unfinished),
        (format!("GET /{}", fill(16)), Outcome::Rejected(Error::RequestLineTooLong)),
        (fill(20), Outcome::Unfinished),
        (fill(21), Outcome::Rejected(Error::RequestLineTooLong)),
        (format!("GET / HTTP/1.1\r\n{}", fill(30)), Outcome::Unfinished),
        (format!("GET / HTTP/1.1\r\n{}\r", fill(30)), Outcome::Unfinished),
        (format!("GET / HTTP/1.1\r\n{}", fill(31)), Outcome::Rejected(Error::FieldTooLong)),
        (format!("GET / HTTP/1.1\r\n{}", "Abc: abcdefghijklmn\r\n".repeat(4)), Outcome::Unfinished),
        (
            format!("GET / HTTP/1.1\r\n{}X", "Abc: abcdefghijklmn\r\n".repeat(4)),
            Outcome::Rejected(Error::HeadTooLarge),
        ),
    ] {
        assert_eq!(read_with(limits, input.as_bytes()).outcome, outcome, "{input:?}");
    }
}

#[test]
fn default_limits_are_enforced() {
    let limits = Limits::default();
    assert_eq!(
        limits,
        Limits {
            request_line: 8192,
            fields: 100,
            field_size: 8192,
            head: 65536,
            body: 1 << 30,
            chunk_extension: 4096,
            trailers: 16384,
            underscores: Underscores::Drop,
        }
    );
    assert_eq!(status(limits, &get(&"X: y\r\n".repeat(99))), None);
    assert_eq!(status(limits, &get(&"X: y\r\n".repeat(100))), Some(431));
    assert_eq!(status(limits, &get("Content-Length: 1073741825\r\n")), Some(413));
}
