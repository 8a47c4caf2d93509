//! The names by which the metrics address may be asked for what clients have sent.
//!
//! A page of another site can give its own name the address of this server (DNS rebinding), and
//! then read as its own what the browser can reach. Its requests carry that name. So paths that
//! show the targets of requests are answered for addresses, and for names that no such site can
//! have.

use std::net::IpAddr;

use crate::config::Bind;

/// Domains that are not in the public DNS. [RFC 6761, RFC 6762, RFC 8375]
const PRIVATE_DOMAINS: [&str; 5] = [".localhost", ".local", ".internal", ".test", ".home.arpa"];

/// The names that are accepted besides those that are private by themselves.
#[derive(Debug)]
pub(super) struct Hosts {
    /// The name in `--metrics`, in lower case.
    named: Option<String>,
}

impl Hosts {
    pub(super) fn of(bind: &Bind) -> Hosts {
        let named = match bind {
            Bind::Tcp(host, _) => Some(host.to_ascii_lowercase()),
            _ => None,
        };
        Hosts { named }
    }

    /// Whether a Host field may be that of an operator. Browsers always send one.
    pub(super) fn accept(&self, host: Option<&[u8]>) -> bool {
        let Some(Ok(host)) = host.map(std::str::from_utf8) else { return host.is_none() };
        let name = without_port(host).trim_end_matches('.').to_ascii_lowercase();
        let literal = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        literal.unwrap_or(&name).parse::<IpAddr>().is_ok()
            // A name of one label is not public.
            || !name.contains('.')
            || PRIVATE_DOMAINS.iter().any(|domain| name.ends_with(domain))
            || self.named.as_ref() == Some(&name)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_another_site_can_have_are_refused() {
        let hosts = Hosts::of(&Bind::Tcp("Web1.Example.COM".to_owned(), 9100));
        for (host, accepted) in [
            ("127.0.0.1:9100", true),
            ("10.1.2.3", true),
            ("[::1]:9100", true),
            ("[::1]", true),
            ("localhost:9100", true),
            ("LOCALHOST", true),
            ("a.localhost.:9100", true),
            ("web1:9100", true),
            ("app.shop.svc.cluster.local:9100", true),
            ("web1.example.com:9100", true),
            ("web1.example.com.", true),
            ("evil.example.com:9100", false),
            ("evil.example", false),
            ("127.0.0.1.evil.example:9100", false),
            ("localhost.evil.example", false),
            ("evil.example:80:9100", false),
            ("evil.example:x", false),
        ] {
            assert_eq!(hosts.accept(Some(host.as_bytes())), accepted, "{host}");
        }
        assert!(hosts.accept(None), "HTTP/1.0");
        assert!(!hosts.accept(Some(b"\xff")));
    }
}
