//! Successive exchanges: keep-alive, pipelining, and when the connection must close.
//! [RFC 9112 section 9]

use super::*;

#[test]
fn connection_field_and_version_decide_keep_alive() {
    // version, the values of the Connection fields of the request, keep-alive
    for (version, options, kept) in [
        ("1.1", &[][..], true),
        ("1.1", &["keep-alive"], true),
        ("1.1", &["close"], false),
        ("1.1", &["Close"], false),
        ("1.1", &["CLOSE "], false),
        ("1.1", &["x, close"], false),
        ("1.1", &["close,x"], false),
        ("1.1", &[",, close ,"], false),
        ("1.1", &["keep-alive, close"], false),
        ("1.1", &["x", "close"], false),
        ("1.1", &["keep-alive", "close"], false),
        ("1.1", &["close", "keep-alive"], false),
        ("1.1", &["closed"], true),
        ("1.1", &["not close"], true),
        ("1.1", &["\"close\""], true),
        ("1.1", &[""], true),
        ("1.1", &["upgrade"], true),
        ("1.0", &[], false),
        ("1.0", &["keep-alive"], true),
        ("1.0", &["Keep-Alive"], true),
        ("1.0", &["x, KEEP-ALIVE"], true),
        ("1.0", &["x", "keep-alive"], true),
        ("1.0", &["keep-alive, close"], false),
        ("1.0", &["close"], false),
        ("1.0", &["keep alive"], false),
        ("1.0", &["x"], false),
        ("1.2", &[], true),
        ("1.2", &["close"], false),
    ] {
        let fields: String = options.iter().map(|o| format!("Connection: {o}\r\n")).collect();
        let request = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(accepted(&request).0.keep_alive, kept, "{request}");

        // The response announces what the server then does. Its own `close` takes precedence.
        for close in [false, true] {
            let mut connection = connection_after(&request);
            let fields: &[_] = if close { &[("Connection", "close")] } else { &[] };
            let mut out = Vec::new();
            connection.begin(&response("200 OK", fields), Some(0), DATE, &mut out);
            connection.finish(&mut out).unwrap();
            let expected = match (kept && !close, version) {
                (false, _) => vec!["Connection: close"],
                (true, "1.0") => vec!["Connection: keep-alive"],
                (true, _) => vec![],
            };
            let out = String::from_utf8(out).unwrap();
            let said: Vec<_> = out.lines().filter(|line| line.starts_with("Connection")).collect();
            assert_eq!(said, expected, "{request}");
            let next = if kept && !close { Next::Request } else { Next::Close };
            assert_eq!(connection.start_next(), next, "{request}");
        }
    }
}

#[test]
fn pipelined_requests_are_read_one_by_one() {
    let input = [
        "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nho\r\n0\r\nX: y\r\n\r\n",
        "\r\nGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /never HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let bytes = input.concat().into_bytes();
    for step in [1, 7, bytes.len()] {
        let mut connection = Connection::new(Limits::default());
        let mut at = 0;
        for (i, content) in [&b"hi"[..], b"ho", b""].into_iter().enumerate() {
            let parsed = read_in_steps(&mut connection, &bytes[at..], step);
            assert_eq!(parsed.outcome, Outcome::Complete(input[i].len()));
            assert_eq!(parsed.head.unwrap().path, format!("/{}", i + 1));
            assert_eq!(parsed.content, content);
            at += input[i].len();
            // Not before the response is done.
            assert_eq!(connection.receive(&bytes[at..]), Ok((0, Event::NeedMore)));
            let (_, next) = respond(&mut connection, "200 OK");
            assert_eq!(next, if i == 2 { Next::Close } else { Next::Request });
            assert_eq!(connection.received_bytes(), if i == 2 { content.len() as u64 } else { 0 });
        }
        assert_eq!(connection.receive(&bytes[at..]), Ok((0, Event::NeedMore)));
    }
}

#[test]
fn pipelined_request_in_part_waits_for_the_rest() {
    let first = get("");
    for part in 0..NEXT_REQUEST.len() {
        let bytes = [first.as_bytes(), &NEXT_REQUEST[..part]].concat();
        let mut connection = Connection::new(Limits::default());
        let parsed = read_in_steps(&mut connection, &bytes, bytes.len());
        assert_eq!(parsed.outcome, Outcome::Complete(first.len()));
        assert_eq!(respond(&mut connection, "200 OK").1, Next::Request);
        assert_eq!(connection.receive(&NEXT_REQUEST[..part]), Ok((0, Event::NeedMore)));
        assert_eq!(connection.is_idle(), part == 0);
        let parsed = read_in_steps(&mut connection, NEXT_REQUEST, NEXT_REQUEST.len());
        assert_eq!(parsed.outcome, Outcome::Complete(NEXT_REQUEST.len()));
        assert_eq!(parsed.head.unwrap().path, "/next");
    }
}

#[test]
fn response_before_the_end_of_the_request_closes() {
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
    ] {
        let mut connection = Connection::new(Limits::default());
        let parsed = read_in_steps(&mut connection, request.as_bytes(), request.len());
        assert_eq!(parsed.outcome, Outcome::Unfinished);
        assert!(connection.wants_content() && !connection.wants_head());
        assert_eq!(respond(&mut connection, "200 OK").1, Next::Close);
    }
}

