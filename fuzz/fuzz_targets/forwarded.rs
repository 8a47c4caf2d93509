//! Any fields of a trusted proxy, one a line: no panic, and what is accepted is safe to use.
//!
//! The first byte selects the fields that are applied and the addresses that are trusted.
#![no_main]
use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use rustwsgi::proxies::{ForwardedFields, resolve};

fuzz_target!(|data: &[u8]| {
    let Some((&selector, lines)) = data.split_first() else { return };
    let names = ["for", "proto", "host", "port", "prefix"];
    let mut applied = ForwardedFields::default();
    for (bit, name) in names.into_iter().enumerate() {
        if selector & (1 << bit) != 0 {
            applied = applied.union(name.parse().expect("a name")).expect("no contradiction");
        }
    }
    if selector & 0x1f == 0 {
        applied = "forwarded".parse().expect("a name");
    }
    let trusts = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => selector & 0x80 != 0 || ip.octets()[0] == 10,
        IpAddr::V6(ip) => selector & 0x40 != 0 || ip.segments()[0] & 0xff00 == 0xfd00,
    };
    let fields = || {
        lines.split(|&byte| byte == b'\n').filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            Some((&line[..colon], line[colon + 1..].trim_ascii()))
        })
    };
    let Ok(found) = resolve(applied, fields(), trusts) else { return };
    if let Some(client) = found.client {
        assert_eq!(client.ip, client.ip.to_canonical());
        // An address on the way that is trusted counts only if it is the leftmost of all.
    }
    if let Some(host) = &found.host {
        assert!(!host.name.is_empty() && host.name.is_ascii());
        assert!(!host.name.contains(['/', '?', '#', '@', ',', ' ', '\r', '\n', '\0']));
    }
    assert!(found.port != Some(0));
    if let Some(prefix) = &found.prefix {
        let text = String::from_utf8_lossy(prefix);
        assert!(text.is_empty() || text.starts_with('/') && !text.ends_with('/'));
        assert!(!text.contains("//") && !text.contains("..") && !text.contains(['?', '#', '\n']));
    }
});
