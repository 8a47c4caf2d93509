//! Addresses to listen on, in the notation of gunicorn's `--bind`.

use std::fmt;
use std::net::Ipv6Addr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::str::FromStr;

/// The default port, as in gunicorn.
pub(super) const DEFAULT_PORT: u16 = 8000;
/// The default host: only this machine can connect.
pub(super) const DEFAULT_HOST: &str = "127.0.0.1";
/// The host of `:PORT`, as in gunicorn.
const ALL_INTERFACES: &str = "0.0.0.0";

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bind {
    /// A host name or an IP address (IPv6 without brackets), and a port; for port 0 the kernel
    /// chooses one.
    Tcp(String, u16),
    /// The path of a Unix socket.
    Unix(PathBuf),
    /// The file descriptor of an inherited listening socket.
    Fd(RawFd),
}

impl FromStr for Bind {
    type Err = String;

    /// Parses `HOST:PORT`, `:PORT`, `PORT`, `HOST`, `[IPV6]:PORT`, `[IPV6]`, `unix:PATH` or
    /// `fd://N`.
    ///
    /// # Errors
    /// A sentence that says what is wrong and how to write it.
    fn from_str(text: &str) -> Result<Bind, String> {
        // gunicorn accepts both spellings.
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path.strip_prefix("//").unwrap_or(path));
        }
        if let Some(number) = text.strip_prefix("fd://") {
            return match number.parse() {
                Ok(fd) if fd >= 0 => Ok(Bind::Fd(fd)),
                _ => Err("'fd://' needs the number of an open file descriptor".to_owned()),
            };
        }
        if let Some(address) = text.strip_prefix("http://") {
            let address = address.trim_end_matches('/');
            return Err(format!("an address has no scheme: write {address}"));
        }
        if let Some(address) = text.strip_prefix("https://") {
            let address = address.trim_end_matches('/');
            return Err(format!(
                "an address has no scheme: write {address}, and name a certificate with --certfile"
            ));
        }
        tcp(text.strip_prefix("tcp://").unwrap_or(text))
    }
}

fn unix(path: &str) -> Result<Bind, String> {
    match path {
        "" => Err("'unix:' needs the path of a socket".to_owned()),
        path if path.contains('\0') => Err("a path cannot contain a NUL character".to_owned()),
        path => Ok(Bind::Unix(PathBuf::from(path))),
    }
}

fn tcp(text: &str) -> Result<Bind, String> {
    if let Some(bracketed) = text.strip_prefix('[') {
        let (host, port) =
            bracketed.split_once(']').ok_or("the bracket of an IPv6 address is not closed")?;
        // The resolver validates a zone, such as fe80::1%eth0.
        let address = host.split_once('%').map_or(host, |(address, _)| address);
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(format!("'{host}' is not an IPv6 address"));
        }
        return match port.strip_prefix(':') {
            Some(digits) => Ok(Bind::Tcp(host.to_owned(), port_number(digits)?)),
            None if port.is_empty() => Ok(Bind::Tcp(host.to_owned(), DEFAULT_PORT)),
            None => Err(format!("':' is missing between ']' and '{port}'")),
        };
    }
    match text.split_once(':') {
        None if is_number(text) => Ok(Bind::Tcp(DEFAULT_HOST.to_owned(), port_number(text)?)),
        None => Ok(Bind::Tcp(host_name(text)?, DEFAULT_PORT)),
        Some((_, port)) if port.contains(':') => {
            // The zone of an address, such as %eth0, can be any text.
            let address = text.split_once('%').map_or(text, |(address, _)| address);
            match address.chars().all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.')) {
                true => Err("an IPv6 address needs brackets, as in [::1]:8000".to_owned()),
                false => Err(format!("'{text}' has more than one ':'; write HOST:PORT")),
            }
        }
        Some(("*", port)) => {
            Err(format!("'*' is not a host name; write :{port} for all interfaces"))
        }
        Some(("", port)) => Ok(Bind::Tcp(ALL_INTERFACES.to_owned(), port_number(port)?)),
        Some((host, port)) => Ok(Bind::Tcp(host_name(host)?, port_number(port)?)),
    }
}

