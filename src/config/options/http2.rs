//! HTTP/2.

use crate::config::field::One;
use crate::config::notation::Whole;
use crate::config::notation::http2::{CLEARTEXT, HTTP_PROTOCOLS};
use crate::config::option::{OptionDef, option};

pub(in crate::config) const OPTIONS: &[OptionDef] = &[
    option("http_protocols", &One(HTTP_PROTOCOLS, |given| &mut given.settings.tls.protocols))
        .takes("LIST")
        .default("h2,h1")
        .help(
            "Protocols of HTTPS: h1; h2,h1 for HTTP/2 with the clients that know it; h2 refuses \
             the others",
        )
        .gunicorn("http_protocols"),
    option("http2_cleartext", &One(CLEARTEXT, |given| &mut given.settings.http2.cleartext))
        .takes("HOW")
        .default("off")
        .help(
            "How peers in --forwarded-allow-ips, and those on unix sockets, may begin HTTP/2 \
             without TLS: off, prior-knowledge, upgrade or both",
        )
        .gunicorn("http2_cleartext"),
    option(
        "http2_max_concurrent_streams",
        &One(Whole::<u32, 1, 65_535>::NUMBER, |given| {
            &mut given.settings.http2.max_concurrent_streams
        }),
    )
    .takes("N")
    .default("100")
    .help("Maximum number of streams that a client of HTTP/2 has open at a time")
    .gunicorn("http2_max_concurrent_streams"),
    option(
        "http2_initial_window_size",
        &One(Whole::<u32, 1, 2_147_483_647>::NUMBER, |given| {
            &mut given.settings.http2.initial_window_size
        }),
    )
    .takes("BYTES")
    .default("65535")
    .help("Bytes of a request body that a client of HTTP/2 sends before some are taken")
    .gunicorn("http2_initial_window_size"),
    option(
        "http2_max_frame_size",
        &One(Whole::<u32, 16_384, 16_777_215>::NUMBER, |given| {
            &mut given.settings.http2.max_frame_size
        }),
    )
    .takes("BYTES")
    .default("16384")
    .help("Maximum size of a frame that a client of HTTP/2 sends")
    .gunicorn("http2_max_frame_size"),
    option(
        "http2_max_header_list_size",
        &One(Whole::<u32, 1, 16_777_215>::NUMBER, |given| {
            &mut given.settings.http2.max_header_list_size
        }),
    )
    .takes("BYTES")
    .default("65536")
    .help("Maximum size of a request head of HTTP/2, as decompressed; the other limits also apply")
    .gunicorn("http2_max_header_list_size"),
];