#[test]
fn unfinished_response_closes() {
    let mut connection = connection_after(&get(""));
    assert_eq!(connection.start_next(), Next::Close, "no response");

    let mut connection = connection_after(&get(""));
    connection.begin(&response("200 OK", &[]), None, DATE, &mut Vec::new());
    assert_eq!(connection.start_next(), Next::Close, "the last chunk is missing");
}

#[test]
fn close_after_response_at_any_time_closes() {
    let mut connection = connection_after(&get(""));
    connection.close_after_response();
    let (sent, next) = respond(&mut connection, "200 OK");
    assert!(sent.contains("Connection: close"), "{sent}");
    assert_eq!(next, Next::Close);

    // Before the request has arrived.
    let mut connection = Connection::new(Limits::default());
    connection.close_after_response();
    let request = get("");
    read_in_steps(&mut connection, request.as_bytes(), 1);
    assert_eq!(respond(&mut connection, "200 OK").1, Next::Close);

    // After a head without `Connection: close` was written, the client learns it from the close.
    let mut connection = connection_after(&get(""));
    let mut out = Vec::new();
    connection.begin(&response("200 OK", &[]), Some(0), DATE, &mut out);
    connection.close_after_response();
    connection.finish(&mut out).unwrap();
    assert_eq!(connection.start_next(), Next::Close);
}

/// A head that repeats the last one is not parsed again, which must not be observable.
#[test]
fn repeated_head_is_read_like_a_new_one() {
    let a = "GET /a HTTP/1.1\r\nHost: h\r\nX: 1\r\n\r\n";
    let longer = "GET /a HTTP/1.1\r\nHost: h\r\nX: 1\r\nY: 2\r\n\r\n";
    let body = "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n";
    let wire = [a, a, "\r\n", a, longer, a, body, "xy", body, "zw", a, body, "vu"].concat();
    let expected = [
        ("/a", ""),
        ("/a", ""),
        ("/a", ""),
        ("/a", ""),
        ("/a", ""),
        ("/b", "xy"),
        ("/b", "zw"),
        ("/a", ""),
        ("/b", "vu"),
    ];
    for step in [1, 3, 17, wire.len()] {
        let mut connection = Connection::new(Limits::default());
        let (mut at, mut end, mut seen) = (0, 0, Vec::new());
        while seen.len() < expected.len() {
            let (used, event) = connection.receive(&wire.as_bytes()[at..end]).unwrap();
            let piece = &wire[at..at + used];
            at += used;
            match event {
                Event::NeedMore => end = wire.len().min(end + step),
                Event::Head => {
                    seen.push((connection.head().raw_target().to_vec(), String::new()));
                    let fields = connection.head().fields().count();
                    assert_eq!(
                        fields,
                        piece.matches("\r\n").count() - 2 - usize::from(piece.starts_with("\r\n"))
                    );
                }
                Event::Content(range) => seen.last_mut().unwrap().1.push_str(&piece[range]),
                Event::End => {
                    if seen.len() < expected.len() {
                        assert_eq!(respond(&mut connection, "200 OK").1, Next::Request);
                    }
                }
            }
        }
        while let (used, Event::Content(range)) =
            connection.receive(&wire.as_bytes()[at..]).unwrap()
        {
            seen.last_mut().unwrap().1.push_str(&wire[at..at + used][range]);
            at += used;
        }
        assert_eq!(at, wire.len());
        let expected: Vec<_> = expected
            .iter()
            .map(|(path, body)| (path.as_bytes().to_vec(), (*body).to_owned()))
            .collect();
        assert_eq!(seen, expected, "in steps of {step}");
    }
}

