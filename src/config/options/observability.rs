//! Metrics, health checks, the control socket, and traces of requests.

use crate::config::field::{Flag, Maybe, One};
use crate::config::notation::observability::{HEALTH_PATH, SOCKET_MODE, SOCKET_PATH};
use crate::config::notation::request_id::REQUEST_ID_HEADER;
use crate::config::notation::{ADDRESS, SECONDS};
use crate::config::option::{OptionDef, Reload, option};

pub(in crate::config) const OPTIONS: &[OptionDef] = &[
    option("metrics", &Maybe(ADDRESS, |given| &mut given.settings.observability.metrics))
        .takes("ADDRESS")
        .of_master()
        .help(
            "Address at which the master answers /metrics (Prometheus), /live, /ready, /status \
             (JSON) and / (a live page), without Python; it shows the targets of requests, so keep \
             it private",
        )
        .reload(Reload::Upgrade),
    option("ready_busy", &One(SECONDS, |given| &mut given.settings.observability.ready_busy))
        .takes("S")
        .default("0")
        .of_master()
        .help(
            "Let /ready answer 503 when all threads of all workers have been busy for this time; \
             0 never does",
        )
        .reload(Reload::ByMaster),
    option(
        "health_path",
        &Maybe(HEALTH_PATH, |given| &mut given.settings.observability.health_path),
    )
    .takes("PATH")
    .help(
        "Path of the application's addresses that workers answer with 200 without Python, \
             also while all threads are busy, such as /healthz",
    ),
    option(
        "control_socket",
        &Maybe(SOCKET_PATH, |given| &mut given.settings.observability.control_socket),
    )
    .takes("PATH")
    .of_master()
    .help(
        "Unix socket at which the master answers rustwsgi ctl, without Python: status, stacks, \
             profiles, reload, stop and more",
    )
    .gunicorn("control_socket")
    .reload(Reload::Upgrade),
    option(
        "control_socket_mode",
        &One(SOCKET_MODE, |given| &mut given.settings.observability.control_socket_mode),
    )
    .takes("OCTAL")
    .default("600")
    .of_master()
    .help("Permissions of the control socket: processes that may write to it control the server")
    .gunicorn("control_socket_mode")
    .reload(Reload::Upgrade),
    option(
        "request_id_header",
        &Maybe(REQUEST_ID_HEADER, |given| &mut given.settings.observability.request_id_header),
    )
    .takes("NAME")
    .help(
        "Header field of request ids, such as X-Request-ID: taken from the peers of \
         --forwarded-allow-ips, or made; in the environ, in both logs and in the response",
    ),
    option(
        "server_timing",
        &Flag(true, |given| &mut given.settings.observability.server_timing),
    )
    .help(
        "Add the field Server-Timing to responses: the time in the queue and in the application, \
         which every client sees then",
    ),
    option("slow_request", &One(SECONDS, |given| &mut given.settings.observability.slow_request))
        .takes("S")
        .default("0")
        .help(
            "Log one line for each request that runs longer than this time, with its phases and \
             its Python stack, without interrupting it; 0 never does",
        ),
];
