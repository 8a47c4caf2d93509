//! The request line, line ends, and the target. [RFC 9112 sections 2 and 3]

use super::*;

/// A request whose request line is `line`.
fn with_line(line: &str) -> String {
    format!("{line}\r\nHost: a\r\n\r\n")
}

#[test]
fn target_is_split_into_its_parts() {
    // request line, path, query, authority
    for (line, path, query, authority) in [
        ("GET / HTTP/1.1", "/", "", None),
        ("GET /a/b?c=d&e HTTP/1.1", "/a/b", "c=d&e", None),
        ("GET /? HTTP/1.1", "/", "", None),
        ("GET /a?b?c HTTP/1.1", "/a", "b?c", None),
        ("GET //a//b HTTP/1.1", "//a//b", "", None),
        ("GET /%2F%41?%00 HTTP/1.1", "/%2F%41", "%00", None),
        ("GET /%2500 HTTP/1.1", "/%2500", "", None),
        ("GET /../a HTTP/1.1", "/../a", "", None),
        ("GET /http://h/p HTTP/1.1", "/http://h/p", "", None),
        ("GET /\"<>\\^`{|} HTTP/1.1", "/\\\"<>\\\\^`{|}", "", None),
        ("GET http://h/p?q HTTP/1.1", "/p", "q", Some("h")),
        ("GET http://h HTTP/1.1", "/", "", Some("h")),
        ("GET http://h?q HTTP/1.1", "/", "q", Some("h")),
        ("GET http://h/?q=http://x HTTP/1.1", "/", "q=http://x", Some("h")),
        ("GET HTTP://h:8000/p HTTP/1.1", "/p", "", Some("h:8000")),
        ("GET http://[::1]:80/ HTTP/1.1", "/", "", Some("[::1]:80")),
        ("OPTIONS * HTTP/1.1", "", "", None),
        ("OPTIONS /a HTTP/1.1", "/a", "", None),
        ("OPTIONS http://h HTTP/1.1", "", "", Some("h")),
        ("OPTIONS http://h/ HTTP/1.1", "/", "", Some("h")),
    ] {
        let (head, _) = accepted(with_line(line));
        assert_eq!((head.path.as_str(), head.query.as_str()), (path, query), "{line}");
        assert_eq!(head.authority.as_deref(), authority, "{line}");
        let raw = line.split(' ').nth(1).unwrap();
        assert_eq!(head.raw_target, text(raw.as_bytes()), "{line}");
    }
}

#[test]
fn method_that_is_a_token_keeps_its_case() {
    for method in ["GET", "get", "Get", "M-SEARCH", "!#$%&'*+-.^_`|~", "X", "PRI"] {
        let (head, _) = accepted(with_line(&format!("{method} / HTTP/1.1")));
        assert_eq!(head.method, text(method.as_bytes()));
    }
}

#[test]
fn minor_version_above_1_is_served_as_1_1() {
    for (version, served) in [
        ("HTTP/1.0", Version::Http10),
        ("HTTP/1.1", Version::Http11),
        ("HTTP/1.2", Version::Http11),
        ("HTTP/1.9", Version::Http11),
    ] {
        let (head, _) = accepted(with_line(&format!("GET / {version}")));
        assert_eq!(head.version, served);
    }
    assert_eq!(Version::Http10.as_str(), "HTTP/1.0");
    assert_eq!(Version::Http11.as_str(), "HTTP/1.1");
}

