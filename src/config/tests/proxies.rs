//! The options about proxies.

use super::*;
use crate::proxies::{ForwardedFields, ProxyProtocol, Untrusted};

#[test]
fn bare_flag_takes_no_argument_that_is_none_of_its_values() {
    for (arguments, expected) in [
        (&["a:b"][..], ProxyProtocol::Off),
        (&["--proxy-protocol", "a:b"], ProxyProtocol::Auto),
        (&["a:b", "--proxy-protocol"], ProxyProtocol::Auto),
        (&["--proxy_protocol", "-w", "2", "a:b"], ProxyProtocol::Auto),
        (&["--proxy-protocol", "--", "a:b"], ProxyProtocol::Auto),
        (&["--proxy-protocol", "v1", "a:b"], ProxyProtocol::V1),
        (&["--proxy-protocol=v2", "a:b"], ProxyProtocol::V2),
        (&["--proxy-protocol", "OFF", "a:b"], ProxyProtocol::Off),
        (&["--proxy-protocol", "--proxy-protocol=v2", "a:b"], ProxyProtocol::V2),
    ] {
        let settings = parse_in(&[], arguments).unwrap();
        assert_eq!(settings.proxy_protocol, expected, "{arguments:?}");
        assert_eq!(settings.app.unwrap().to_string(), "a:b", "{arguments:?}");
    }
    let message = bad(&["--proxy-protocol=v3", "a:b"]);
    assert!(message.contains("not one of off, v1, v2, auto"), "{message}");
}

#[test]
fn values_of_other_sources_are_those_of_gunicorn() {
    for (value, expected) in [("true", ProxyProtocol::Auto), ("False", ProxyProtocol::Off)] {
        let variable = ("RUSTWSGI_PROXY_PROTOCOL", value);
        assert_eq!(parse_in(&[variable], &["a:b"]).unwrap().proxy_protocol, expected);
        assert_eq!(api(&[("proxy_protocol", &[value])]).unwrap().proxy_protocol, expected);
    }
    let theirs = ("GUNICORN_CMD_ARGS", "--proxy-protocol --proxy-allow-from 10.0.0.0/8,::1");
    let settings = parse_in(&[theirs], &["a:b"]).unwrap();
    assert_eq!(settings.proxy_protocol, ProxyProtocol::Auto);
    assert_eq!(settings.proxy_allow_from, ["10.0.0.0/8", "::1"].map(|ip| ip.parse().unwrap()));
}

#[test]
fn peers_on_unix_sockets_are_in_both_lists() {
    let settings = ok(&["--proxy-allow-from=", "--forwarded-allow-ips=192.0.2.1"]);
    assert!(settings.expects_proxy_header(None) && settings.trusts(None));
    let local = Some([127, 0, 0, 1].into());
    assert!(!settings.expects_proxy_header(local) && !settings.trusts(local));
    assert!(ok(&[]).expects_proxy_header(local));
}

#[test]
fn forwarded_headers_are_a_set_or_forwarded() {
    let fields = |arguments: &[&str]| ok(arguments).forwarded_headers;
    assert_eq!(fields(&[]), ForwardedFields::DEFAULT);
    assert_eq!(fields(&["--forwarded-headers=proto"]), ForwardedFields::DEFAULT);
    assert_eq!(fields(&["--forwarded-headers="]), ForwardedFields::default());
    let some = fields(&["--forwarded-headers", "for, Proto", "--forwarded-headers=host"]);
    assert_eq!(some.names().collect::<Vec<_>>(), ["for", "proto", "host"]);
    let settings = ok(&["--forwarded-headers=forwarded", "--forwarded-untrusted=strip"]);
    assert!(settings.forwarded_headers.has_forwarded());
    assert_eq!(settings.forwarded_untrusted, Untrusted::Strip);
    for (list, expected) in [
        ("forwarded,for", "--forwarded-headers: 'forwarded' replaces the X-Forwarded fields"),
        ("x-forwarded-for", "not one of for, proto, host, port, prefix, forwarded"),
    ] {
        let message = bad(&["--forwarded-headers", list, "a:b"]);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn printed_settings_are_read_again() {
    let given = ["--forwarded-headers=for,host", "--proxy-protocol", "--proxy-allow-from=*"];
    let settings = ok(&given);
    let printed = print_config(&settings);
    for line in [
        "forwarded_headers = [\"for\", \"host\"]",
        "forwarded_untrusted = \"keep\"",
        "proxy_protocol = \"auto\"",
        "proxy_allow_from = [\"*\"]",
    ] {
        assert!(printed.contains(line), "{printed}");
    }
}
