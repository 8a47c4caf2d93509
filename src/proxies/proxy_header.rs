//! Headers of the PROXY protocol, versions 1 and 2, which come before the first byte of a
//! connection. [The PROXY protocol, <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>]
//!
//! A header may arrive in pieces, so "not complete yet" is a result. `ppp` reads the addresses and
//! the TLVs. This file finds the end of the header, and keeps the rules that `ppp` leaves open: it
//! takes the line `PROXY TCP4 192.0.2.1` for incomplete, a sign for part of a port, and the family
//! of a LOCAL header for relevant.

use std::net::SocketAddr;
use std::str::FromStr;

use ppp::{v1, v2};

/// `--proxy-protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyProtocol {
    /// No headers.
    #[default]
    Off,
    /// Version 1 only.
    V1,
    /// Version 2 only.
    V2,
    /// Either version.
    Auto,
}

impl FromStr for ProxyProtocol {
    type Err = String;

    /// Parses the value of the option. `true` and `false` are gunicorn's former values.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    fn from_str(text: &str) -> Result<ProxyProtocol, String> {
        match text.to_ascii_lowercase().as_str() {
            "off" | "false" | "none" => Ok(ProxyProtocol::Off),
            "v1" => Ok(ProxyProtocol::V1),
            "v2" => Ok(ProxyProtocol::V2),
            "auto" | "true" => Ok(ProxyProtocol::Auto),
            _ => Err("not one of off, v1, v2, auto".to_owned()),
        }
    }
}

impl ProxyProtocol {
    /// The value of the option.
    pub fn as_str(self) -> &'static str {
        match self {
            ProxyProtocol::Off => "off",
            ProxyProtocol::V1 => "v1",
            ProxyProtocol::V2 => "v2",
            ProxyProtocol::Auto => "auto",
        }
    }
}

/// A complete header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its length in bytes.
    pub length: usize,
    /// Whom the connection is from.
    pub source: Source,
    /// The client has connected to the proxy over TLS: PP2_TYPE_SSL.
    pub is_tls: bool,
}

/// Whom a connection is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The peer: the proxy speaks for itself, or does not say.
    Peer,
    /// This client.
    Client(SocketAddr),
    /// A client on a unix socket of the proxy.
    Unix,
}

/// The bytes are not the start of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// The longest header of version 1, its line end included.
const MAX_V1_BYTES: usize = 107;
/// The longest header of version 2 that is accepted; HAProxy's buffers have this size. The protocol
/// allows 64 KiB, which no proxy needs: the largest TLV is the client's certificate.
const MAX_V2_BYTES: usize = 16 * 1024;
/// As many bytes as [`parse_proxy_header`] ever needs.
pub const MAX_BYTES: usize = MAX_V2_BYTES;
/// As many bytes as [`is_proxy_header`] ever needs.
pub const PREFIX_BYTES: usize = 14;

const V1_PREFIX: &[u8] = b"PROXY ";
const V2_PREFIX: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The start of a header of version 2 up to the length of the rest.
const V2_START_BYTES: usize = V2_PREFIX.len() + 4;

const TLV_SSL: u8 = 0x20;
/// In the first byte of that TLV.
const CLIENT_SSL: u8 = 0x01;
/// A bit field, and the result of the verification of a certificate.
const MIN_SSL_TLV_BYTES: usize = 5;

/// Parses the header at the start of `bytes`; `None` if it is not complete. `allowed` is not
/// [`ProxyProtocol::Off`].
pub fn parse_proxy_header(
    bytes: &[u8],
    allowed: ProxyProtocol,
) -> Result<Option<ProxyHeader>, Malformed> {
    let starts = |prefix: &[u8]| {
        let length = prefix.len().min(bytes.len());
        bytes[..length] == prefix[..length]
    };
    if allowed != ProxyProtocol::V2 && starts(V1_PREFIX) {
        parse_v1(bytes)
    } else if allowed != ProxyProtocol::V1 && starts(V2_PREFIX) {
        parse_v2(bytes)
    } else {
        Err(Malformed)
    }
}

