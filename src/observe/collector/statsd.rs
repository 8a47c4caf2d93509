//! Counts and times for statsd, with gunicorn's names, as its `statsd` logger sends them.
//!
//! Those of several requests share a datagram, one a line: each process sends what its requests
//! have queued at the end of the poller's turn. docs/decisions/0014-collectors.md has the reasons.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use log::Level;

use super::outbox::{Outbox, SEND_THRESHOLD_BYTES};

/// The largest datagram. With its headers it fits into a frame of Ethernet, also in a tunnel; the
/// documentation of statsd and of Datadog recommends such sizes.
const MAX_DATAGRAM_BYTES: usize = 1432;

pub(super) static OUTBOX: Outbox<StatsdForm> = Outbox::new("statsd");

/// What metrics have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsdForm {
    /// In front of each name: empty, or with a full stop at its end.
    prefix: String,
    /// Behind each value: empty, or `|#` and tags, as Datadog has them.
    tags: String,
}

impl StatsdForm {
    /// `prefix` gets a full stop, as in gunicorn.
    pub fn new(prefix: &str, tags: &str) -> StatsdForm {
        let prefix = prefix.trim_end_matches('.');
        let dot = if prefix.is_empty() { "" } else { "." };
        let mark = if tags.is_empty() { "" } else { "|#" };
        StatsdForm { prefix: format!("{prefix}{dot}"), tags: format!("{mark}{tags}") }
    }

    fn add(&self, name: impl Display, value: impl Display, kind: &str, out: &mut String) {
        let separator = if out.is_empty() { "" } else { "\n" };
        let StatsdForm { prefix, tags } = self;
        // Writing to a string cannot fail.
        let _ = write!(out, "{separator}{prefix}{name}:{value}|{kind}{tags}");
    }
}

/// The type of counters, with gunicorn's sampling rate.
const COUNTER: &str = "c|@1.0";

/// Counts a request and its duration.
pub(in crate::observe) fn count_request(status: u16, elapsed: Duration, at_once: bool) {
    let Some(form) = OUTBOX.form() else { return };
    let mut lines = String::with_capacity(128);
    let milliseconds = elapsed.as_micros() / 1000;
    let microseconds = elapsed.as_micros() % 1000;
    let duration = format_args!("{milliseconds}.{microseconds:03}");
    form.add("gunicorn.request.duration", duration, "ms", &mut lines);
    form.add("gunicorn.requests", 1, COUNTER, &mut lines);
    form.add(format_args!("gunicorn.request.status.{status}"), 1, COUNTER, &mut lines);
    queue(lines, at_once);
}

/// Counts a line of the error log, from a warning on.
pub(in crate::observe) fn count_line(level: Level, has_traceback: bool) {
    let name = match level {
        Level::Error if has_traceback => "gunicorn.log.exception",
        Level::Error => "gunicorn.log.error",
        Level::Warn => "gunicorn.log.warning",
        Level::Info | Level::Debug | Level::Trace => return,
    };
    send(name, 1, COUNTER);
}

/// Reports the number of workers, if it has changed.
pub fn report_workers(count: usize) {
    static REPORTED: AtomicUsize = AtomicUsize::new(usize::MAX);
    if OUTBOX.is_open() && REPORTED.swap(count, Ordering::Relaxed) != count {
        send("gunicorn.workers", count, "g");
    }
}

/// Sends a metric of a hook, whose name and value are those of the caller.
pub fn send_metric(name: &str, value: &str, kind: &str) {
    let is_plain = |text: &str| {
        !text.is_empty() && text.chars().all(|c| !c.is_control() && !matches!(c, '|' | '#' | ':'))
    };
    if is_plain(name) && is_plain(value) {
        send(name, value, kind);
    }
}

fn send(name: &str, value: impl Display, kind: &str) {
    let Some(form) = OUTBOX.form() else { return };
    let mut line = String::new();
    form.add(name, value, kind, &mut line);
    queue(line, true);
}

fn queue(lines: String, at_once: bool) {
    let queued = OUTBOX.push(lines.into_bytes(), Some(MAX_DATAGRAM_BYTES));
    if queued >= SEND_THRESHOLD_BYTES || at_once {
        OUTBOX.send_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(prefix: &str, tags: &str) -> String {
        let mut out = String::new();
        StatsdForm::new(prefix, tags).add("gunicorn.requests", 1, COUNTER, &mut out);
        out
    }

    #[test]
    fn metric_has_gunicorns_name_behind_the_prefix_and_tags() {
        assert_eq!(line("", ""), "gunicorn.requests:1|c|@1.0");
        assert_eq!(line("shop", ""), "shop.gunicorn.requests:1|c|@1.0");
        assert_eq!(line("a.b..", "env:x,y"), "a.b.gunicorn.requests:1|c|@1.0|#env:x,y");
    }

    #[test]
    fn further_metric_is_on_a_line_of_its_own() {
        let mut out = String::new();
        let form = StatsdForm::new("", "");
        form.add("a", 1, "g", &mut out);
        form.add("b", "2.5", "ms", &mut out);
        assert_eq!(out, "a:1|g\nb:2.5|ms");
    }
}
