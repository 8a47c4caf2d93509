//! The framing of responses, of their blocks, and how they end or are aborted.
//! [RFC 9112 sections 6.3, 7.1 and 8; RFC 9110 section 6.4.1]

use super::*;

/// The framing fields of a head.
fn announced(head: &[u8]) -> Vec<String> {
    let head = std::str::from_utf8(head).unwrap();
    let fields = head
        .split("\r\n")
        .filter(|line| line.starts_with("Content-Length") || line.starts_with("Transfer-Encoding"));
    fields.map(str::to_owned).collect()
}

/// A connection whose response has begun, and the bytes of its head.
fn begun(
    method: &str,
    version: &str,
    status: &str,
    declared: Option<&str>,
    known: Option<u64>,
) -> (Connection, Vec<u8>) {
    let request = format!("{method} / HTTP/{version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    let mut connection = connection_after(&request);
    assert!(!connection.has_begun());
    let fields: Vec<_> = declared.iter().map(|length| ("Content-Length", *length)).collect();
    let mut out = Vec::new();
    connection.begin(&response(status, &fields), known, DATE, &mut out);
    assert!(connection.has_begun());
    assert!(out.ends_with(b"\r\n\r\n"));
    (connection, out)
}

/// Appends a framed block to `out`, as the caller of the core does.
fn send(connection: &mut Connection, block: &[u8], out: &mut Vec<u8>) {
    let frame = connection.frame(block.len());
    assert!(frame.take <= block.len());
    out.extend_from_slice(frame.prefix());
    out.extend_from_slice(&block[..frame.take]);
    out.extend_from_slice(frame.suffix);
}

#[test]
fn response_framing_follows_method_version_and_status() {
    let length = |n: u64| vec![format!("Content-Length: {n}")];
    for method in ["GET", "POST", "HEAD", "DELETE", "head"] {
        for version in ["1.0", "1.1"] {
            for status in
                ["200 OK", "204 No Content", "205 x", "304 Not Modified", "404 x", "500 x"]
            {
                for (declared, known) in
                    [(None, None), (None, Some(5)), (Some("5"), None), (Some("5"), Some(9))]
                {
                    let case = format!("{method} {version} {status} {declared:?} {known:?}");
                    let (mut connection, head) = begun(method, version, status, declared, known);
                    let has_length = declared.is_some() || known.is_some();

                    // The head.
                    let expected = match (&status[..3], has_length, version) {
                        ("204", ..) => vec![],
                        ("205", ..) => length(0),
                        // The known length is not that of the 200 in its place.
                        ("304", ..) if declared.is_none() => vec![],
                        (_, true, _) => length(5),
                        (_, false, "1.1") => vec!["Transfer-Encoding: chunked".to_owned()],
                        (_, false, _) => vec![],
                    };
                    assert_eq!(announced(&head), expected, "{case}");

                    // The content, of an application that yields 3, 0 and 4 bytes.
                    let no_content =
                        method == "HEAD" || matches!(&status[..3], "204" | "205" | "304");
                    let until_close = !no_content && !has_length && version == "1.0";
                    assert_eq!(connection.sends_no_content(), no_content, "{case}");
                    let left = if no_content { Some(0) } else { has_length.then_some(5) };
                    assert_eq!(connection.content_left(), left, "{case}");
                    let mut body = Vec::new();
                    for block in [&b"abc"[..], b"", b"defg"] {
                        send(&mut connection, block, &mut body);
                    }
                    assert_eq!(connection.finish(&mut body), Ok(()), "{case}");
                    let (expected, sent): (&[u8], _) = match (no_content, has_length, version) {
                        (true, ..) => (b"", 0),
                        (_, true, _) => (b"abcde", 5),
                        (.., "1.1") => (b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n", 7),
                        _ => (b"abcdefg", 7),
                    };
                    assert_eq!(text(&body), text(expected), "{case}");
                    assert_eq!(connection.sent_bytes(), sent, "{case}");

                    // Content without framing ends with the connection.
                    let says_close = text(&head).contains("Connection: close");
                    assert_eq!(says_close, until_close, "{case}");
                    let next = if until_close { Next::Close } else { Next::Request };
                    assert_eq!(connection.start_next(), next, "{case}");
                }
            }
        }
    }
}

/// If an application answers a HEAD without content, the length of the GET is unknown.
/// [RFC 9110 section 8.6]
#[test]
fn head_answered_without_content_has_no_content_length() {
    for version in ["1.0", "1.1"] {
        let (mut connection, head) = begun("HEAD", version, "200 OK", None, Some(0));
        assert_eq!(announced(&head), Vec::<String>::new());
        assert_eq!(connection.finish(&mut Vec::new()), Ok(()));
        assert_eq!(connection.start_next(), Next::Request);
        let (_, head) = begun("HEAD", version, "200 OK", Some("0"), Some(0));
        assert_eq!(announced(&head), ["Content-Length: 0"]);
        let (_, head) = begun("GET", version, "200 OK", None, Some(0));
        assert_eq!(announced(&head), ["Content-Length: 0"]);
    }
}

#[test]
fn chunk_size_line_is_hexadecimal() {
    for (length, prefix) in [
        (1, "1\r\n"),
        (9, "9\r\n"),
        (10, "a\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (255, "ff\r\n"),
        (256, "100\r\n"),
        (0x1000, "1000\r\n"),
        (0xfedc_ba98, "fedcba98\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        let (mut connection, _) = begun("GET", "1.1", "200 OK", None, None);
        let frame = connection.frame(length);
        assert_eq!(text(frame.prefix()), text(prefix.as_bytes()));
        assert_eq!((frame.take, frame.suffix), (length, &b"\r\n"[..]));
    }
}

#[test]
fn empty_block_gets_no_frame() {
    // An empty chunk would be the last one.
    for (version, length) in [("1.1", None), ("1.1", Some(5)), ("1.0", None)] {
        let (mut connection, _) = begun("GET", version, "200 OK", None, length);
        let frame = connection.frame(0);
        assert_eq!((frame.prefix(), frame.take, frame.suffix), (&b""[..], 0, &b""[..]));
    }
}

#[test]
fn content_over_content_length_is_truncated() {
    for length in [0, 1, 4, 5, 6, 1000] {
        for block in [1, 2, 5, 7, usize::MAX] {
            let (mut connection, _) =
                begun("GET", "1.1", "200 OK", Some(&length.to_string()), None);
            let mut sent = 0;
            for _ in 0..1002 {
                let left = connection.content_left().unwrap();
                let frame = connection.frame(block);
                assert_eq!((frame.prefix(), frame.suffix), (&b""[..], &b""[..]));
                assert_eq!(frame.take as u64, left.min(block as u64));
                sent += frame.take as u64;
            }
            assert_eq!((sent, connection.sent_bytes()), (length, length));
            assert_eq!(connection.finish(&mut Vec::new()), Ok(()));
            assert_eq!(connection.start_next(), Next::Request);
        }
    }
}

#[test]
fn content_under_content_length_aborts() {
    // On a connection kept open, the client would take the next response for the missing bytes.
    for sent in 0..5 {
        let (mut connection, _) = begun("GET", "1.1", "200 OK", Some("5"), None);
        connection.frame(sent);
        let mut out = Vec::new();
        let missing_bytes = 5 - sent as u64;
        assert_eq!(connection.finish(&mut out), Err(BodyTooShort { missing_bytes }));
        assert!(BodyTooShort { missing_bytes }.to_string().contains(&missing_bytes.to_string()));
        assert_eq!(out, b"");
        assert_eq!(connection.frame(3).take, 0, "nothing follows");
        assert_eq!(connection.start_next(), Next::Close);
    }
    // No content is missing where none is sent.
    for (method, status) in [("HEAD", "200 OK"), ("GET", "304 x"), ("GET", "204 x")] {
        let (mut connection, _) = begun(method, "1.1", status, Some("5"), None);
        assert_eq!(connection.finish(&mut Vec::new()), Ok(()));
        assert_eq!(connection.start_next(), Next::Request);
    }
}

#[test]
fn aborted_response_is_detectable() {
    // version, length; what follows
    for (version, length, next) in [
        ("1.1", Some(5), Next::Close),
        // The last chunk is missing, so the client detects a regular close.
        ("1.1", None, Next::Close),
        // A regular close would look like the end of the content.
        ("1.0", None, Next::Reset),
    ] {
        let (mut connection, _) = begun("GET", version, "200 OK", None, length);
        let mut out = Vec::new();
        send(&mut connection, b"abc", &mut out);
        let before = out.len();
        connection.abort();
        connection.abort();
        send(&mut connection, b"de", &mut out);
        assert_eq!(connection.finish(&mut out), Ok(()));
        assert_eq!(out.len(), before, "written after an abort");
        assert_eq!(connection.content_left(), None);
        assert_eq!(connection.start_next(), next, "{version} {length:?}");
        assert_eq!(connection.sent_bytes(), 3);
    }
    // Before the head was written.
    let mut connection = connection_after(&get(""));
    connection.abort();
    assert!(connection.has_begun());
    assert_eq!(connection.start_next(), Next::Close);
    // After the end: the response is complete, and the connection closes.
    let (mut connection, _) = begun("GET", "1.1", "200 OK", None, Some(0));
    connection.finish(&mut Vec::new()).unwrap();
    connection.abort();
    assert_eq!(connection.start_next(), Next::Close);
    // A response without content is complete, so a regular close is right.
    let (mut connection, _) = begun("HEAD", "1.0", "200 OK", None, None);
    connection.abort();
    assert_eq!(connection.start_next(), Next::Close);
}

#[test]
fn block_outside_of_a_response_is_dropped() {
    let mut connection = connection_after(&get(""));
    assert_eq!(connection.frame(3).take, 0, "before the head");
    let mut out = Vec::new();
    connection.begin(&response("200 OK", &[]), None, DATE, &mut out);
    out.clear();
    connection.finish(&mut out).unwrap();
    connection.finish(&mut out).unwrap();
    assert_eq!(text(&out), text(b"0\r\n\r\n"), "one last chunk");
    assert_eq!(connection.frame(3).take, 0, "after the end");
    assert_eq!(connection.sent_bytes(), 0);
}

#[test]
fn response_is_cut_short_if_it_is_aborted_before_its_end() {
    for (length, sent, expected) in [
        (Some(5), 0, true),
        (Some(5), 4, true),
        // All of it was sent, and then the application has failed.
        (Some(5), 5, false),
        (Some(0), 0, false),
        (None, 5, true),
    ] {
        let (mut connection, _) = begun("GET", "1.1", "200 OK", None, length);
        connection.frame(sent);
        assert!(!connection.is_cut_short());
        connection.abort();
        assert_eq!(connection.is_cut_short(), expected, "{length:?} {sent}");
    }
}