/// Whether `bytes` begin with a header of either version; `None` if there are too few to know. A
/// request whose method is `PROXY` is no header.
pub fn is_proxy_header(bytes: &[u8]) -> Option<bool> {
    let starts = [&b"PROXY TCP4 "[..], b"PROXY TCP6 ", b"PROXY UNKNOWN", V2_PREFIX];
    if starts.iter().any(|start| bytes.starts_with(start)) {
        return Some(true);
    }
    if starts.iter().any(|start| start.starts_with(bytes)) { None } else { Some(false) }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<ProxyHeader>, Malformed> {
    let window = &bytes[..bytes.len().min(MAX_V1_BYTES)];
    let Some(end) = memchr::memchr2(b'\r', b'\n', window) else {
        return if window.len() == MAX_V1_BYTES { Err(Malformed) } else { Ok(None) };
    };
    match window[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if window.len() < MAX_V1_BYTES => return Ok(None),
        _ => return Err(Malformed),
    }
    let line = &window[..end + 2];
    let source = match &line[V1_PREFIX.len()..] {
        // What follows must be ignored.
        [b'U', b'N', b'K', b'N', b'O', b'W', b'N', b' ' | b'\r', ..] => Source::Peer,
        _ if line.contains(&b'+') => return Err(Malformed),
        _ => match v1::Header::try_from(line).map_err(|_| Malformed)?.addresses {
            v1::Addresses::Tcp4(ip) => client(ip.source_address, ip.source_port),
            v1::Addresses::Tcp6(ip) => client(ip.source_address, ip.source_port),
            v1::Addresses::Unknown => return Err(Malformed),
        },
    };
    Ok(Some(ProxyHeader { length: line.len(), source, is_tls: false }))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<ProxyHeader>, Malformed> {
    let start = bytes.get(V2_PREFIX.len()..).unwrap_or_default();
    // Version and command.
    if start.first().is_some_and(|byte| !matches!(byte, 0x20 | 0x21)) {
        return Err(Malformed);
    }
    let [command, family, high, low, ..] = *start else { return Ok(None) };
    let length = V2_START_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_V2_BYTES {
        return Err(Malformed);
    }
    // Family and transport protocol. "Other values [...] must be rejected as invalid by receivers."
    let is_local = command == 0x20;
    if !is_local && !matches!(family, 0x00 | 0x11 | 0x12 | 0x21 | 0x22 | 0x31 | 0x32) {
        return Err(Malformed);
    }
    let Some(bytes) = bytes.get(..length) else { return Ok(None) };
    if is_local {
        return Ok(Some(ProxyHeader { length, source: Source::Peer, is_tls: false }));
    }
    let header = v2::Header::try_from(bytes).map_err(|_| Malformed)?;
    let source = match header.addresses {
        // A receiver that does not serve datagrams takes them for unspecified.
        _ if header.protocol == v2::Protocol::Datagram => Source::Peer,
        v2::Addresses::Unspecified => Source::Peer,
        v2::Addresses::IPv4(ip) => client(ip.source_address, ip.source_port),
        v2::Addresses::IPv6(ip) => client(ip.source_address, ip.source_port),
        v2::Addresses::Unix(_) => Source::Unix,
    };
    let is_tls = match header.addresses {
        // What follows must be ignored, unless it is TLVs.
        v2::Addresses::Unspecified => is_tls(bytes[V2_START_BYTES..].into()).unwrap_or(false),
        _ => is_tls(header.tlvs())?,
    };
    Ok(Some(ProxyHeader { length, source, is_tls }))
}

/// Whether the client uses TLS by these TLVs.
fn is_tls(tlvs: v2::TypeLengthValues<'_>) -> Result<bool, Malformed> {
    let mut is_tls = false;
    for tlv in tlvs {
        let tlv = tlv.map_err(|_| Malformed)?;
        if tlv.kind == TLV_SSL {
            if tlv.value.len() < MIN_SSL_TLV_BYTES {
                return Err(Malformed);
            }
            is_tls = tlv.value[0] & CLIENT_SSL != 0;
        }
    }
    Ok(is_tls)
}

fn client(ip: impl Into<std::net::IpAddr>, port: u16) -> Source {
    Source::Client(SocketAddr::new(ip.into(), port))
}
