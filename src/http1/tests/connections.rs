//! One exchange after another: who keeps the connection open, and when it must not stay so.
//! [RFC 9112 section 9]

use super::*;

#[test]
fn who_keeps_the_connection_open() {
    // version, the request's Connection fields, kept open
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

        // The response says what will happen, and it happens. Its own `close` always counts.
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
            let story = read_in_steps(&mut connection, &bytes[at..], step);
            assert_eq!(story.outcome, Outcome::Complete(input[i].len()));
            assert_eq!(story.head.unwrap().path, format!("/{}", i + 1));
            assert_eq!(story.content, content);
            at += input[i].len();
            // Not before the response is done.
            assert_eq!(connection.receive(&bytes[at..]), Ok((0, Event::NeedMore)));
            let (_, next) = answer(&mut connection, "200 OK");
            assert_eq!(next, if i == 2 { Next::Close } else { Next::Request });
            assert_eq!(connection.received_bytes(), if i == 2 { content.len() as u64 } else { 0 });
        }
        assert_eq!(connection.receive(&bytes[at..]), Ok((0, Event::NeedMore)));
    }
}

#[test]
fn a_part_of_the_next_request_waits_for_the_rest() {
    let first = get("");
    for part in 0..NEXT.len() {
        let bytes = [first.as_bytes(), &NEXT[..part]].concat();
        let mut connection = Connection::new(Limits::default());
        let story = read_in_steps(&mut connection, &bytes, bytes.len());
        assert_eq!(story.outcome, Outcome::Complete(first.len()));
        assert_eq!(answer(&mut connection, "200 OK").1, Next::Request);
        assert_eq!(connection.receive(&NEXT[..part]), Ok((0, Event::NeedMore)));
        assert_eq!(connection.is_idle(), part == 0);
        let story = read_in_steps(&mut connection, NEXT, NEXT.len());
        assert_eq!(story.outcome, Outcome::Complete(NEXT.len()));
        assert_eq!(story.head.unwrap().path, "/next");
    }
}

#[test]
fn a_request_that_was_not_read_to_its_end_is_the_last() {
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
    ] {
        let mut connection = Connection::new(Limits::default());
        let story = read_in_steps(&mut connection, request.as_bytes(), request.len());
        assert_eq!(story.outcome, Outcome::Unfinished);
        assert!(connection.wants_content() && !connection.wants_head());
        assert_eq!(answer(&mut connection, "200 OK").1, Next::Close);
    }
}

#[test]
fn an_unfinished_response_is_the_last() {
    let mut connection = connection_after(&get(""));
    assert_eq!(connection.start_next(), Next::Close, "nothing was answered");

    let mut connection = connection_after(&get(""));
    connection.begin(&response("200 OK", &[]), None, DATE, &mut Vec::new());
    assert_eq!(connection.start_next(), Next::Close, "the last chunk is missing");
}

#[test]
fn the_server_may_make_an_exchange_the_last() {
    let mut connection = connection_after(&get(""));
    connection.close_after_response();
    let (sent, next) = answer(&mut connection, "200 OK");
    assert!(sent.contains("Connection: close"), "{sent}");
    assert_eq!(next, Next::Close);

    // Before the request has come, too.
    let mut connection = Connection::new(Limits::default());
    connection.close_after_response();
    let request = get("");
    read_in_steps(&mut connection, request.as_bytes(), 1);
    assert_eq!(answer(&mut connection, "200 OK").1, Next::Close);

    // After the head has gone without a word of it, the client learns it from the close itself.
    let mut connection = connection_after(&get(""));
    let mut out = Vec::new();
    connection.begin(&response("200 OK", &[]), Some(0), DATE, &mut out);
    connection.close_after_response();
    connection.finish(&mut out).unwrap();
    assert_eq!(connection.start_next(), Next::Close);
}

/// A head that repeats the last one is not parsed again, which must not be seen from outside.
#[test]
fn repeated_heads_are_as_good_as_new_ones() {
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
                        assert_eq!(answer(&mut connection, "200 OK").1, Next::Request);
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
fn a_connection_knows_what_it_waits_for() {
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
    answer(&mut connection, "200 OK");
    assert_eq!(state(&connection), (true, true, false));
    assert_eq!(connection.received_bytes(), 0);
}

#[test]
fn a_refused_request_leaves_nothing_of_the_one_before() {
    // The error page and the log must not show the request before it, nor answer it as a HEAD.
    for bad in ["\x16\x03", "GET / HTTP/1.1\n", "G@T / HTTP/1.1\r\n\r\n"] {
        let mut connection = connection_after("HEAD /old HTTP/1.1\r\nHost: a\r\n\r\n");
        answer(&mut connection, "200 OK");
        connection.receive(bad.as_bytes()).unwrap_err();
        assert_eq!(connection.head().method(), b"", "{bad:?}");
        assert_eq!(connection.head().raw_target(), b"", "{bad:?}");
        assert_eq!(connection.head().fields().count(), 0, "{bad:?}");
    }
}

#[test]
fn the_caller_may_give_a_request_up() {
    // In a head: the request is not known.
    let mut connection = connection_after("HEAD /old HTTP/1.1\r\nHost: a\r\n\r\n");
    answer(&mut connection, "200 OK");
    connection.receive(b"GET /new HT").unwrap();
    connection.refuse();
    assert_eq!(connection.head().method(), b"");
    assert!(!connection.wants_head() && !connection.is_idle());
    let (sent, next) = answer(&mut connection, "408 Request Timeout");
    assert!(sent.contains("Connection: close"), "{sent}");
    assert_eq!(next, Next::Close);
    assert_eq!(connection.receive(NEXT), Ok((0, Event::NeedMore)));

    // In a body: it is, and the log can name it.
    let mut connection = Connection::new(Limits::default());
    let request = b"POST /new HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nh";
    assert_eq!(read_in_steps(&mut connection, request, request.len()).outcome, Outcome::Unfinished);
    connection.refuse();
    assert_eq!(connection.head().raw_target(), b"/new");
    assert!(!connection.wants_content());
    assert_eq!(connection.receive(b"i"), Ok((0, Event::NeedMore)));
    assert_eq!(answer(&mut connection, "408 Request Timeout").1, Next::Close);
}
