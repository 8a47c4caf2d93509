//! Headers of the PROXY protocol: each is parsed whole, cut at every byte, and with more behind.

use core::net::SocketAddr;

use super::*;
use ProxyProtocol::{Auto, V1, V2};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.extend([command, family]);
    header.extend((payload.len() as u16).to_be_bytes());
    header.extend(payload);
    header
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut tlv = vec![kind];
    tlv.extend((value.len() as u16).to_be_bytes());
    tlv.extend(value);
    tlv
}

const IPV4: &[u8] = &[203, 0, 113, 1, 10, 0, 0, 1, 0x12, 0x67, 0, 80];

fn ipv6() -> Vec<u8> {
    let address = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let mut payload = [address(1), address(2)].concat();
    payload.extend([0x12, 0x67, 0, 80]);
    payload
}

fn with_tlvs(tlvs: &[Vec<u8>]) -> Vec<u8> {
    [IPV4, &tlvs.concat()].concat()
}

fn client(text: &str) -> Source {
    Source::Client(text.parse::<SocketAddr>().unwrap())
}

/// Parses it whole, at each length below, and with a request behind it.
fn assert_header(bytes: &[u8], allowed: ProxyProtocol, source: Source, is_tls: bool) {
    let expected = ProxyHeader { length: bytes.len(), source, is_tls };
    let shown = bytes.escape_ascii();
    assert_eq!(parse_proxy_header(bytes, allowed), Ok(Some(expected)), "{shown}");
    let behind = [bytes, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    assert_eq!(parse_proxy_header(&behind, allowed), Ok(Some(expected)), "{shown}");
    for end in 0..bytes.len() {
        assert_eq!(parse_proxy_header(&bytes[..end], allowed), Ok(None), "{shown} up to {end}");
    }
}

/// It is malformed, alone and with bytes behind it, and never a header when it is cut.
fn assert_malformed(bytes: &[u8], allowed: ProxyProtocol) {
    let shown = bytes.escape_ascii();
    let behind = [bytes, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    assert_eq!(parse_proxy_header(&behind, allowed), Err(Malformed), "{shown}");
    for end in 0..bytes.len() {
        let found = parse_proxy_header(&bytes[..end], allowed);
        assert!(matches!(found, Ok(None) | Err(Malformed)), "{shown} up to {end}: {found:?}");
    }
}

#[test]
fn version_1_names_the_client_or_keeps_the_peer() {
    for allowed in [V1, Auto] {
        for (line, source) in [
            ("PROXY TCP4 203.0.113.1 10.0.0.1 4711 80", client("203.0.113.1:4711")),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535",
                client("255.255.255.255:65535"),
            ),
            ("PROXY TCP4 203.0.113.1 10.0.0.1 0 0", client("203.0.113.1:0")),
            ("PROXY TCP6 2001:db8::1 ::1 4711 80", client("[2001:db8::1]:4711")),
            ("PROXY UNKNOWN", Source::Peer),
            ("PROXY UNKNOWN ffff:f::1 ffff::2 65535 65535", Source::Peer),
            ("PROXY UNKNOWN anything at all, of any number of words ( \u{e9})", Source::Peer),
        ] {
            assert_header(format!("{line}\r\n").as_bytes(), allowed, source, false);
        }
    }
}

#[test]
fn version_1_has_at_most_107_bytes() {
    let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
    assert_header(line(107).as_bytes(), Auto, Source::Peer, false);
    assert_malformed(line(108).as_bytes(), Auto);
    assert_malformed(&line(10_000).as_bytes()[..107], Auto);
}

#[test]
fn malformed_version_1_is_refused() {
    for line in [
        "GET / HTTP/1.1\r\n",
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY  TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "proxy TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY tcp4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP5 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY UDP4 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 1.1.1.1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 \r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 \r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2 3\r\n",
        "PROXY TCP4 1.1.1.1  2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.256 2.2.2.2 1 2\r\n",
        "PROXY TCP4 01.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 01 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 65536 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 -1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 +1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 x\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n",
        "PROXY TCP6 1.1.1.1 2.2.2.2 1 2\r\n",
        "PROXY TCP6 [::1] [::2] 1 2\r\n",
        "PROXY TCP6 fe80::1%1 ::2 1 2\r\n",
        "PROXY UNKNOWN,\r\n",
        "PROXY UNKNOWN\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\rX",
        "PROXY TCP4 1.1.1.1\t2.2.2.2 1 2\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\0\r\n",
    ] {
        assert_malformed(line.as_bytes(), Auto);
    }
}

#[test]
fn version_2_names_the_client_or_keeps_the_peer() {
    let unix = [b'/'; 216];
    for allowed in [V2, Auto] {
        for (header, source) in [
            (v2(0x21, 0x11, IPV4), client("203.0.113.1:4711")),
            (v2(0x21, 0x21, &ipv6()), client("[2001:db8::1]:4711")),
            (v2(0x21, 0x31, &unix), Source::Unix),
            // UNSPEC, with and without bytes that have to be ignored.
            (v2(0x21, 0x00, b""), Source::Peer),
            (v2(0x21, 0x00, b"anything"), Source::Peer),
            // Datagrams are not served.
            (v2(0x21, 0x12, IPV4), Source::Peer),
            (v2(0x21, 0x22, &ipv6()), Source::Peer),
            (v2(0x21, 0x32, &unix), Source::Peer),
            // LOCAL: family and addresses are ignored.
            (v2(0x20, 0x00, b""), Source::Peer),
            (v2(0x20, 0x11, IPV4), Source::Peer),
            (v2(0x20, 0x11, b""), Source::Peer),
            (v2(0x20, 0xff, b"\x01"), Source::Peer),
        ] {
            assert_header(&header, allowed, source, false);
        }
    }
}

#[test]
fn tlvs_are_skipped_except_for_ssl() {
    let ssl = |client: u8| tlv(0x20, &[client, 0, 0, 0, 0]);
    let subtypes = [&[1, 0, 0, 0, 0][..], &tlv(0x21, b"TLSv1.3")].concat();
    for (tlvs, is_tls) in [
        (vec![], false),
        (vec![tlv(0x01, b"h2")], false),
        // CRC32C is not verified, as by most receivers.
        (vec![tlv(0x03, &[0, 0, 0, 0])], false),
        (vec![tlv(0x04, b""), tlv(0x05, b"id"), tlv(0xea, b"\x01vpce-1")], false),
        (vec![tlv(0x04, &[0; 1000])], false),
        (vec![ssl(1)], true),
        (vec![ssl(7)], true),
        (vec![ssl(0)], false),
        (vec![ssl(6)], false),
        (vec![tlv(0x02, b"a.example"), tlv(0x20, &subtypes), tlv(0x03, &[1, 2, 3, 4])], true),
    ] {
        let header = v2(0x21, 0x11, &with_tlvs(&tlvs));
        assert_header(&header, Auto, client("203.0.113.1:4711"), is_tls);
        // Without an address of the client.
        assert_header(&v2(0x21, 0x00, &tlvs.concat()), Auto, Source::Peer, is_tls);
        assert_header(&v2(0x20, 0x00, &tlvs.concat()), Auto, Source::Peer, false);
    }
}

#[test]
fn malformed_version_2_is_refused() {
    let cut = |by: usize| IPV4[..IPV4.len() - by].to_vec();
    for header in [
        // Version, command.
        v2(0x11, 0x11, IPV4),
        v2(0x31, 0x11, IPV4),
        v2(0x22, 0x11, IPV4),
        v2(0x2f, 0x11, IPV4),
        // Family and transport protocol.
        v2(0x21, 0x01, b""),
        v2(0x21, 0x10, IPV4),
        v2(0x21, 0x13, IPV4),
        v2(0x21, 0x41, IPV4),
        v2(0x21, 0xff, IPV4),
        // Addresses that do not fit.
        v2(0x21, 0x11, b""),
        v2(0x21, 0x11, &cut(1)),
        v2(0x21, 0x21, IPV4),
        v2(0x21, 0x31, &[0; 215]),
        // TLVs that do not fit.
        v2(0x21, 0x11, &[IPV4, &[4][..]].concat()),
        v2(0x21, 0x11, &[IPV4, &[4, 0][..]].concat()),
        v2(0x21, 0x11, &[IPV4, &[4, 0, 1][..]].concat()),
        v2(0x21, 0x11, &with_tlvs(&[tlv(0x20, &[1, 0, 0, 0])])),
        v2(0x21, 0x11, &with_tlvs(&[tlv(0x20, b"")])),
        // Larger than any proxy's.
        v2(0x21, 0x11, &with_tlvs(&[tlv(0x04, &[0; 60_000])])),
        v2(0x20, 0x00, &[0; 65_535]),
    ] {
        assert_malformed(&header, Auto);
    }
    let largest = with_tlvs(&[tlv(0x04, &vec![0; MAX_BYTES - 16 - 12 - 3])]);
    assert_header(&v2(0x21, 0x11, &largest), Auto, client("203.0.113.1:4711"), false);
    let mut signature = v2(0x21, 0x11, IPV4);
    for at in 0..SIGNATURE.len() {
        signature[at] ^= 1;
        assert_malformed(&signature, Auto);
        signature[at] ^= 1;
    }
}

#[test]
fn other_version_is_refused() {
    assert_malformed(b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n", V2);
    assert_malformed(&v2(0x21, 0x11, IPV4), V1);
}

#[test]
fn request_and_header_differ_in_their_first_bytes() {
    for (bytes, expected) in [
        (&b""[..], None),
        (b"P", None),
        (b"PROXY ", None),
        (b"PROXY TCP4", None),
        (b"PROXY TCP4 ", Some(true)),
        (b"PROXY TCP6 1", Some(true)),
        (b"PROXY UNKNOWN", Some(true)),
        (b"PROXY /path HTTP/1.1", Some(false)),
        (b"POST / HTTP/1.1", Some(false)),
        (b"PR", None),
        (b"\r\n", None),
        (b"\r\nGET", Some(false)),
        (&SIGNATURE[..11], None),
        (SIGNATURE, Some(true)),
        (b"\x16\x03\x01", Some(false)),
    ] {
        assert_eq!(is_proxy_header(bytes), expected, "{}", bytes.escape_ascii());
        assert!(bytes.len() < PREFIX_BYTES || expected.is_some());
    }
}
