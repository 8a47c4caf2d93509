//! A node of a chain: an address, or a name in place of it. [RFC 7239 section 6]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::forwarded::Client;

/// One node of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// An address, perhaps with a port.
    Address(Client),
    /// `unknown`, or an identifier such as `_hidden`: the proxy does not say the address.
    Hidden,
}

/// How an IPv6 address is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Brackets {
    /// In brackets, as in a URL. [RFC 7239 section 6.1]
    Required,
    /// With or without brackets; without them no port can follow: `X-Forwarded-For`.
    Optional,
}

impl Node {
    /// Parses a node; `None` if it is malformed.
    pub(super) fn parse(text: &[u8], brackets: Brackets) -> Option<Node> {
        // A port that is hidden as well, such as `_p1`, is as good as none.
        let text = std::str::from_utf8(text).ok()?;
        if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            let ip = address.parse::<Ipv6Addr>().ok()?;
            let port = match rest {
                "" => None,
                rest => parse_port(rest.strip_prefix(':')?)?,
            };
            return Some(Node::address(ip.into(), port));
        }
        if brackets == Brackets::Optional
            && let Ok(ip) = text.parse::<Ipv6Addr>()
        {
            return Some(Node::address(ip.into(), None));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, parse_port(port)?),
            None => (text, None),
        };
        if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) {
            return Some(Node::Hidden);
        }
        let ip = name.parse::<Ipv4Addr>().ok()?;
        Some(Node::address(ip.into(), port))
    }

    fn address(ip: IpAddr, port: Option<u16>) -> Node {
        Node::Address(Client { ip: ip.to_canonical(), port })
    }
}

/// `None` if the port is malformed, `Some(None)` if it is hidden. [RFC 7239 section 6, `node-port`]
fn parse_port(text: &str) -> Option<Option<u16>> {
    if is_obfuscated(text) {
        return Some(None);
    }
    if text.len() > 5 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().map(Some)
}

/// [RFC 7239 section 6.3, `obfnode`]
fn is_obfuscated(text: &str) -> bool {
    let Some(name) = text.strip_prefix('_') else { return false };
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !name.is_empty() && name.bytes().all(is_valid)
}
