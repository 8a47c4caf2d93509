//! The status and the fields that an application may set. [PEP 3333; RFC 9110 sections 5, 6 and 15]

use std::sync::atomic::AtomicU16;

use super::*;

/// The head as it is written in response to a GET.
fn sent(head: &ResponseHead) -> String {
    let mut connection = connection_after(&get(""));
    let mut out = Vec::new();
    connection.begin(head, Some(2), DATE, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn head_is_written_with_server_and_date() {
    let head = response(
        "404 Not Here",
        &[("X-b", "1"), ("Set-Cookie", "a=b"), ("set-cookie", "c=d"), ("X-Empty", "")],
    );
    assert_eq!(
        sent(&head),
        "HTTP/1.1 404 Not Here\r\n\
         Server: rustwsgi\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         X-b: 1\r\nSet-Cookie: a=b\r\nset-cookie: c=d\r\nX-Empty: \r\n\
         Content-Length: 2\r\n\r\n"
    );
}

#[test]
fn date_and_server_of_the_application_are_kept() {
    let head = response("200 OK", &[("DATE", "today"), ("server", "mine")]);
    assert_eq!(
        sent(&head),
        "HTTP/1.1 200 OK\r\nDATE: today\r\nserver: mine\r\nContent-Length: 2\r\n\r\n"
    );
}

#[test]
fn status_that_is_malformed_is_rejected() {
    for (status, code) in [
        ("200 OK", 200),
        ("200 ", 200),
        ("299 \tx y", 299),
        ("404 N\u{e9}", 404),
        ("500 a:b", 500),
        ("599 x", 599),
        ("999 x", 999),
    ] {
        let mut head = ResponseHead::default();
        assert_eq!(head.start(status.as_bytes()), Ok(()), "{status:?}");
        assert_eq!(head.status(), code);
    }
    for status in [
        "",
        "200",
        "20 OK",
        "2000 OK",
        "200OK",
        "200\tOK",
        " 200 OK",
        "OK",
        "2x0 OK",
        "099 x",
        "000 x",
        "+20 OK",
        "-20 OK",
        "200 O\rK",
        "200 OK\r\n",
        "200 O\nK",
        "200 \0",
        "200 O\x7fK",
        "\u{664}00 x",
    ] {
        assert_eq!(
            ResponseHead::default().start(status.as_bytes()),
            Err(ResponseError::Status),
            "{status:?}"
        );
    }
}

#[test]
fn interim_status_is_rejected() {
    for status in ["100 Continue", "101 Switching Protocols", "103 Early Hints", "199 x"] {
        let mut head = ResponseHead::default();
        assert_eq!(head.start(status.as_bytes()), Err(ResponseError::Informational), "{status}");
        assert_eq!(head.status(), 0);
    }
}

#[test]
fn names_and_values_with_forbidden_bytes_are_rejected() {
    let mut head = response("200 OK", &[]);
    for name in ["", "a b", "a:", ":a", "a\r\nb", "a\0", "\u{e9}", "a(b)", "a\t", " a"] {
        assert_eq!(head.add_field(name.as_bytes(), b"v"), Err(ResponseError::Name), "{name:?}");
    }
    for value in ["a\rb", "a\nb", "a\r\nSet-Cookie: x", "a\0", "\x7f", "\x0b", "\x1b[31m"] {
        assert_eq!(head.add_field(b"X", value.as_bytes()), Err(ResponseError::Value), "{value:?}");
        for name in ["Content-Length", "Connection", "Date", "Transfer-Encoding"] {
            let rejected = head.add_field(name.as_bytes(), value.as_bytes());
            assert_eq!(rejected, Err(ResponseError::Value), "{name}: {value:?}");
        }
    }
    // A rejected field adds nothing.
    assert_eq!(sent(&head), sent(&response("200 OK", &[])));
    for value in ["", " a\tb ", "\u{e9}", "a: b"] {
        assert_eq!(head.add_field(b"X", value.as_bytes()), Ok(()), "{value:?}");
    }
}

#[test]
fn head_repeats_only_equal_status_and_equal_fields() {
    let repeats = |head: &ResponseHead, status: &str, fields: &[(&str, &str)]| {
        head.may_repeat(status.as_bytes(), fields.len())
            && fields.iter().enumerate().all(|(index, (name, value))| {
                head.is_field(index, name.as_bytes(), value.as_bytes())
            })
    };
    let fields = [("A", "b: c"), ("Content-Length", "5")];
    let head = response("200 OK", &fields);
    assert!(repeats(&head, "200 OK", &fields));
    for (status, other) in [
        ("200 ok", &fields[..]),
        ("200 OK", &[("A", "b: c"), ("Content-Length", "6")]),
        ("200 OK", &[("A", "b: c")]),
        ("200 OK", &[("Content-Length", "5"), ("A", "b: c")]),
        ("200 OK", &[("a", "b: c"), ("Content-Length", "5")]),
        // The same bytes, but not a valid name and value.
        ("200 OK", &[("A: b", "c"), ("Content-Length", "5")]),
        ("200 OK", &[("A", "b: c\r\nContent-Length: 5")]),
        ("200 OK", &[("A", "b: c\r\nContent-Length: 5"), ("", "")]),
    ] {
        assert!(!repeats(&head, status, other), "{status} {other:?}");
    }
    // A field that is not sent has an effect all the same.
    for (name, value) in [("Connection", "close"), ("Trailer", "x")] {
        let head = response("200 OK", &[("A", "b"), (name, value)]);
        assert!(!repeats(&head, "200 OK", &[("A", "b")]), "{name}");
    }
    let mut invalid = ResponseHead::default();
    assert!(invalid.start(b"x").is_err());
    assert!(!repeats(&invalid, "", &[]));
}

#[test]
fn hop_by_hop_fields_except_close_are_dropped() {
    for name in [
        "Keep-Alive",
        "keep-alive",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Trailers",
        "Transfer-Encoding",
        "TRANSFER-ENCODING",
        "Upgrade",
    ] {
        let head = response("200 OK", &[(name, "chunked"), (name, "x")]);
        assert_eq!(sent(&head), sent(&response("200 OK", &[])), "{name}");
        let dropped: Vec<_> = head.dropped().names().collect();
        assert!(matches!(dropped[..], [one] if one.eq_ignore_ascii_case(name)), "{name}");
    }
    for value in ["keep-alive", "upgrade", "", "closed", "x,y"] {
        let head = response("200 OK", &[("Connection", value)]);
        assert_eq!(sent(&head), sent(&response("200 OK", &[])), "{value:?}");
        assert!(head.dropped().names().eq(["Connection"]), "{value:?}");
    }
    for value in ["close", "Close", "close, x", "keep-alive,\tclose", "close, close", " close"] {
        let head = response("200 OK", &[("connection", value)]);
        assert_eq!(head.dropped().is_empty(), !value.contains(['x', 'k']), "{value:?}");
        assert_eq!(sent(&head).matches("onnection").count(), 1);
        assert!(sent(&head).ends_with("Connection: close\r\n\r\n"));
    }
}

#[test]
fn proxy_authentication_fields_are_sent() {
    for name in ["Proxy-Authenticate", "Proxy-Authentication-Info"] {
        let head = response("407 Proxy Authentication Required", &[(name, "Basic")]);
        assert!(sent(&head).contains(&format!("{name}: Basic\r\n")));
        assert!(head.dropped().is_empty());
    }
}

#[test]
fn dropped_fields_are_new_once() {
    let known = AtomicU16::new(0);
    let te = response("200 OK", &[("te", "x")]).dropped();
    let both = response("200 OK", &[("TE", "x"), ("Upgrade", "x")]).dropped();
    assert!(te.add_to(&known).names().eq(["TE"]));
    assert!(both.add_to(&known).names().eq(["Upgrade"]));
    assert!(both.add_to(&known).is_empty());
}

#[test]
fn content_length_malformed_or_conflicting_is_rejected() {
    for (value, length) in [("0", 0), ("5", 5), ("005", 5), ("18446744073709551615", u64::MAX)] {
        let head = response("200 OK", &[("content-LENGTH", value)]);
        assert_eq!(head.content_length(), Some(length));
        let line = format!("content-LENGTH: {length}\r\n");
        assert_eq!(sent(&head).matches(&line).count(), 1, "{}", sent(&head));
    }
    for value in ["", "-1", "+1", " 1", "1 ", "1,1", "0x1", "1_0", "x", "18446744073709551616"] {
        let mut head = response("200 OK", &[]);
        let rejected = head.add_field(b"Content-Length", value.as_bytes());
        assert_eq!(rejected, Err(ResponseError::ContentLength), "{value:?}");
        assert_eq!(head.content_length(), None);
    }
    // Repeated with the same value it is sent once; different values are an error.
    let mut head = response("200 OK", &[("Content-Length", "5"), ("content-length", "05")]);
    assert_eq!(sent(&head).to_lowercase().matches("content-length").count(), 1);
    assert_eq!(head.add_field(b"Content-Length", b"6"), Err(ResponseError::ConflictingLength));
    assert_eq!(head.content_length(), Some(5));
}

#[test]
fn start_clears_the_previous_head() {
    // An error handler that replaces the response must not inherit its Content-Length.
    // [PEP 3333, "Error Handling"]
    let mut head = response(
        "200 OK",
        &[
            ("Content-Length", "5"),
            ("Connection", "close"),
            ("Date", "x"),
            ("Server", "y"),
            ("Z", "z"),
        ],
    );
    head.start(b"500 Oops").unwrap();
    assert_eq!(head.content_length(), None);
    assert_eq!(sent(&head), sent(&response("500 Oops", &[])));
    // Also if the new status is rejected.
    head.start(b"nonsense").unwrap_err();
    assert_eq!((head.status(), head.field(b"z")), (0, None));
}

#[test]
fn field_is_found_by_name_without_case() {
    let head = response("200 OK", &[("Content-Type", "a/b"), ("X", "1"), ("x", "2"), ("XY", "")]);
    assert_eq!(head.field(b"content-type"), Some(&b"a/b"[..]));
    assert_eq!(head.field(b"X"), Some(&b"1"[..]));
    assert_eq!(head.field(b"xy"), Some(&b""[..]));
    assert_eq!(head.field(b"Content"), None);
    assert_eq!(head.field(b""), None);
}

#[test]
fn response_errors_have_messages() {
    use ResponseError::*;
    for error in [Status, Informational, Name, Value, ContentLength, ConflictingLength] {
        assert!(!error.to_string().is_empty());
    }
}
