//! Addresses of collectors, in gunicorn's notation.

use std::fmt;
use std::io;
use std::net::ToSocketAddrs;
use std::path::PathBuf;

use socket2::{SockAddr, Type};

/// The port of syslog [RFC 5426 section 3.3].
const SYSLOG_PORT: u16 = 514;
/// The port of statsd, as in gunicorn.
const STATSD_PORT: u16 = 8125;
/// The host of `udp://:514`, as in gunicorn.
const LOCAL: &str = "localhost";

/// Where a collector receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CollectorAddress {
    /// A unix socket.
    Unix(PathBuf, UnixKind),
    /// Host and port.
    Udp(String, u16),
    /// Host and port.
    Tcp(String, u16),
}

impl Default for CollectorAddress {
    fn default() -> CollectorAddress {
        CollectorAddress::Udp(LOCAL.to_owned(), SYSLOG_PORT)
    }
}

/// The kind of a unix socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnixKind {
    /// Datagrams, or else a stream.
    Any,
    /// Datagrams.
    Datagram,
    /// A stream.
    Stream,
}

impl CollectorAddress {
    /// Parses `unix://PATH`, `unix://PATH#dgram`, `unix://PATH#stream`, `udp://HOST:PORT` or
    /// `tcp://HOST:PORT`; the port is 514 by default.
    ///
    /// # Errors
    /// A sentence that says how to write it.
    pub fn parse_syslog(text: &str) -> Result<CollectorAddress, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            let (path, kind) = match path.rsplit_once('#') {
                Some((path, "dgram")) => (path, UnixKind::Datagram),
                Some((path, "stream")) => (path, UnixKind::Stream),
                Some((_, other)) => {
                    return Err(format!(
                        "'#{other}' is no kind of socket: write #dgram or #stream"
                    ));
                }
                None => (path, UnixKind::Any),
            };
            return unix(path, kind);
        }
        if let Some(address) = text.strip_prefix("udp://") {
            return host_and_port(address, SYSLOG_PORT)
                .map(|(host, port)| CollectorAddress::Udp(host, port));
        }
        if let Some(address) = text.strip_prefix("tcp://") {
            return host_and_port(address, SYSLOG_PORT)
                .map(|(host, port)| CollectorAddress::Tcp(host, port));
        }
        Err(format!("'{text}' is none of unix://PATH, udp://HOST:PORT and tcp://HOST:PORT"))
    }

    /// Parses `HOST:PORT` or `unix://PATH`; the port is 8125 by default.
    ///
    /// # Errors
    /// A sentence that says how to write it.
    pub fn parse_statsd(text: &str) -> Result<CollectorAddress, String> {
        // gunicorn takes `unix:8125` as a host of this name.
        if let Some(path) = text.strip_prefix("unix:")
            && !path.bytes().all(|byte| byte.is_ascii_digit())
        {
            return unix(path.strip_prefix("//").unwrap_or(path), UnixKind::Datagram);
        }
        if text.contains("://") {
            return Err(format!("'{text}' is neither HOST:PORT nor unix://PATH"));
        }
        let (host, port) = host_and_port(text, STATSD_PORT)?;
        Ok(CollectorAddress::Udp(host, port))
    }

    /// The sockets to try, the preferred one first. May ask the system's resolver.
    ///
    /// # Errors
    /// If a host is not known, or a path is too long for a socket.
    pub(super) fn targets(&self) -> io::Result<Vec<Target>> {
        let (host, port, kind) = match self {
            CollectorAddress::Unix(path, kind) => {
                let kinds: &[Type] = match kind {
                    UnixKind::Any => &[Type::DGRAM, Type::STREAM],
                    UnixKind::Datagram => &[Type::DGRAM],
                    UnixKind::Stream => &[Type::STREAM],
                };
                let address = SockAddr::unix(path)?;
                return Ok(kinds
                    .iter()
                    .map(|&kind| Target { address: address.clone(), kind })
                    .collect());
            }
            CollectorAddress::Udp(host, port) => (host, port, Type::DGRAM),
            CollectorAddress::Tcp(host, port) => (host, port, Type::STREAM),
        };
        let mut addresses: Vec<_> = (host.as_str(), *port).to_socket_addrs()?.collect();
        // A datagram to an address that has no reader is not noticed at once. gunicorn's statsd
        // uses IPv4 only.
        addresses.sort_by_key(|address| !address.is_ipv4());
        addresses.dedup();
        Ok(addresses.into_iter().map(|address| Target { address: address.into(), kind }).collect())
    }

    /// Whether messages are a stream whose lines end with a line feed. [RFC 6587 section 3.4.2]
    pub(super) fn is_tcp(&self) -> bool {
        matches!(self, CollectorAddress::Tcp(..))
    }
}

