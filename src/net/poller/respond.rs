//! The server's own error responses.

use log::{Level, error, log, warn};

use super::action::Action;
use super::state::State;
use super::write;
use crate::http1::{self, Head, Limits, ResponseHead};
use crate::net::connection::{Connection, Rejection};
use crate::net::tuning::RETRY_AFTER_SECONDS;
use crate::observe::{Count, counted};
use crate::sys::clock::wall_clock;

/// An error response.
#[derive(Debug)]
pub(super) struct ErrorResponse {
    status: u16,
    reason: &'static str,
    /// What is wrong, for the client and the log.
    detail: String,
    /// The option whose limit the request exceeds, and that limit, for the log.
    limit: Option<(&'static str, u64)>,
    /// How many such requests the log line is about; 0 if there is no line.
    count: u64,
}

impl ErrorResponse {
    pub(super) fn unavailable(detail: &str) -> ErrorResponse {
        ErrorResponse {
            status: 503,
            reason: "Service Unavailable",
            detail: detail.to_owned(),
            limit: None,
            count: 1,
        }
    }

    pub(super) fn timeout(detail: String) -> ErrorResponse {
        ErrorResponse { status: 408, reason: "Request Timeout", detail, limit: None, count: 1 }
    }
}

/// Rejects a request: counts and reports why, and responds.
#[cold]
pub(super) fn reject_request(
    state: &mut State,
    connection: Box<Connection>,
    rejection: &Rejection,
) -> Action {
    let counters = &state.link.counters;
    let response = match rejection {
        Rejection::Protocol(error) => {
            let (status, reason) = error.status();
            let count = match error {
                // A load balancer sends its health checks every few seconds.
                http1::Error::MissingHost => {
                    counters.increment_and_take_report(Count::MissingHost).unwrap_or(0)
                }
                _ => {
                    let is_over_limit = matches!(status, 413 | 414 | 431);
                    let what = if is_over_limit { Count::OverLimit } else { Count::Malformed };
                    counters.increment_and_take_report(what);
                    1
                }
            };
            let limit = exceeded_limit(*error, &state.settings.limits);
            ErrorResponse { status, reason, detail: error.to_string(), limit, count }
        }
        Rejection::NeverSpooled => {
            counters.increment_and_take_report(Count::OverLimit);
            let (status, reason) = http1::Error::BodyTooLarge.status();
            let detail = http1::Error::BodyTooLarge.to_string();
            let limit = Some(("--limit-spool", state.settings.budget.spool));
            ErrorResponse { status, reason, detail, limit, count: 1 }
        }
        Rejection::Spool(error) => {
            if let Some(count) = counters.increment_and_take_report(Count::SpoolFailed) {
                error!(
                    target: "spool.failed",
                    "Cannot store a request body in a temporary file: {error}: \
                     rejected {} with 507",
                    counted(count, "request")
                );
            }
            let detail = "the request body cannot be stored".to_owned();
            ErrorResponse {
                status: 507,
                reason: "Insufficient Storage",
                detail,
                limit: None,
                count: 1,
            }
        }
        Rejection::SpoolLimit => {
            if let Some(count) = counters.increment_and_take_report(Count::SpoolLimit) {
                warn!(
                    target: "spool.limit",
                    "Temporary files exceed --limit-spool: rejected {} with 503",
                    counted(count, "request")
                );
            }
            ErrorResponse::unavailable("there is no space for the request body now")
        }
        Rejection::Memory => {
            if let Some(count) = counters.increment_and_take_report(Count::MemoryLimit) {
                warn!(
                    target: "memory.limit",
                    "Buffers exceed --limit-memory: rejected {} with 503",
                    counted(count, "request")
                );
            }
            ErrorResponse::unavailable("the server is short of memory")
        }
    };
    respond(state, connection, &response)
}

/// Sends a complete, small response and closes.
pub(super) fn respond(
    state: &mut State,
    mut connection: Box<Connection>,
    response: &ErrorResponse,
) -> Action {
    let ErrorResponse { status, reason, detail, .. } = response;
    connection.http.reject();
    connection.discard_content();
    log_rejection(&connection, response);
    let head = response_head(response);
    let page = format!("{status} {reason}: {detail}\n");
    let date = state.date.at(wall_clock());
    let Connection { http, queue, .. } = &mut *connection;
    queue.gather(|out| {
        http.begin(&head, Some(page.len() as u64), date, out);
        if http.frame(page.len()).take > 0 {
            out.extend_from_slice(page.as_bytes());
        }
        let _ = http.finish(out);
    });
    if let Some(log) = &state.access_log {
        connection.log_access(&head, &[], |record| log.log(record));
        log.flush();
    }
    let sent = connection.send();
    write::on_sent(state, connection, sent)
}

fn log_rejection(connection: &Connection, response: &ErrorResponse) {
    let ErrorResponse { status, detail, limit, count, .. } = response;
    // A 503 is not the client's fault, and may be very frequent.
    let level = if *status == 503 { Level::Debug } else { Level::Info };
    let note = match (limit, count) {
        (_, 0) => return,
        (Some((option, limit)), _) => format!(" (over {option} {limit})"),
        (None, 1) => String::new(),
        (None, count) => format!(" ({count} times since the last such line)"),
    };
    log!(
        target: "request.rejected",
        level,
        "Rejected {} from {} with {status}: {detail}{note}",
        describe(connection.http.head()),
        connection.peer.described(),
    );
}

/// The option whose limit a request with this error exceeds, and that limit.
fn exceeded_limit(error: http1::Error, limits: &Limits) -> Option<(&'static str, u64)> {
    match error {
        http1::Error::RequestLineTooLong => {
            Some(("--limit-request-line", limits.request_line as u64))
        }
        http1::Error::TooManyFields => Some(("--limit-request-fields", limits.fields as u64)),
        http1::Error::FieldTooLong => {
            Some(("--limit-request-field-size", limits.field_size as u64))
        }
        http1::Error::HeadTooLarge => Some(("--limit-request-head", limits.head as u64)),
        http1::Error::TrailersTooLarge => Some(("--limit-trailers", limits.trailers as u64)),
        http1::Error::ChunkExtension => {
            Some(("--limit-chunk-extension", limits.chunk_extension as u64))
        }
        http1::Error::BodyTooLarge => Some(("--limit-request-body", limits.body)),
        _ => None,
    }
}

/// Method and target, if they were parsed.
fn describe(head: &Head) -> String {
    if head.method().is_empty() { "a request".to_owned() } else { head.to_string() }
}

fn response_head(response: &ErrorResponse) -> ResponseHead {
    let ErrorResponse { status, reason, .. } = response;
    let mut head = ResponseHead::default();
    let built = head
        .start(format!("{status} {reason}").as_bytes())
        .and_then(|()| head.add_field(b"Content-Type", b"text/plain; charset=utf-8"))
        .and_then(|()| match status {
            503 => head.add_field(b"Retry-After", RETRY_AFTER_SECONDS),
            _ => Ok(()),
        });
    debug_assert!(built.is_ok());
    head
}
