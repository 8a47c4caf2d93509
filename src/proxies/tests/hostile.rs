//! Fields that lie or break their grammar: each is refused, and the error names the field.

use super::*;

#[test]
fn malformed_chain_is_refused() {
    for chain in [
        "",
        ",",
        " , ",
        "1.1.1.1,",
        ",1.1.1.1",
        "1.1.1.1,,2.2.2.2",
        "x",
        "1",
        "1.1.1",
        "1.1.1.1.1",
        "1.1.1.256",
        "01.1.1.1",
        "1.1.1.01",
        "0x1.1.1.1",
        "+1.1.1.1",
        "1.1.1.1 2.2.2.2",
        "1.1.1.1;2.2.2.2",
        "1.1.1.1/24",
        "10.0.0.0/8",
        "1.1.1.1:",
        "1.1.1.1:x",
        "1.1.1.1:65536",
        "1.1.1.1:000080",
        "1.1.1.1:+80",
        "1.1.1.1:-1",
        "1.1.1.1:80:80",
        "1.1.1.1:_",
        ":80",
        "[",
        "[]",
        "[::1",
        "::1]",
        "[::1]x",
        "[::1]:",
        "[::1]:x",
        "[::1]:65536",
        "[1.1.1.1]",
        "[[::1]]",
        "::1%eth0",
        "[fe80::1%1]",
        ":::",
        "1::2::3",
        "12345::",
        "g::1",
        "localhost",
        "example.org",
        "\"1.1.1.1\"",
        "for=1.1.1.1",
        "unknown!",
        "_",
        "_a b",
        "_a!",
        "-",
        "*",
        "garbage, 203.0.113.1",
        "<script>, 203.0.113.1, 10.0.0.1",
        "203.0.113.1, garbage",
        "\u{661}.1.1.1",
        "1.1.1.1\u{a0}",
        "1.1.1.1\t\t2.2.2.2",
        "''",
        "null",
        "NaN",
        "1.1.1.1, 10.0.0.1, ",
        "16843009",
        "unknown:",
        "unknown:x",
    ] {
        let found = resolve_lines("for", &format!("X-Forwarded-For: {chain}"));
        assert_eq!(found, Err(Error::For), "{chain:?}");
        // Behind a good one, on a line of its own.
        let lines = format!("X-Forwarded-For: 203.0.113.1\nX-Forwarded-For: {chain}");
        assert_eq!(resolve_lines("for", &lines), Err(Error::For), "{chain:?}");
    }
}

#[test]
fn malformed_or_contradictory_scheme_is_refused() {
    for lines in [
        "X-Forwarded-Proto: ",
        "X-Forwarded-Proto: ,",
        "X-Forwarded-Proto: ftp",
        "X-Forwarded-Proto: ws",
        "X-Forwarded-Proto: httpss",
        "X-Forwarded-Proto: https://",
        "X-Forwarded-Proto: \"https\"",
        "X-Forwarded-Proto: https http",
        "X-Forwarded-Proto: https;http",
        "X-Forwarded-Proto: http, https",
        "X-Forwarded-Proto: https,https,http",
        "X-Forwarded-Proto: https,",
        "X-Forwarded-Proto: https\nX-Forwarded-Proto: http",
        "X-Forwarded-Proto: https\nX-Forwarded-Ssl: off",
        "X-Forwarded-Proto: http\nX-Forwarded-Protocol: ssl",
        "X-Forwarded-Ssl: 1",
        "X-Forwarded-Ssl: on,off",
        "X-Forwarded-Protocol: tls",
    ] {
        assert_eq!(resolve_lines("proto", lines), Err(Error::Proto), "{lines:?}");
    }
}

#[test]
fn malformed_listed_or_repeated_host_is_refused() {
    for value in [
        "",
        ":80",
        "a,b",
        "a, b",
        "a,",
        ",a",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "u@a",
        "http://a",
        "a:b",
        "a:65536",
        "a:80:80",
        "[::1",
        "::1",
        "[zz]",
        "a\\b",
        "a%",
        "a%zz",
        "a\tb",
        "<a>",
        "\"a\"",
        "caf\u{e9}",
    ] {
        let line = format!("X-Forwarded-Host: {value}");
        assert_eq!(resolve_lines("host", &line), Err(Error::Host), "{value:?}");
    }
    let twice = "X-Forwarded-Host: a\nX-Forwarded-Host: a";
    assert_eq!(resolve_lines("host", twice), Err(Error::Host));
}

#[test]
fn malformed_listed_or_repeated_port_is_refused() {
    for value in [
        "",
        "0",
        "00000",
        "65536",
        "99999999999999999999",
        "-1",
        "+80",
        "0x50",
        "80,80",
        "80 ,443",
        "http",
        "80.0",
        ":80",
        "000080",
        "\u{661}",
    ] {
        let line = format!("X-Forwarded-Port: {value}");
        assert_eq!(resolve_lines("port", &line), Err(Error::Port), "{value:?}");
    }
    let twice = "X-Forwarded-Port: 80\nX-Forwarded-Port: 80";
    assert_eq!(resolve_lines("port", twice), Err(Error::Port));
}

#[test]
fn malformed_or_repeated_prefix_is_refused() {
    for value in [
        "a",
        "a/",
        "//",
        "//a",
        "/a//b",
        "/a//",
        "/..",
        "/../a",
        "/a/..",
        "/a/../b",
        "/a..b",
        "/a?b",
        "/a#b",
        "/a b",
        "/a\tb",
        "/a\\b",
        "/<a>",
        "/%",
        "/%2",
        "/%zz",
        "/%2e%2e",
        "/%2E./a",
        "/a%2f/b",
        "/%2f",
        "/a%3fb",
        "/a%23",
        "/a%00",
        "/a%0d%0aX",
        "/caf\u{e9}",
        "http://a/b",
        "?",
        "#",
        "..",
        "\"/a\"",
    ] {
        let line = format!("X-Forwarded-Prefix: {value}");
        assert_eq!(resolve_lines("prefix", &line), Err(Error::Prefix), "{value:?}");
    }
    let twice = "X-Forwarded-Prefix: /a\nX-Forwarded-Prefix: /a";
    assert_eq!(resolve_lines("prefix", twice), Err(Error::Prefix));
}

#[test]
fn names_with_underscores_are_other_fields() {
    let lines = "X_Forwarded_For: 1.1.1.1\nX_FORWARDED_HOST: a\nX-Forwarded_Proto: https";
    let found = resolve_lines("for,proto,host,port,prefix", lines);
    assert_eq!(found, Ok(Forwarded::default()));
}
