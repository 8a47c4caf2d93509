//! Field lines, and the rules for the fields that the core uses.
//! [RFC 9110 section 5, RFC 9112 sections 3.2 and 5]

use super::*;

#[test]
fn fields_keep_order_case_and_repetition() {
    let (head, _) = accepted("GET / HTTP/1.1\r\nX-b: 1\r\nHost: a\r\nx-A: 2\r\nX-B: 3\r\n\r\n");
    let fields: Vec<_> = head.fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(fields, [("X-b", "1"), ("Host", "a"), ("x-A", "2"), ("X-B", "3")]);

    let connection = connection_after(&get("X-b: 1\r\nX-B: 3\r\n"));
    assert_eq!(connection.head().field(b"x-B"), Some(&b"1"[..]));
    assert_eq!(connection.head().field(b"x-c"), None);
    assert_eq!(connection.head().bytes(), get("X-b: 1\r\nX-B: 3\r\n").as_bytes());
}

#[test]
fn field_values_are_trimmed_of_sp_and_htab_only() {
    for (line, value) in [
        ("X:y", "y"),
        ("X: y", "y"),
        ("X: \t y \t ", "y"),
        ("X: y  z ", "y  z"),
        ("X:", ""),
        ("X: ", ""),
        ("X: \t", ""),
        ("X: :", ":"),
        ("X: \u{85}\u{a0}", "\\xc2\\x85\\xc2\\xa0"),
    ] {
        let (head, _) = accepted(get(&format!("{line}\r\n")));
        assert_eq!(head.values("x"), [value], "{line:?}");
    }
    let bytes = [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &b"\xa0y\x85"[..], b"\r\n\r\n"].concat();
    assert_eq!(accepted(bytes).0.values("x"), ["\\xa0y\\x85"]);
    for control in ["\x0b", "\x0c", "\x1f", "\x7f", "\0"] {
        assert_rejected(get(&format!("X: y{control}\r\n")), Error::Field);
        assert_rejected(get(&format!("X: {control}y\r\n")), Error::Field);
    }
}

#[test]
fn malformed_field_lines_are_rejected() {
    for line in [
        "X",
        "X y",
        ": y",
        " : y",
        "X : y",
        "X\t: y",
        " X: y",
        "\tX: y",
        "X y: z",
        "(X): y",
        "X\0: y",
        "\u{e9}: y",
        "X\"y: z",
        "X: y\0z",
        "X: y\rz",
    ] {
        assert_rejected(get(&format!("{line}\r\n")), Error::Field);
        // As the first field, where a leading blank would continue the request line.
        assert_rejected(format!("GET / HTTP/1.1\r\n{line}\r\nHost: a\r\n\r\n"), Error::Field);
    }
    // Line folding, by a space and by a tab.
    assert_rejected(get("X: y\r\n z\r\n"), Error::Field);
    assert_rejected(get("X: y\r\n\tz\r\n"), Error::Field);
    assert_rejected(get("X: y\r\n \r\n"), Error::Field);
}

