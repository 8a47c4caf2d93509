//! Tables of fields and their results. Trusted are 10.0.0.0/8, 127.0.0.1 and fd00::/8; a test file
//! for each kind of header is below.

mod hostile;
mod proxy_header;
mod rfc7239;

use core::net::IpAddr;

use super::*;

fn trusts(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] == 10 || ip.octets() == [127, 0, 0, 1],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff00 == 0xfd00,
    }
}

fn applied(names: &str) -> ForwardedFields {
    names
        .split(',')
        .map(|name| name.parse().unwrap())
        .try_fold(ForwardedFields::default(), ForwardedFields::union)
        .unwrap()
}

/// Resolves fields in the notation of a message: `Name: value`, one a line.
fn resolve_lines(names: &str, lines: &str) -> Result<Forwarded, Error> {
    let fields = lines.lines().map(|line| {
        let (name, value) = line.split_once(':').expect("a field");
        (name.as_bytes(), value.trim_matches([' ', '\t']).as_bytes())
    });
    resolve(applied(names), fields, trusts)
}

/// The client as `ip` or `ip port`; `-` if it is the peer.
fn client_of(result: Result<Forwarded, Error>) -> Result<String, Error> {
    Ok(match result?.client {
        None => "-".to_owned(),
        Some(Client { ip, port: None }) => ip.to_string(),
        Some(Client { ip, port: Some(port) }) => format!("{ip} {port}"),
    })
}

