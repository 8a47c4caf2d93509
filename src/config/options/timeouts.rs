//! The timeouts.

use crate::config::field::One;
use crate::config::notation::{SECONDS, SIZE, TIMEOUT};
use crate::config::option::{OptionDef, option};

pub(in crate::config) const OPTIONS: &[OptionDef] = &[
    option("timeout", &One(TIMEOUT, |given| &mut given.settings.timeouts.request))
        .short('t')
        .takes("S")
        .default("0")
        .help(
            "Maximum time for the application to handle a request; then the client gets 504, and \
             an exception interrupts the thread; 0 is no limit",
        )
        .gunicorn("timeout"),
    option("boot_timeout", &One(TIMEOUT, |given| &mut given.settings.timeouts.boot))
        .takes("S")
        .default("300")
        .of_master()
        .help("Maximum time for a worker to import the application and become ready"),
    option("graceful_timeout", &One(SECONDS, |given| &mut given.settings.timeouts.graceful))
        .takes("S")
        .default("30")
        .help("Maximum time for requests in progress to finish at shutdown; 0 does not wait")
        .aliases(&["timeout-graceful-shutdown"])
        .gunicorn("graceful_timeout")
        .uwsgi(&["reload_mercy", "worker_reload_mercy"]),
    option("keep_alive", &One(SECONDS, |given| &mut given.settings.timeouts.keep_alive))
        .takes("S")
        .default("5")
        .help(
            "Time to wait for the next request on an idle connection; 0 closes connections after \
             each response",
        )
        .aliases(&["keepalive", "timeout-keep-alive", "channel-timeout"])
        .gunicorn("keepalive")
        .uwsgi(&["http_keepalive"]),
    option("handshake_timeout", &One(TIMEOUT, |given| &mut given.settings.timeouts.handshake))
        .takes("S")
        .default("10")
        .help("Maximum time for a client to complete the TLS handshake"),
    option("header_timeout", &One(TIMEOUT, |given| &mut given.settings.timeouts.header))
        .takes("S")
        .default("15")
        .help("Maximum time to receive a request head, from its first byte to its last"),
    option("body_timeout", &One(TIMEOUT, |given| &mut given.settings.timeouts.body))
        .takes("S")
        .default("30")
        .help("Maximum time to wait for the next bytes of a request body"),
    option("body_min_rate", &One(SIZE, |given| &mut given.settings.timeouts.body_min_rate))
        .takes("BYTES")
        .default("500")
        .help("Minimum average rate of a request body, in bytes per second; 0 is no minimum"),
    option("write_timeout", &One(TIMEOUT, |given| &mut given.settings.timeouts.write))
        .takes("S")
        .default("30")
        .help("Maximum time for the client to receive the next bytes of a response"),
    option("write_min_rate", &One(SIZE, |given| &mut given.settings.timeouts.write_min_rate))
        .takes("BYTES")
        .default("500")
        .help(
            "Minimum average rate at which a client reads a response, in bytes per second; 0 is no \
             minimum",
        ),
    option("queue_timeout", &One(TIMEOUT, |given| &mut given.settings.timeouts.queue))
        .takes("S")
        .default("60")
        .help("Maximum time for a request to wait for a thread; then it is rejected with 503"),
];
