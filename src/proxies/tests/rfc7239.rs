//! `Forwarded`: the grammar of RFC 7239, and which element counts.

use super::*;

fn forwarded(lines: &str) -> Result<Forwarded, Error> {
    resolve_lines("forwarded", lines)
}

#[test]
fn element_is_chosen_by_its_for() {
    // chain, client, scheme, host
    for (value, client, is_https, host) in [
        ("for=203.0.113.1", "203.0.113.1", None, None),
        ("For=203.0.113.1;Proto=HTTPS;By=10.0.0.1", "203.0.113.1", Some(true), None),
        ("for=\"203.0.113.1:4711\"", "203.0.113.1 4711", None, None),
        ("for=\"[2001:db8::1]\";host=a.example", "2001:db8::1", None, Some("a.example")),
        ("for=\"[2001:db8::1]:47011\"", "2001:db8::1 47011", None, None),
        ("for=\"203.0.113.1:_p\"", "203.0.113.1", None, None),
        ("for=\"\\203.0.113.\\1\"", "203.0.113.1", None, None),
        ("for=203.0.113.1 ; proto=https ;", "203.0.113.1", Some(true), None),
        (";;for=203.0.113.1;;", "203.0.113.1", None, None),
        ("for=203.0.113.1;secret=x;ext=\"a,b;c\\\"d\"", "203.0.113.1", None, None),
        // Scheme and host are those of the chosen element.
        (
            "for=1.1.1.1;host=evil;proto=http, for=203.0.113.1;host=a;proto=https, \
             for=10.0.0.1;host=inner;proto=http",
            "203.0.113.1",
            Some(true),
            Some("a"),
        ),
        ("for=10.0.0.2;host=a, for=10.0.0.1;host=b", "10.0.0.2", None, Some("a")),
        ("for=203.0.113.1, for=10.0.0.1;host=b;proto=https", "203.0.113.1", None, None),
        // Only the chosen element's scheme and host have to be usable.
        ("for=1.1.1.1;proto=ftp;host=\"a b\", for=203.0.113.1", "203.0.113.1", None, None),
        // The peer's address stays; what a trusted proxy says besides is applied.
        ("for=unknown;proto=https", "-", Some(true), None),
        ("for=_gazonk", "-", None, None),
        ("for=\"_gazonk:80\"", "-", None, None),
        ("for=203.0.113.1, for=unknown;host=b", "-", None, Some("b")),
        ("proto=https", "-", Some(true), None),
        ("for=203.0.113.1;host=evil, proto=https", "-", Some(true), None),
        ("for=203.0.113.1;host=\"a.example:8443\"", "203.0.113.1", None, Some("a.example")),
    ] {
        let found = forwarded(&format!("Forwarded: {value}")).unwrap();
        let scheme = is_https.map(|is| if is { Scheme::Https } else { Scheme::Http });
        assert_eq!(found.scheme, scheme, "{value}");
        assert_eq!(found.host.as_ref().map(|host| host.name.as_str()), host, "{value}");
        assert_eq!(client_of(Ok(found)), Ok(client.to_owned()), "{value}");
    }
}

#[test]
fn repeated_fields_are_one_list() {
    let lines = "Forwarded: for=1.1.1.1\nForwarded: for=203.0.113.1;proto=https, for=10.0.0.1";
    let found = forwarded(lines).unwrap();
    assert_eq!(found.scheme, Some(Scheme::Https));
    assert_eq!(client_of(Ok(found)), Ok("203.0.113.1".to_owned()));
}

#[test]
fn x_forwarded_fields_are_ignored() {
    let lines = "X-Forwarded-For: 1.1.1.1\nX-Forwarded-Proto: !\nX-Forwarded-Host: evil";
    assert_eq!(forwarded(lines), Ok(Forwarded::default()));
}

#[test]
fn malformed_field_is_refused() {
    for value in [
        "",
        ",",
        ";",
        " ; ",
        "for=1.1.1.1,",
        ",for=1.1.1.1",
        "for=1.1.1.1,,for=2.2.2.2",
        "for",
        "for=",
        "=1.1.1.1",
        "for =1.1.1.1",
        "for= 1.1.1.1",
        "for:1.1.1.1",
        "1.1.1.1",
        "for=1.1.1.1 for=2.2.2.2",
        "for=1.1.1.1;for=2.2.2.2",
        "for=1.1.1.1;FOR=1.1.1.1",
        "proto=https;proto=https;for=1.1.1.1",
        "x=1;x=2;for=1.1.1.1",
        "for=1.1.1.1:80",
        "for=[::1]",
        "for=::1",
        "for=\"::1\"",
        "for=\"2001:db8::1\"",
        "for=\"[::1\"",
        "for=\"[::1]x\"",
        "for=\"[::1]:65536\"",
        "for=\"1.1.1.1",
        "for=\"1.1.1.1\\",
        "for=\"1.1.1.1\\\"",
        "for=\"1.1.1.1\"x",
        "for=\"\"",
        "for=\"1.1.1.1 \"",
        "for=\" 1.1.1.1\"",
        "for='1.1.1.1'",
        "for=\"1.1.1.1, 2.2.2.2\"",
        "for=localhost",
        "for=1.1.1.256",
        "for=_",
        "for=\"_a b\"",
        "for=\"unknown:x\"",
        "for=1.1.1.1;proto=ftp",
        "for=1.1.1.1;proto=",
        "for=1.1.1.1;proto=\"\"",
        "for=1.1.1.1;host=",
        "for=1.1.1.1;host=\"\"",
        "for=1.1.1.1;host=\"a,b\"",
        "for=1.1.1.1;host=\"a b\"",
        "for=1.1.1.1;host=a:80",
        "for=1.1.1.1;host=\"a/b\"",
        "for=1.1.1.1;host=\"u@a\"",
        "for=1.1.1.1;proto=https://",
        "for=1.1.1.1;(x)=1",
        "for=1.1.1.1;x=(1)",
        "for=1.1.1.1\u{e9}",
        "garbage, for=1.1.1.1",
        "for=garbage, for=1.1.1.1",
        "for=1.1.1.1;by=",
        "for=1.1.1.1;by=\"x",
    ] {
        let found = forwarded(&format!("Forwarded: {value}"));
        assert_eq!(found, Err(Error::Forwarded), "{value:?}");
    }
}
