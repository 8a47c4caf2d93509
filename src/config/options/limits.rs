//! The limits of one request, and of all requests of a worker.

use crate::config::field::One;
use crate::config::notation::{
    BUFFER_SIZE, FIELD_COUNT, HEAD_PART, HEADER_MAP, MEMORY_LIMIT, SIZE, SIZE_LIMIT, SWITCH,
    WHOLE_HEAD, Whole,
};
use crate::config::option::{OptionDef, option};

pub(in crate::config) const OPTIONS: &[OptionDef] = &[
    option("limit_request_line", &One(HEAD_PART, |given| &mut given.settings.limits.request_line))
        .takes("BYTES")
        .default("8192")
        .help("Maximum size of a request line; 0 means --limit-request-head")
        .gunicorn("limit_request_line"),
    option("limit_request_fields", &One(FIELD_COUNT, |given| &mut given.settings.limits.fields))
        .takes("N")
        .default("100")
        .help("Maximum number of header fields; 0, or more than 32768, means 32768")
        .gunicorn("limit_request_fields"),
    option(
        "limit_request_field_size",
        &One(HEAD_PART, |given| &mut given.settings.limits.field_size),
    )
    .takes("BYTES")
    .default("8192")
    .help("Maximum size of a header field; 0 means --limit-request-head")
    .gunicorn("limit_request_field_size"),
    option("limit_request_head", &One(WHOLE_HEAD, |given| &mut given.settings.limits.head))
        .takes("BYTES")
        .default("64k")
        .help("Maximum size of a request head: the request line and all header fields"),
    option("limit_request_body", &One(SIZE_LIMIT, |given| &mut given.settings.limits.body))
        .takes("BYTES")
        .default("1g")
        .help("Maximum size of a request body; 0 is no limit")
        .uwsgi(&["limit_post"]),
    option(
        "limit_chunk_extension",
        &One(HEAD_PART, |given| &mut given.settings.limits.chunk_extension),
    )
    .takes("BYTES")
    .default("4k")
    .help("Maximum size of the extensions of a chunk; 0 allows none"),
    option("limit_trailers", &One(HEAD_PART, |given| &mut given.settings.limits.trailers))
        .takes("BYTES")
        .default("16k")
        .help("Maximum size of the trailer fields of a request; 0 allows none"),
    option("header_map", &One(HEADER_MAP, |given| &mut given.settings.limits.underscores))
        .takes("drop|refuse")
        .default("drop")
        .help(
            "Handling of field names with underscores, which equal hyphens in WSGI: drop the \
             field, or refuse the request",
        )
        .gunicorn("header_map"),
    option("request_buffering", &One(SWITCH, |given| &mut given.settings.request_buffering))
        .takes("on|off")
        .default("on")
        .help(
            "Whether a request body is received completely before the application is called; with \
             off, reads of wsgi.input wait until the bytes have arrived",
        ),
    option("body_buffer_size", &One(BUFFER_SIZE, |given| &mut given.settings.body_buffer))
        .takes("BYTES")
        .default("256k")
        .help("Maximum size of a request body in memory; a larger one goes to a temporary file"),
    option("response_spool", &One(SIZE, |given| &mut given.settings.response_spool))
        .takes("BYTES")
        .default("1g")
        .help(
            "Maximum size of the temporary files of a response that its client reads slowly; \
             beyond it, the application waits for the client; 0 uses no files",
        ),
    option(
        "limit_queue",
        &One(Whole::<usize, 1, 4_294_967_295>::NUMBER, |given| &mut given.settings.queue),
    )
    .takes("N")
    .default("10000")
    .help(
        "Maximum number of requests per worker that wait for a thread; further ones are rejected \
         with 503",
    ),
    option(
        "max_upgrades",
        &One(Whole::<usize, 0, 65_536>::NUMBER, |given| &mut given.settings.max_upgrades),
    )
    .takes("N")
    .default("1000")
    .help(
        "Maximum number of requests per worker that have taken their connections, as for \
         WebSockets; each has a thread beside --threads; further ones get 503; 0 offers no sockets",
    ),
    option("limit_memory", &One(MEMORY_LIMIT, |given| &mut given.settings.budget.memory))
        .takes("BYTES")
        .default("1g")
        .help(
            "Maximum memory per worker for buffers of requests and responses; beyond it, requests \
             get 503; 0 is no limit",
        ),
    option("limit_spool", &One(SIZE_LIMIT, |given| &mut given.settings.budget.spool))
        .takes("BYTES")
        .default("8g")
        .help(
            "Maximum size per worker of temporary files for request bodies and responses; 0 is no \
             limit",
        ),
];
