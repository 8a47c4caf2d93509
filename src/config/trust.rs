//! Trusted proxies: `--forwarded-allow-ips`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// Proxies whose forwarded header fields are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// No proxy.
    None,
    /// Every client; for a server that only a proxy can reach.
    All,
    /// The proxies in a network, which may be a single address.
    Network(IpNet),
}

impl Trust {
    /// Whether it includes this address, which may be an IPv4 address mapped to IPv6.
    pub fn covers(&self, ip: IpAddr) -> bool {
        match self {
            Trust::None => false,
            Trust::All => true,
            Trust::Network(network) => network.contains(&ip.to_canonical()),
        }
    }
}

impl FromStr for Trust {
    type Err = String;

    /// Parses nothing, `*`, an address, or a network such as `10.0.0.0/8`.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    fn from_str(text: &str) -> Result<Trust, String> {
        let text = text.trim();
        let network = match text {
            "" => return Ok(Trust::None),
            "*" => return Ok(Trust::All),
            _ => match text.parse::<IpAddr>() {
                Ok(address) => Ok(IpNet::from(address.to_canonical())),
                Err(_) => text.parse::<IpNet>().map(to_canonical),
            },
        };
        network.map(Trust::Network).map_err(|_| {
            format!("'{text}' is not an IP address, a network such as 10.0.0.0/8, or *")
        })
    }
}

/// A network of IPv4 addresses that are mapped to IPv6 as one of IPv4: addresses are compared in
/// that form.
fn to_canonical(network: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(mapped) = network else { return network };
    let address = mapped.addr().to_ipv4_mapped();
    let length = mapped.prefix_len().checked_sub(MAPPED_BITS);
    match address.zip(length) {
        Some((address, length)) => Ipv4Net::new(address, length).map_or(network, IpNet::V4),
        None => network,
    }
}

impl fmt::Display for Trust {
    /// The notation that [`FromStr`] accepts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trust::None => Ok(()),
            Trust::All => f.write_str("*"),
            Trust::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                network.addr().fmt(f)
            }
            Trust::Network(network) => network.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_covers_its_addresses() {
        for (text, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("::1", "::1", "::2"),
            (" 10.0.0.0/8", "10.9.8.7", "11.0.0.1"),
            ("fd00::/8", "fd12::1", "fe80::1"),
        ] {
            let trust: Trust = text.parse().unwrap();
            assert!(trust.covers(inside.parse().unwrap()), "{text} {inside}");
            assert!(!trust.covers(outside.parse().unwrap()), "{text} {outside}");
            assert_eq!(trust.to_string(), text.trim());
        }
        assert!(!"".parse::<Trust>().unwrap().covers("127.0.0.1".parse().unwrap()));
        assert!("*".parse::<Trust>().unwrap().covers("1.2.3.4".parse().unwrap()));
        // Mapped to IPv6, in an option or by a socket that serves both.
        let mapped: Trust = "::ffff:10.0.0.0/104".parse().unwrap();
        assert_eq!(mapped, "10.0.0.0/8".parse().unwrap());
        for (ip, expected) in [("10.9.8.7", true), ("::ffff:10.9.8.7", true), ("11.0.0.1", false)] {
            assert_eq!(mapped.covers(ip.parse().unwrap()), expected, "{ip}");
        }
        for bad in
            ["localhost", "::ffff:10.0.0.0/129", "::1%lo", "[::1]", "10.0.0.0/33", "1.2.3", "*.*"]
        {
            assert!(bad.parse::<Trust>().is_err(), "{bad}");
        }
    }
}