/// Refuses what cannot be a host, such as a path or a list. The resolver decides whether it exists.
fn host_name(host: &str) -> Result<String, String> {
    if host.is_empty() {
        return Err("the address is empty: write HOST:PORT or unix:PATH".to_owned());
    }
    if host.contains('/') {
        return Err(format!("'{host}' is not a host: write unix:PATH for a Unix socket"));
    }
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !host.chars().all(plain) {
        return Err(format!("'{host}' is not a host name or an IP address"));
    }
    Ok(host.to_owned())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A port from 0 to 65535. The parser of `u16` would accept `+80`, too.
pub(super) fn port_number(digits: &str) -> Result<u16, String> {
    match digits.parse() {
        Ok(port) if is_number(digits) => Ok(port),
        _ => Err(format!("'{digits}' is not a port from 0 to 65535")),
    }
}

impl fmt::Display for Bind {
    /// The notation that [`FromStr`] accepts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Bind::Tcp(host, port) => write!(f, "{host}:{port}"),
            Bind::Unix(path) => write!(f, "unix:{}", path.display()),
            Bind::Fd(fd) => write!(f, "fd://{fd}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_is_parsed() {
        let tcp = |host: &str, port| Bind::Tcp(host.to_owned(), port);
        for (text, expected) in [
            ("127.0.0.1:8000", tcp("127.0.0.1", 8000)),
            ("localhost:80", tcp("localhost", 80)),
            ("my_host-1.example:0", tcp("my_host-1.example", 0)),
            (":8080", tcp("0.0.0.0", 8080)),
            ("8080", tcp("127.0.0.1", 8080)),
            ("0.0.0.0", tcp("0.0.0.0", 8000)),
            ("localhost", tcp("localhost", 8000)),
            ("tcp://localhost:81", tcp("localhost", 81)),
            ("[::1]:8000", tcp("::1", 8000)),
            ("[::]", tcp("::", 8000)),
            ("[fe80::1%eth0]:65535", tcp("fe80::1%eth0", 65535)),
            ("unix:/run/a.sock", Bind::Unix("/run/a.sock".into())),
            ("unix:///run/a.sock", Bind::Unix("/run/a.sock".into())),
            ("unix:a:b.sock", Bind::Unix("a:b.sock".into())),
            ("fd://3", Bind::Fd(3)),
        ] {
            assert_eq!(text.parse::<Bind>(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn displayed_value_is_parsed_to_the_same() {
        for text in
            ["127.0.0.1:8000", "[::1]:8000", "[fe80::1%eth0]:1", "unix:/run/a.sock", "fd://3"]
        {
            assert_eq!(text.parse::<Bind>().unwrap().to_string(), text);
        }
        assert_eq!(":80".parse::<Bind>().unwrap().to_string(), "0.0.0.0:80");
    }

    #[test]
    fn invalid_address_is_refused_with_the_reason() {
        for (text, hint) in [
            ("", "empty"),
            ("host:", "'' is not a port"),
            (":", "'' is not a port"),
            ("host:http", "'http' is not a port"),
            ("host:65536", "'65536' is not a port"),
            ("99999", "'99999' is not a port"),
            ("host:+80", "'+80' is not a port"),
            ("host:-1", "'-1' is not a port"),
            ("host: 80", "' 80' is not a port"),
            ("::1", "needs brackets"),
            ("::1:8000", "needs brackets"),
            ("fe80::1%eth0", "needs brackets"),
            ("localhost:8000:9", "more than one ':'; write HOST:PORT"),
            ("*:8000", "write :8000 for all interfaces"),
            ("http://host:80", "write host:80"),
            ("http://host/", "write host"),
            ("https://host:443", "write host:443, and name a certificate"),
            ("/run/a.sock", "unix:PATH"),
            ("a b:80", "'a b' is not a host"),
            ("[::1", "not closed"),
            ("[localhost]:80", "'localhost' is not an IPv6 address"),
            ("[::1]80", "':' is missing"),
            ("[::1]:", "'' is not a port"),
            ("unix:", "needs the path of a socket"),
            ("unix://", "needs the path of a socket"),
            ("unix:a\0b", "NUL"),
            ("fd://", "number of an open file descriptor"),
            ("fd://x", "number of an open file descriptor"),
            ("fd://-1", "number of an open file descriptor"),
            ("fd://99999999999", "number of an open file descriptor"),
        ] {
            let error = text.parse::<Bind>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
