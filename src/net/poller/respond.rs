//! The server's own error responses.

use log::{Level, error, log, warn};

use super::action::Action;
use super::state::State;
use super::write;
use crate::http1::{self, Head, ResponseHead};
use crate::net::connection::{Connection, Rejection};
use crate::net::limit_options::exceeded_limit;
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
    /// Where the client finds what it asks for.
    location: Option<String>,
    /// The content, if it is not the text of the error.
    content: Option<String>,
    /// How many such requests the log line is about; 0 if there is no line.
    count: u64,
}

impl Default for ErrorResponse {
    fn default() -> ErrorResponse {
        ErrorResponse {
            status: 400,
            reason: "Bad Request",
            detail: String::new(),
            limit: None,
            location: None,
            content: None,
            count: 1,
        }
    }
}

impl ErrorResponse {
    pub(super) fn unavailable(detail: &str) -> ErrorResponse {
        ErrorResponse {
            status: 503,
            reason: "Service Unavailable",
            detail: detail.to_owned(),
            ..ErrorResponse::default()
        }
    }

    fn not_found(detail: &str) -> ErrorResponse {
        ErrorResponse {
            status: 404,
            reason: "Not Found",
            detail: detail.to_owned(),
            ..ErrorResponse::default()
        }
    }

    pub(super) fn timeout(detail: String) -> ErrorResponse {
        let (status, reason) = (408, "Request Timeout");
        ErrorResponse { status, reason, detail, ..ErrorResponse::default() }
    }

    pub(super) fn bad_request(detail: &str) -> ErrorResponse {
        ErrorResponse { detail: detail.to_owned(), ..ErrorResponse::default() }
    }

    /// The response to a challenge of ACME, which is no error. [RFC 8555 section 8.3]
    pub(super) fn challenge(key_authorization: String) -> ErrorResponse {
        ErrorResponse {
            status: 200,
            reason: "OK",
            content: Some(key_authorization),
            count: 0,
            ..ErrorResponse::default()
        }
    }

    /// A request that is repeated elsewhere, with the same method and content. It is no error, and
    /// no line of the error log.
    pub(super) fn redirect(location: String) -> ErrorResponse {
        ErrorResponse {
            status: 308,
            reason: "Permanent Redirect",
            detail: location.clone(),
            location: Some(location),
            count: 0,
            ..ErrorResponse::default()
        }
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
        Rejection::Protocol(http1::Error::Target) if names_static_file(state, &connection) => {
            counters.increment_and_take_report(Count::Malformed);
            ErrorResponse::not_found("the path has an encoded NUL")
        }
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
            let list_size = u64::from(state.settings.http2.max_header_list_size);
            let limit = match error {
                http1::Error::HeaderListTooLarge => {
                    Some(("--http2-max-header-list-size", list_size))
                }
                error => exceeded_limit(*error, &state.settings.limits),
            };
            let detail = error.to_string();
            ErrorResponse { status, reason, detail, limit, count, ..ErrorResponse::default() }
        }
        Rejection::Forwarded(error) => {
            counters.increment_and_take_report(Count::Malformed);
            ErrorResponse::bad_request(&error.to_string())
        }
        Rejection::NeverSpooled => {
            counters.increment_and_take_report(Count::OverLimit);
            let (status, reason) = http1::Error::BodyTooLarge.status();
            let detail = http1::Error::BodyTooLarge.to_string();
            let limit = Some(("--limit-spool", state.settings.budget.spool));
            ErrorResponse { status, reason, detail, limit, ..ErrorResponse::default() }
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
            let (status, reason) = (507, "Insufficient Storage");
            ErrorResponse { status, reason, detail, ..ErrorResponse::default() }
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
        Rejection::PlainHttp => {
            let count = counters.increment_and_take_report(Count::PlainHttp).unwrap_or(0);
            let detail = "plain HTTP was sent to an HTTPS port: use https://";
            ErrorResponse { count, ..ErrorResponse::bad_request(detail) }
        }
    };
    respond(state, connection, &response)
}

/// True if the target is below a URL of `--static`, and has an encoded NUL: no file has such a
/// name, as none has one with an encoded slash.
fn names_static_file(state: &State, connection: &Connection) -> bool {
    let target = connection.http.head().raw_target();
    let path = target.split(|&b| b == b'?').next().unwrap_or_default();
    let files = state.static_files.as_ref();
    memchr::memmem::find(path, b"%00").is_some()
        && files.is_some_and(|files| files.site.covers(path))
}

/// Sends a complete, small response and closes.
pub(super) fn respond(
    state: &mut State,
    mut connection: Box<Connection>,
    response: &ErrorResponse,
) -> Action {
    let ErrorResponse { status, reason, detail, .. } = response;
    connection.http.reject();
    connection.end_reading();
    connection.discard_content();
    let scope = connection.identify();
    log_rejection(&connection, response);
    drop(scope);
    let head = response_head(response);
    let text = || format!("{status} {reason}: {detail}\n");
    let page = response.content.clone().unwrap_or_else(text);
    let date = state.date.at(wall_clock());
    connection.begin(&head, Some(page.len() as u64), date);
    let Connection { http, queue, .. } = &mut *connection;
    queue.gather(|out| {
        if http.frame(page.len()).take > 0 {
            out.extend_from_slice(page.as_bytes());
        }
        let _ = http.finish(out);
    });
    if let Some(log) = &state.access_log {
        connection.log_access(&head, &[], |record| log.log(record));
        log.flush();
    }
    state.count_answered(&connection, *status);
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
        connection.describe_client(),
    );
}

/// Method and target, if they were parsed.
fn describe(head: &Head) -> String {
    if head.method().is_empty() { "a request".to_owned() } else { head.to_string() }
}

fn response_head(response: &ErrorResponse) -> ResponseHead {
    let ErrorResponse { status, reason, .. } = response;
    let mut head = ResponseHead::default();
    let content_type = match response.content {
        Some(_) => "application/octet-stream",
        None => "text/plain; charset=utf-8",
    };
    let built = head
        .start(format!("{status} {reason}").as_bytes())
        .and_then(|()| head.add_field(b"Content-Type", content_type.as_bytes()))
        .and_then(|()| match status {
            503 => head.add_field(b"Retry-After", RETRY_AFTER_SECONDS),
            _ => Ok(()),
        })
        .and_then(|()| match &response.location {
            Some(location) => head.add_field(b"Location", location.as_bytes()),
            None => Ok(()),
        });
    debug_assert!(built.is_ok());
    head
}