#[test]
fn host_is_validated() {
    for value in [
        "a",
        "A.example",
        "a:80",
        "a:",
        "127.0.0.1:8000",
        "[::1]",
        "[::1]:8000",
        "[v1.x]",
        "a_b",
        "x%41y",
        "a\t ",
    ] {
        accepted(format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n"));
    }
    for value in [
        "",
        " ",
        "a b",
        "a,b/",
        "a/b",
        "a?b",
        "a#b",
        "u@a",
        ":80",
        "a:x",
        "a:-1",
        "a:65536",
        "a:80:80",
        "http://a",
        "[::1",
        "::1",
        "[::1]x",
        "[1.2.3.4]",
        "[]",
        "a\u{e9}",
        "a\"",
        "<a>",
        "x%4",
        "x%zz",
    ] {
        assert_rejected(format!("GET / HTTP/1.1\r\nHost: {value}\r\n\r\n"), Error::Host);
        assert_rejected(format!("GET / HTTP/1.0\r\nHost: {value}\r\n\r\n"), Error::Host);
    }
}

#[test]
fn host_missing_or_repeated_is_rejected() {
    assert_rejected("GET / HTTP/1.1\r\n\r\n", Error::MissingHost);
    assert_rejected("GET http://a/ HTTP/1.1\r\n\r\n", Error::MissingHost);
    for version in ["1.0", "1.1"] {
        for second in ["Host: a", "host: a", "HOST: b", "X: y\r\nHost: a"] {
            let input = format!("GET / HTTP/{version}\r\nHost: a\r\n{second}\r\n\r\n");
            assert_rejected(input, Error::Host);
        }
    }
    // HTTP/1.0 does not require it.
    accepted("GET / HTTP/1.0\r\n\r\n");
}

#[test]
fn field_names_with_underscore_are_dropped_or_rejected() {
    let input = get("X_Y: 1\r\nX-Y: 2\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\n");
    let (head, content) = accepted(&input);
    assert_eq!(head.fields.len(), 2, "{:?}", head.fields);
    assert_eq!(head.values("x-y"), ["2"]);
    assert_eq!((head.framing, content), (Framing::Empty, vec![]));

    let limits = Limits { underscores: Underscores::Refuse, ..Limits::default() };
    let rejected = Outcome::Rejected(Error::Underscore);
    assert_eq!(read_with(limits, input.as_bytes()).outcome, rejected);
    // An underscore in a value is allowed.
    let input = get("X-Y: a_b\r\n");
    assert_eq!(read_with(limits, input.as_bytes()).outcome, Outcome::Complete(input.len()));
}

#[test]
fn content_type_repeated_is_rejected() {
    accepted(get("Content-Type: text/plain\r\n"));
    for second in ["text/plain", "text/html", ""] {
        assert_rejected(
            get(&format!("Content-Type: text/plain\r\nCONTENT-TYPE: {second}\r\n")),
            Error::RepeatedContentType,
        );
    }
}

#[test]
fn expectation_other_than_100_continue_is_rejected() {
    for (fields, expects) in [
        ("", false),
        ("Expect: 100-continue\r\n", true),
        ("expect: 100-Continue\r\n", true),
        ("Expect:  100-CONTINUE \r\n", true),
        ("Expect: 100-continue\r\nExpect: 100-continue\r\n", true),
    ] {
        assert_eq!(accepted(get(fields)).0.expect_continue, expects, "{fields}");
    }
    for value in ["", "200-ok", "100-continue;x", "100-continue, y", "100", "\"100-continue\""] {
        assert_rejected(get(&format!("Expect: {value}\r\n")), Error::Expectation);
    }
    assert_rejected(get("Expect: 100-continue\r\nExpect: more\r\n"), Error::Expectation);
    // A server must ignore expectations in an HTTP/1.0 request. [RFC 9110 section 10.1.1]
    for value in ["100-continue", "more"] {
        let (head, _) = accepted(format!("GET / HTTP/1.0\r\nExpect: {value}\r\n\r\n"));
        assert!(!head.expect_continue);
    }
}

#[test]
fn upgrade_is_ignored() {
    let (head, _) = accepted(get(
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: AAA\r\n",
    ));
    assert!(head.keep_alive);
    assert_eq!(head.framing, Framing::Empty);
}

/// Values that are neither a name nor an address, with or without a port.
#[test]
fn host_with_broken_grammar_is_rejected() {
    let values: &[&[u8]] = &[
        b"a, b",
        b"a/",
        b"/",
        b"a\\b",
        b"u:p@a",
        b"a:b",
        b"a:80x",
        b"a:80:90",
        b"a:+1",
        b"a: 80",
        b"a :80",
        b"a::80",
        b"::1]",
        b"[::1]:x",
        b"[::g]",
        b"[a]",
        b"[::1]]",
        b"a[b]",
        b"a\tb",
        b"a`",
        b"{a}",
        b"a|b",
        b"a^b",
        b"a%",
        b"a%zz",
        b"\xe9",
        b"\xc3\xa9.fr",
        b"a\x80",
        b"a\xa0",
    ];
    for value in values {
        let input = [b"GET / HTTP/1.1\r\nHost: ", *value, b"\r\n\r\n"].concat();
        assert_status(input, &[400]);
    }
}

/// At either end of a name or a value, where some parsers trim; inside them see
/// `each_byte_value_is_accepted_only_where_allowed`.
#[test]
fn byte_at_the_end_of_a_name_or_value_is_accepted_only_where_allowed() {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let value = |b: u8| b == b'\t' || b == b' ' || (0x21..=0x7e).contains(&b) || b >= 0x80;
    for byte in (0..=u8::MAX).filter(|byte| *byte != b':') {
        for (name, good) in [([byte, b'X'], token(byte)), ([b'X', byte], token(byte))] {
            let input = [b"GET / HTTP/1.1\r\nHost: a\r\n", &name[..], b": y\r\n\r\n"].concat();
            let complete = matches!(read(&input).outcome, Outcome::Complete(_));
            assert_eq!(complete, good, "{}", text(&input));
        }
        for content in [[byte, b'y'], [b'y', byte]] {
            let input = [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &content[..], b"\r\n\r\n"].concat();
            let complete = matches!(read(&input).outcome, Outcome::Complete(_));
            assert_eq!(complete, value(byte), "{}", text(&input));
        }
    }
}

#[test]
fn upgrade_is_asked_for_by_both_fields_over_http_1_1() {
    for (fields, version, asks) in [
        ("Connection: upgrade\r\nUpgrade: websocket\r\n", "HTTP/1.1", true),
        ("Upgrade: a/1, b\r\nConnection: keep-alive, UPGRADE\r\n", "HTTP/1.1", true),
        ("Connection: keep-alive\r\nconnection: Upgrade\r\nUpgrade: a\r\n", "HTTP/1.1", true),
        ("Upgrade: websocket\r\n", "HTTP/1.1", false),
        ("Connection: upgrade\r\n", "HTTP/1.1", false),
        ("Connection: upgrade\r\nUpgrade:\r\n", "HTTP/1.1", false),
        ("Connection: upgrades\r\nUpgrade: websocket\r\n", "HTTP/1.1", false),
        ("Connection: upgrade\r\nUpgrade: websocket\r\n", "HTTP/1.0", false),
    ] {
        let connection = connection_after(&format!("GET / {version}\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(connection.head().asks_for_upgrade(), asks, "{fields:?} {version}");
    }
}