/// A socket to connect to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) address: SockAddr,
    pub(super) kind: Type,
}

fn unix(path: &str, kind: UnixKind) -> Result<CollectorAddress, String> {
    if path.is_empty() || path.contains('\0') {
        return Err("'unix://' needs the path of a socket, such as unix:///dev/log".to_owned());
    }
    Ok(CollectorAddress::Unix(PathBuf::from(path), kind))
}

fn host_and_port(text: &str, default: u16) -> Result<(String, u16), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']').ok_or("the bracket of an IPv6 address is not closed")?;
            (&rest[..end], &rest[end + 1..])
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port =
        match port.strip_prefix(':') {
            None if port.is_empty() => default,
            None => return Err(format!("':' is missing before '{port}'")),
            Some(digits) => digits.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                format!("'{digits}' is not a port: write a number from 1 to 65535")
            })?,
        };
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if !host.chars().all(plain) {
        return Err(format!("'{host}' is not a host name or an IP address"));
    }
    Ok((if host.is_empty() { LOCAL } else { host }.to_owned(), port))
}

impl fmt::Display for CollectorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = |host: &str| match host.contains(':') {
            true => format!("[{host}]"),
            false => host.to_owned(),
        };
        match self {
            CollectorAddress::Unix(path, kind) => {
                let kind = match kind {
                    UnixKind::Any => "",
                    UnixKind::Datagram => "#dgram",
                    UnixKind::Stream => "#stream",
                };
                write!(f, "unix://{}{kind}", path.display())
            }
            CollectorAddress::Udp(host, port) => write!(f, "udp://{}:{port}", bracketed(host)),
            CollectorAddress::Tcp(host, port) => write!(f, "tcp://{}:{port}", bracketed(host)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslog_address_is_parsed_as_by_gunicorn_and_printed() {
        for (text, printed) in [
            ("unix:///dev/log", "unix:///dev/log"),
            ("unix:///dev/log#dgram", "unix:///dev/log#dgram"),
            ("unix:///dev/log#stream", "unix:///dev/log#stream"),
            ("udp://logs:5140", "udp://logs:5140"),
            ("udp://logs", "udp://logs:514"),
            ("udp://", "udp://localhost:514"),
            ("udp://:7", "udp://localhost:7"),
            ("tcp://[::1]:7", "tcp://[::1]:7"),
            ("tcp://[::1]", "tcp://[::1]:514"),
        ] {
            let address = CollectorAddress::parse_syslog(text).unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(CollectorAddress::parse_syslog(printed), Ok(address));
        }
        for text in [
            "",
            "logs:514",
            "unix://",
            "unix:///a#seqpacket",
            "udp://a:b",
            "udp://a:0",
            "udp://a:65536",
            "tcp://[::1",
            "tcp://[::1]7",
            "http://a",
            "udp://a/b:1",
            "udp://a b:1",
        ] {
            assert!(CollectorAddress::parse_syslog(text).is_err(), "{text}");
        }
    }

    #[test]
    fn statsd_address_is_parsed_as_by_gunicorn() {
        for (text, printed) in [
            ("localhost:9125", "udp://localhost:9125"),
            ("stats", "udp://stats:8125"),
            ("[::1]:7", "udp://[::1]:7"),
            ("unix:///run/s", "unix:///run/s#dgram"),
            ("unix:/run/s", "unix:///run/s#dgram"),
            ("unix:8125", "udp://unix:8125"),
        ] {
            assert_eq!(CollectorAddress::parse_statsd(text).unwrap().to_string(), printed);
        }
        for text in ["udp://a:1", "tcp://a:1", "a:x", "unix://", "a/b"] {
            assert!(CollectorAddress::parse_statsd(text).is_err(), "{text}");
        }
    }

    #[test]
    fn unix_address_of_any_kind_tries_datagrams_first() {
        let kinds = |text: &str| {
            let targets = CollectorAddress::parse_syslog(text).unwrap().targets().unwrap();
            targets.into_iter().map(|target| target.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds("unix:///dev/log"), [Type::DGRAM, Type::STREAM]);
        assert_eq!(kinds("unix:///dev/log#stream"), [Type::STREAM]);
        assert_eq!(kinds("udp://127.0.0.1:7"), [Type::DGRAM]);
        let long = format!("unix:///{}", "a".repeat(200));
        assert!(CollectorAddress::parse_syslog(&long).unwrap().targets().is_err());
    }
}