#[test]
fn malformed_request_lines_are_rejected() {
    use Error::*;
    for (line, error) in [
        ("GET", RequestLine),
        ("GET /", RequestLine),
        ("GET / HTTP/1.1 x", RequestLine),
        ("GET / x HTTP/1.1", RequestLine),
        ("GET /  HTTP/1.1", RequestLine),
        ("GET  / HTTP/1.1", RequestLine),
        ("GET / HTTP/1.1 ", RequestLine),
        (" GET / HTTP/1.1", Method),
        ("GET\t/ HTTP/1.1", Method),
        ("GET /\tHTTP/1.1", RequestLine),
        ("G(T / HTTP/1.1", Method),
        ("G\u{e9}T / HTTP/1.1", Method),
        (": / HTTP/1.1", Method),
        // Versions
        ("GET / HTTP/1", VersionSyntax),
        ("GET / HTTP/1.", VersionSyntax),
        ("GET / HTTP/.1", VersionSyntax),
        ("GET / HTTP/1.10", VersionSyntax),
        ("GET / HTTP/01.1", VersionSyntax),
        ("GET / HTTP/1,1", VersionSyntax),
        ("GET / HTTP/1.x", VersionSyntax),
        ("GET / HTTP/+1.1", VersionSyntax),
        ("GET / http/1.1", VersionSyntax),
        ("GET / HTTPS/1.1", VersionSyntax),
        ("GET / ICY/1.1", VersionSyntax),
        ("GET / HTTP1.1", VersionSyntax),
        ("GET / ", VersionSyntax),
        ("GET / HTTP/0.9", Version),
        ("GET / HTTP/2.0", Version),
        ("GET / HTTP/3.1", Version),
        // Targets
        ("GET a HTTP/1.1", Target),
        ("GET ? HTTP/1.1", Target),
        ("GET * HTTP/1.1", Target),
        ("GET a:80 HTTP/1.1", Target),
        ("OPTIONS ** HTTP/1.1", Target),
        ("GET /a#b HTTP/1.1", Target),
        ("GET /a?b#c HTTP/1.1", Target),
        ("GET /\u{e9} HTTP/1.1", Target),
        ("GET /%00 HTTP/1.1", Target),
        ("GET /a%00b?c HTTP/1.1", Target),
        ("GET http://h/%00 HTTP/1.1", Target),
        ("GET http:/h HTTP/1.1", Target),
        ("GET http:// HTTP/1.1", Target),
        ("GET http:///p HTTP/1.1", Target),
        ("GET http://:80/ HTTP/1.1", Target),
        ("GET http://h:x/ HTTP/1.1", Target),
        ("GET http://h:65536/ HTTP/1.1", Target),
        ("GET http://u@h/ HTTP/1.1", Target),
        ("GET http://u:p@h/ HTTP/1.1", Target),
        ("GET http://[::1/ HTTP/1.1", Target),
        ("GET http://h\\x/ HTTP/1.1", Target),
        ("GET ftp://h/ HTTP/1.1", Target),
        ("GET ://h/ HTTP/1.1", Target),
        ("GET https://h/ HTTP/1.1", Misdirected),
        ("GET HTTPS://h/ HTTP/1.1", Misdirected),
        ("CONNECT a:80 HTTP/1.1", Connect),
        ("CONNECT / HTTP/1.1", Connect),
    ] {
        assert_rejected(with_line(line), error);
    }
    // The preface of HTTP/2, and a TLS handshake on a plain port, which has no line end.
    assert_rejected("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Version);
    assert_rejected(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Error::Tls);
}

#[test]
fn proxy_protocol_header_is_named() {
    for line in [
        "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443",
        "PROXY TCP6 ::1 ::1 56324 443",
        "PROXY UNKNOWN",
        "PROXY UNKNOWN ffff::1 ffff::1 1 2",
    ] {
        assert_rejected(format!("{line}\r\n{}", get("")), Error::ProxyHeader);
    }
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x50\0\x50";
    assert_rejected(v2, Error::LeadingEmptyLines);
    // A method may have that name.
    accepted(with_line("PROXY /UNKNOWN HTTP/1.1"));
    assert_rejected(with_line("PROXY /UNKNOWN"), Error::RequestLine);
    assert_rejected(with_line("PROXY * x HTTP/1.1"), Error::RequestLine);
}

#[test]
fn one_empty_line_before_a_request_is_skipped() {
    let (head, _) = accepted(format!("\r\n{}", get("")));
    assert_eq!(head.method, "GET");
    assert_rejected(format!("\r\n\r\n{}", get("")), Error::LeadingEmptyLines);
    assert_rejected(format!("\n{}", get("")), Error::BareLf);
    assert_rejected(format!("\r{}", get("")), Error::Method);
    assert_rejected(format!("\r\n\n{}", get("")), Error::BareLf);
    assert_rejected(format!(" \r\n{}", get("")), Error::Method);
}

#[test]
fn empty_line_alone_leaves_the_connection_idle() {
    let mut connection = Connection::new(Limits::default());
    for (bytes, idle) in [(&b""[..], true), (b"\r\n", true), (b"\r\nG", false)] {
        assert_eq!(connection.receive(bytes), Ok((0, Event::NeedMore)));
        assert_eq!(connection.is_idle(), idle, "{}", text(bytes));
    }
}

#[test]
fn line_ends_other_than_crlf_are_rejected() {
    let good = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    accepted(good);
    for (at, _) in good.match_indices("\r\n") {
        // Without its CR; without its LF; with a second CR; in reverse order.
        for (end, error) in
            [("\n", Some(Error::BareLf)), ("\r", None), ("\r\r\n", None), ("\n\r", None)]
        {
            let input = [&good[..at], end, &good[at + 2..]].concat();
            match read(&input).outcome {
                Outcome::Rejected(found) => {
                    assert!(error.is_none_or(|e| e == found), "{found:?}: {input:?}");
                    assert_eq!(found.status().0, 400, "{input:?}");
                }
                // The end of the head has not arrived. A proper end must not complete it, either.
                Outcome::Unfinished => {
                    let outcome = read(format!("{input}\r\n\r\n")).outcome;
                    assert!(matches!(outcome, Outcome::Rejected(_)), "{input:?}");
                }
                Outcome::Complete(_) => panic!("{input:?}"),
            }
        }
    }
    // A bare CR elsewhere.
    for at in 1..good.len() {
        if good.is_char_boundary(at) && !good[at..].starts_with('\n') {
            let input = [&good[..at], "\r", &good[at..]].concat();
            let outcome = read(&input).outcome;
            assert!(!matches!(outcome, Outcome::Complete(_)), "{input:?}");
        }
    }
}

#[test]
fn each_byte_value_is_accepted_only_where_allowed() {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let target = |b: u8| (0x21..=0x7e).contains(&b) && b != b'#';
    let value = |b: u8| b == b'\t' || b == b' ' || (0x21..=0x7e).contains(&b) || b >= 0x80;
    type Allowed<'a> = &'a dyn Fn(u8) -> bool;
    let places: [(&str, &str, Allowed); 5] = [
        ("G", "T / HTTP/1.1\r\nHost: a\r\n\r\n", &token),
        ("GET /a", "b HTTP/1.1\r\nHost: a\r\n\r\n", &target),
        ("GET /a?b", "c HTTP/1.1\r\nHost: a\r\n\r\n", &target),
        // A colon ends the name and starts the value.
        ("GET / HTTP/1.1\r\nHost: a\r\nX", "Y: z\r\n\r\n", &|b| token(b) || b == b':'),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y", "z\r\n\r\n", &value),
    ];
    for (before, after, allowed) in places {
        for byte in 0..=u8::MAX {
            let input = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            let outcome = read(&input).outcome;
            if allowed(byte) {
                assert_eq!(outcome, Outcome::Complete(input.len()), "{}", text(&input));
            } else {
                assert!(matches!(outcome, Outcome::Rejected(_)), "{}", text(&input));
            }
        }
    }
}

/// A version is `HTTP/`, a digit, a dot and a digit.
#[test]
fn version_in_another_spelling_is_rejected() {
    let values: &[&[u8]] = &[
        b"http/1.1",
        b"Http/1.1",
        b"HTTP/1",
        b"HTTP/1.",
        b"HTTP/.1",
        b"HTTP/1.1.1",
        b"HTTP/01.1",
        b"HTTP/1.01",
        b"HTTP/11.1",
        b"HTTP/1.10",
        b"HTTP/1,1",
        b"HTTP/1-1",
        b"HTTP/1.a",
        b"HTTP/a.1",
        b"HTTP/+1.1",
        b"HTTP/1.-1",
        b"HTTP1.1",
        b"HTTPS/1.1",
        b"XHTTP/1.1",
        b"HTP/1.1",
        b"ICY/1.1",
        b"HTTP\\1.1",
        b"HTTP/1.1x",
        b"HTTP/1.1\0",
        b"HTTP/1.1\x0b",
        b"HTTP/1.\xb9",
    ];
    for value in values {
        let input = [b"GET / ", *value, b"\r\nHost: a\r\n\r\n"].concat();
        assert_status(input, &[400]);
    }
}

/// A request line is a method, a target and a version, with one space between them.
#[test]
fn request_line_without_its_three_parts_is_rejected() {
    let values: &[&[u8]] = &[
        b" GET / HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.1\t",
        b"GET\t/ HTTP/1.1",
        b"GET /\tHTTP/1.1",
        b"GET\x0b/ HTTP/1.1",
        b"GET /\x0cHTTP/1.1",
        b"GET\xa0/ HTTP/1.1",
        b"GET / a HTTP/1.1",
        b"GET / HTTP/1.1 HTTP/1.1",
        b"GET HTTP/1.1",
        b"GET  HTTP/1.1",
        b"GET / ",
        b"GET",
        b"/ HTTP/1.1",
        b" / HTTP/1.1",
        b"HTTP/1.1 200 OK",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ];
    for value in values {
        assert_status([value, &b"\r\nHost: a\r\n\r\n"[..]].concat(), &[400]);
    }
}

#[test]
fn target_with_a_control_or_an_8_bit_byte_is_rejected() {
    for (before, after) in
        [("/a", "b"), ("/a?b", "d"), ("http://a/", ""), ("", ""), ("/", ""), ("http://a", "/")]
    {
        for byte in (0..=u8::MAX).filter(|byte| !(0x21..=0x7e).contains(byte)) {
            let target = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            let input = [b"GET ", &target[..], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
            assert_status(input, &[400]);
        }
    }
}

/// Targets in none of the four forms. [RFC 9112 section 3.2]
#[test]
fn target_in_no_known_form_is_rejected() {
    let targets: &[(&[u8], &[u8])] = &[
        (b"GET", b"/p#f"),
        (b"GET", b"/p?q#f"),
        (b"GET", b"#"),
        (b"GET", b"http://a/p#f"),
        (b"GET", b"p"),
        (b"GET", b"?q"),
        (b"GET", b"./p"),
        (b"GET", b"\\p"),
        (b"GET", b"*"),
        (b"POST", b"*"),
        (b"OPTIONS", b"*/p"),
        (b"OPTIONS", b"**"),
        (b"GET", b"a:80"),
        (b"GET", b"http:"),
        (b"GET", b"http:/p"),
        (b"GET", b"http://"),
        (b"GET", b"http:///p"),
        (b"GET", b"http://:80/p"),
        (b"GET", b"http://a:b/p"),
        (b"GET", b"http://a:8:9/p"),
        (b"GET", b"http://[::1/p"),
        (b"GET", b"http://u@a/p"),
        (b"GET", b"http://u:p@a/p"),
        (b"GET", b"/%00"),
        (b"GET", b"/a%00b?q"),
    ];
    for (method, target) in targets {
        let input = [method, &b" "[..], target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        assert_status(input, &[400]);
    }
}
