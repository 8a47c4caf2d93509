//! The paths of the metrics address.

use serde_json::{Value, json};

use super::answer::Answer;
use super::hosts::Hosts;
use super::metrics::{self, Format};
use super::status;
use super::view::View;
use crate::http1::Head;

const JSON: &str = "application/json";
const PAGE: &str = include_str!("page.html");

/// Answers a request; `view` looks at the server, which costs more than the other answers.
pub(super) fn answer(head: &Head, hosts: &Hosts, view: impl FnOnce(Show) -> Answer) -> Answer {
    if !matches!(head.method(), b"GET" | b"HEAD") {
        return Answer::refusal(405, "Method Not Allowed", "only GET and HEAD are allowed");
    }
    let shows_targets = matches!(head.path(), b"/" | b"/status" | b"/events");
    if shows_targets && !hosts.accept(head.field(b"host")) {
        return Answer::refusal(
            421,
            "Misdirected Request",
            "a page of another site may have asked for this; use the IP address, or name the host \
             in --metrics",
        );
    }
    match head.path() {
        b"/live" => document("200 OK", &json!({"status": "alive"})),
        b"/metrics" => {
            let fields = head.fields().filter(|(name, _)| name.eq_ignore_ascii_case(b"accept"));
            view(Show::Metrics(Format::accepted(fields.map(|(_, value)| value))))
        }
        b"/ready" => view(Show::Ready),
        b"/status" => view(Show::Status),
        b"/events" => view(Show::Events),
        b"/" => Answer::new("200 OK", "text/html; charset=utf-8", PAGE),
        _ => Answer::refusal(
            404,
            "Not Found",
            "the paths are /, /metrics, /live, /ready, /status and /events",
        ),
    }
}

/// What to show of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    Metrics(Format),
    Ready,
    Status,
    Events,
}

impl Show {
    pub(super) fn answer(self, view: &View<'_>) -> Answer {
        match self {
            Show::Metrics(format) => {
                Answer::new("200 OK", format.content_type(), metrics::render(view, format))
            }
            Show::Ready => match view.not_ready {
                None => document("200 OK", &json!({"status": "ready"})),
                Some(reason) => document(
                    "503 Service Unavailable",
                    &json!({"status": "not ready", "reason": reason}),
                ),
            },
            Show::Status => document("200 OK", &status::status(view)),
            Show::Events => Answer::stream(event(view)),
        }
    }
}

/// The state as a server-sent event.
pub(super) fn event(view: &View<'_>) -> Vec<u8> {
    format!("data: {}\n\n", status::status(view)).into_bytes()
}

fn document(status: &str, value: &Value) -> Answer {
    Answer::new(status, JSON, format!("{value}\n"))
}