#[test]
fn chain_is_read_from_the_right_up_to_the_first_untrusted_address() {
    for (chain, client) in [
        ("203.0.113.1", "203.0.113.1"),
        ("203.0.113.1, 10.0.0.1", "203.0.113.1"),
        ("203.0.113.1, 10.0.0.1,10.0.0.2 ,127.0.0.1", "203.0.113.1"),
        // The client has sent the left part itself.
        ("10.0.0.9, 203.0.113.1", "203.0.113.1"),
        ("1.1.1.1, 203.0.113.1, 10.0.0.1", "203.0.113.1"),
        ("unknown, 203.0.113.1", "203.0.113.1"),
        ("_x, 203.0.113.1, 10.0.0.1", "203.0.113.1"),
        // All are trusted: the leftmost one.
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.3, 10.0.0.2, 10.0.0.1", "10.0.0.3"),
        ("10.0.0.3:77, 10.0.0.2", "10.0.0.3 77"),
        // Ports, as some load balancers send them.
        ("203.0.113.1:4711", "203.0.113.1 4711"),
        ("203.0.113.1:4711, 10.0.0.1:80", "203.0.113.1 4711"),
        ("203.0.113.1:0", "203.0.113.1 0"),
        ("203.0.113.1:_p", "203.0.113.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1 443"),
        ("2001:db8::1, fd00::1, [fd00::2]:80", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        // A mapped address is that of IPv4, trusted or not.
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("203.0.113.1, ::ffff:10.0.0.1", "203.0.113.1"),
        // The address is hidden: the peer's stays, and nothing further left is believed.
        ("unknown", "-"),
        ("UNKNOWN", "-"),
        ("unknown:80", "-"),
        ("203.0.113.1, unknown", "-"),
        ("203.0.113.1, unknown, 10.0.0.1", "-"),
        ("203.0.113.1, _hidden, 10.0.0.1", "-"),
        ("_SEVKISEK", "-"),
        ("_a.b-c_d:80", "-"),
    ] {
        let found = client_of(resolve_lines("for", &format!("X-Forwarded-For: {chain}")));
        assert_eq!(found, Ok(client.to_owned()), "{chain}");
    }
}

#[test]
fn repeated_fields_are_one_chain() {
    let lines = "X-Forwarded-For: 1.1.1.1, 203.0.113.1\nx-forwarded-FOR: 10.0.0.1";
    assert_eq!(client_of(resolve_lines("for", lines)), Ok("203.0.113.1".to_owned()));
    let lines = "X-Forwarded-For: 10.0.0.1\nX-Forwarded-For: 203.0.113.1";
    assert_eq!(client_of(resolve_lines("for", lines)), Ok("203.0.113.1".to_owned()));
}

#[test]
fn fields_that_are_not_applied_are_not_read() {
    let lines = "X-Forwarded-For: !\nX-Forwarded-Proto: !\nX-Forwarded-Host: !/\n\
        X-Forwarded-Port: !\nX-Forwarded-Prefix: !\nForwarded: !\nX-Real-IP: 1.1.1.1";
    assert_eq!(resolve_lines("", lines), Ok(Forwarded::default()));
    for (names, error) in [
        ("for", Error::For),
        ("proto", Error::Proto),
        ("host", Error::Host),
        ("port", Error::Port),
        ("prefix", Error::Prefix),
        ("forwarded", Error::Forwarded),
    ] {
        assert_eq!(resolve_lines(names, lines), Err(error), "{names}");
        assert_eq!(resolve_lines(names, "Host: a"), Ok(Forwarded::default()), "{names}");
    }
}

#[test]
fn scheme_is_what_all_members_agree_on() {
    use Scheme::{Http, Https};
    for (lines, scheme) in [
        ("X-Forwarded-Proto: https", Https),
        ("X-Forwarded-Proto: HTTP", Http),
        ("X-Forwarded-Proto: https,https , https", Https),
        ("X-Forwarded-Proto: https\nX-Forwarded-Proto: https", Https),
        ("X-Forwarded-Ssl: on", Https),
        ("X-Forwarded-Ssl: off", Http),
        ("X-Forwarded-Protocol: ssl", Https),
        ("X-Forwarded-Protocol: https\nX-Forwarded-Proto: https\nX-Forwarded-Ssl: ON", Https),
    ] {
        let found = resolve_lines("proto", lines).unwrap();
        assert_eq!(found, Forwarded { scheme: Some(scheme), ..Forwarded::default() }, "{lines}");
    }
}

#[test]
fn host_has_a_name_and_perhaps_a_port() {
    for (value, name, port) in [
        ("example.org", "example.org", None),
        ("example.org:8443", "example.org", Some(8443)),
        ("example.org:", "example.org", None),
        ("192.0.2.1:80", "192.0.2.1", Some(80)),
        ("[2001:db8::1]", "[2001:db8::1]", None),
        ("[2001:db8::1]:8443", "[2001:db8::1]", Some(8443)),
        ("a_b.example", "a_b.example", None),
    ] {
        let found = resolve_lines("host", &format!("X-Forwarded-Host: {value}")).unwrap();
        assert_eq!(found.host, Some(Host { name: name.to_owned(), port }), "{value}");
    }
    let found = resolve_lines("port", "X-Forwarded-Port: 8443").unwrap();
    assert_eq!(found, Forwarded { port: Some(8443), ..Forwarded::default() });
}

#[test]
fn prefix_loses_its_final_slash_and_is_decoded() {
    for (value, prefix) in [
        ("", ""),
        ("/", ""),
        ("/shop", "/shop"),
        ("/shop/", "/shop"),
        ("/a/b/c", "/a/b/c"),
        ("/sh%6Fp", "/shop"),
        ("/a.b/~x@y:z", "/a.b/~x@y:z"),
        ("/%20", "/ "),
    ] {
        let found = resolve_lines("prefix", &format!("X-Forwarded-Prefix: {value}")).unwrap();
        assert_eq!(found.prefix.as_deref(), Some(prefix.as_bytes()), "{value}");
    }
}

#[test]
fn list_of_fields_is_a_set() {
    let all = applied("for,proto,host,port,prefix");
    assert!(all.has_for() && all.has_proto() && all.has_host() && all.has_port());
    assert!(all.has_prefix() && !all.has_forwarded());
    assert_eq!(applied("proto, PROTO"), ForwardedFields::DEFAULT);
    assert_eq!(applied(""), ForwardedFields::default());
    assert_eq!(applied("host,for").names().collect::<Vec<_>>(), ["for", "host"]);
    assert!(applied("forwarded").union(applied("for")).is_err());
    assert!("x-forwarded-for".parse::<ForwardedFields>().is_err());
}

#[test]
fn family_is_recognized_by_its_prefix() {
    for (name, expected) in [
        ("X-Forwarded-For", true),
        ("x-forwarded-anything", true),
        ("FORWARDED", true),
        ("X-Forwarded-", false),
        ("X-Forwarded", false),
        ("Forwarded-For", false),
        ("X-Real-IP", false),
        ("X_Forwarded_For", false),
    ] {
        assert_eq!(is_forwarded_field(name.as_bytes()), expected, "{name}");
    }
}