#[test]
fn state_predicates_follow_the_request() {
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    let mut connection = Connection::new(Limits::default());
    let state = |c: &Connection| (c.is_idle(), c.wants_head(), c.wants_content());
    assert_eq!(state(&connection), (true, true, false));
    connection.receive(&request[..1]).unwrap();
    assert_eq!(state(&connection), (false, true, false));
    let (used, event) = connection.receive(request).unwrap();
    assert_eq!((used, event), (request.len() - 1, Event::Head));
    assert_eq!(state(&connection), (false, false, true));
    assert_eq!(connection.receive(b""), Ok((0, Event::NeedMore)));
    assert_eq!(connection.receive(b"x"), Ok((1, Event::Content(0..1))));
    assert_eq!(connection.receive(b""), Ok((0, Event::End)));
    assert_eq!(state(&connection), (false, false, false));
    assert_eq!(connection.received_bytes(), 1);
    respond(&mut connection, "200 OK");
    assert_eq!(state(&connection), (true, true, false));
    assert_eq!(connection.received_bytes(), 0);
}

#[test]
fn rejected_head_clears_the_previous_one() {
    // Otherwise the log would name the previous request, and a HEAD would suppress the error page.
    for bad in ["\x16\x03", "GET / HTTP/1.1\n", "G@T / HTTP/1.1\r\n\r\n"] {
        let mut connection = connection_after("HEAD /old HTTP/1.1\r\nHost: a\r\n\r\n");
        respond(&mut connection, "200 OK");
        connection.receive(bad.as_bytes()).unwrap_err();
        assert_eq!(connection.head().method(), b"", "{bad:?}");
        assert_eq!(connection.head().raw_target(), b"", "{bad:?}");
        assert_eq!(connection.head().fields().count(), 0, "{bad:?}");
    }
}

#[test]
fn reject_by_the_caller_ends_reading() {
    // In a head: the request is unknown.
    let mut connection = connection_after("HEAD /old HTTP/1.1\r\nHost: a\r\n\r\n");
    respond(&mut connection, "200 OK");
    connection.receive(b"GET /new HT").unwrap();
    connection.reject();
    assert_eq!(connection.head().method(), b"");
    assert!(!connection.wants_head() && !connection.is_idle());
    let (sent, next) = respond(&mut connection, "408 Request Timeout");
    assert!(sent.contains("Connection: close"), "{sent}");
    assert_eq!(next, Next::Close);
    assert_eq!(connection.receive(NEXT_REQUEST), Ok((0, Event::NeedMore)));

    // In a body: the log can name the request.
    let mut connection = Connection::new(Limits::default());
    let request = b"POST /new HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh";
    assert_eq!(read_in_steps(&mut connection, request, request.len()).outcome, Outcome::Unfinished);
    connection.reject();
    assert_eq!(connection.head().raw_target(), b"/new");
    assert!(!connection.wants_content());
    assert_eq!(connection.receive(b"i"), Ok((0, Event::NeedMore)));
    assert_eq!(respond(&mut connection, "408 Request Timeout").1, Next::Close);
}
