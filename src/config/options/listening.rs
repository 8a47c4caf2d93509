//! The addresses to listen on, and the proxies in front of them.

use std::os::fd::RawFd;

use toml::Value;

use crate::config::field::{Bare, Flag, List, Maybe, One};
use crate::config::notation::{
    ADDRESS, FORWARDED_FIELDS, FORWARDER_HEADER, NAME, PATH, PORT, PROXY, PROXY_PROTOCOL,
    UNTRUSTED, Whole,
};
use crate::config::option::{OptionDef, Reload, option};

pub(in crate::config) const OPTIONS: &[OptionDef] = &[
    option("bind", &List(ADDRESS, |given| &mut given.settings.binds))
        .short('b')
        .takes("ADDRESS")
        .help(
            "Address to listen on: HOST:PORT, :PORT (all interfaces), [IPV6]:PORT, unix:PATH or \
             fd://N (repeatable) [default: 127.0.0.1:8000, or 0.0.0.0:$PORT if PORT is set]",
        )
        .gunicorn("bind")
        .uwsgi(&["http", "http_socket", "http11_socket"])
        .reload(Reload::ByMaster),
    option("host", &Maybe(NAME, |given| &mut given.host))
        .takes("HOST")
        .help("Host to listen on")
        .hidden()
        .instead_of("bind")
        .reload(Reload::ByMaster)
        .resolved(|_| None),
    option("port", &Maybe(PORT, |given| &mut given.port))
        .takes("PORT")
        .help("Port to listen on")
        .hidden()
        .instead_of("bind")
        .reload(Reload::ByMaster)
        .resolved(|_| None),
    option("uds", &Maybe(PATH, |given| &mut given.uds))
        .takes("PATH")
        .help("Unix socket to listen on")
        .hidden()
        .instead_of("bind")
        .reload(Reload::ByMaster)
        .resolved(|_| None),
    option("fd", &Maybe(Whole::<RawFd, 0, 1_048_576>::NUMBER, |given| &mut given.fd))
        .takes("N")
        .help("Inherited file descriptor to listen on")
        .hidden()
        .instead_of("bind")
        .reload(Reload::ByMaster)
        .resolved(|_| None),
    option("forwarded_allow_ips", &List(PROXY, |given| &mut given.settings.trusted))
        .takes("IP[,IP]")
        .default("127.0.0.1,::1")
        .help(
            "Proxies whose --forwarded-headers and --forwarder-headers are trusted: addresses, \
             networks, * for all, or nothing; Unix sockets are always trusted",
        )
        .gunicorn("forwarded_allow_ips")
        .fallback_variable("FORWARDED_ALLOW_IPS"),
    option("forwarded_headers", &List(FORWARDED_FIELDS, |given| &mut given.forwarded_headers))
        .takes("FIELD[,FIELD]")
        .default("proto")
        .help(
            "Fields of trusted proxies that are applied: any of for, proto, host, port, prefix \
             (X-Forwarded-...), or forwarded (RFC 7239), or nothing",
        )
        .resolved(|settings| {
            Some(Value::from(settings.forwarded_headers.names().collect::<Vec<_>>()))
        }),
    option("forwarded_untrusted", &One(UNTRUSTED, |given| &mut given.settings.forwarded_untrusted))
        .takes("POLICY")
        .default("keep")
        .help(
            "X-Forwarded-... and Forwarded of peers that are not trusted: keep them for the \
             application, or strip them",
        ),
    option(
        "proxy_protocol",
        &Bare(PROXY_PROTOCOL, |given| &mut given.settings.proxy_protocol, "auto"),
    )
    .takes("VERSION")
    .default("off")
    .help(
        "Connections of --proxy-allow-from begin with a header of the PROXY protocol: off, v1, \
         v2, or auto for either (also the option without a value)",
    )
    .gunicorn("proxy_protocol"),
    option("proxy_allow_from", &List(PROXY, |given| &mut given.settings.proxy_allow_from))
        .takes("IP[,IP]")
        .default("127.0.0.1,::1")
        .help(
            "Proxies that send a header of the PROXY protocol: addresses, networks, * for all, or \
             nothing; peers on Unix sockets always send it",
        )
        .aliases(&["proxy-allow-ips"])
        .gunicorn("proxy_allow_ips"),
    option(
        "forwarder_headers",
        &List(FORWARDER_HEADER, |given| &mut given.settings.forwarder_headers),
    )
    .takes("NAME[,NAME]")
    .default("SCRIPT_NAME,PATH_INFO")
    .help(
        "Header fields with an underscore that proxies of --forwarded-allow-ips may set: \
             SCRIPT_NAME is the application's prefix in the URL, any other field becomes \
             HTTP_NAME; * for all, or nothing",
    )
    .gunicorn("forwarder_headers"),
    option(
        "backlog",
        &One(Whole::<u32, 1, 2_147_483_647>::NUMBER, |given| &mut given.settings.backlog),
    )
    .takes("N")
    .default("2048")
    .help("Maximum number of pending connections in the listen queue")
    .gunicorn("backlog")
    .reload(Reload::ByMaster),
    option("reuse_port", &Flag(true, |given| &mut given.settings.reuse_port))
        .help("Set SO_REUSEPORT: other servers of the same user may listen on the same address")
        .gunicorn("reuse_port")
        .reload(Reload::Restart),
];
