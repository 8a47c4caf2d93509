//! `/metrics`: the state of the server as text, in the format of Prometheus 0.0.4 or of OpenMetrics
//! 1.0. The two differ in the names of counters, and in the last line.

use std::fmt::{Display, Write as _};

use super::ledger::Restart;
use super::view::{View, WorkerView};
use crate::observe::limit_names;
use crate::observe::shared_state::{BOUNDS, CLASSES, CONNECTION_STATES, Histogram, METHODS};
use crate::supervisor::reloads::Outcome;

/// The format of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that a client prefers, by its Accept fields. [RFC 9110 section 12.5.1]
    pub(super) fn accepted<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Format {
        let fields: Vec<_> = fields.map(String::from_utf8_lossy).collect();
        let accept = fields.join(",").to_ascii_lowercase();
        let weight = |wanted: &str| {
            let weights = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                (parts.next() == Some(wanted)).then(|| {
                    let q = parts.find_map(|parameter| parameter.strip_prefix("q="));
                    q.map_or(1.0, |q| q.trim().parse::<f32>().unwrap_or(0.0))
                })
            });
            weights.fold(0.0, f32::max)
        };
        let open_metrics = weight("application/openmetrics-text");
        match open_metrics > 0.0 && open_metrics >= weight("text/plain") {
            true => Format::OpenMetrics,
            false => Format::Prometheus,
        }
    }
}

/// Renders all metrics.
pub(super) fn render(view: &View<'_>, format: Format) -> String {
    let mut text = Text { out: String::with_capacity(16 * 1024), format, name: "" };
    requests(&mut text, view);
    capacity(&mut text, view);
    processes(&mut text, view);
    if format == Format::OpenMetrics {
        text.out.push_str("# EOF\n");
    }
    text.out
}

fn requests(text: &mut Text, view: &View<'_>) {
    let totals = &view.totals;
    text.counter("rustwsgi_requests", "Requests that were answered, by method and status class.");
    for (method, counts) in METHODS.iter().zip(&totals.requests) {
        for (class, count) in CLASSES.iter().zip(counts).filter(|(_, count)| **count > 0) {
            text.total(&[("method", method), ("status", class)], count);
        }
    }
    text.histogram(
        "rustwsgi_request_duration_seconds",
        "Time from the first byte of a request to the end of its response.",
        &totals.duration,
    );
    text.histogram(
        "rustwsgi_request_queue_seconds",
        "Time from the last byte of a request to the call of the application.",
        &totals.queue,
    );
    text.histogram(
        "rustwsgi_request_app_seconds",
        "Time from the call of the application to the end of its response.",
        &totals.app,
    );
    text.counter("rustwsgi_request_body_bytes", "Bytes of request bodies.");
    text.total(&[], totals.body_bytes.received);
    text.counter("rustwsgi_response_body_bytes", "Bytes of response bodies.");
    text.total(&[], totals.body_bytes.sent);
}

/// A value of one worker.
type Value = fn(&WorkerView) -> u64;

fn capacity(text: &mut Text, view: &View<'_>) {
    let gauges: [(&str, &str, Value); 5] = [
        (
            "rustwsgi_requests_in_progress",
            "Requests that a thread runs; queued ones are not included.",
            |worker| worker.snapshot.running as u64,
        ),
        ("rustwsgi_requests_queued", "Requests that wait for a thread.", |worker| {
            worker.snapshot.queued
        }),
        ("rustwsgi_requests_upgraded", "Requests that have taken their connections.", |worker| {
            worker.snapshot.upgraded
        }),
        ("rustwsgi_threads_busy", "Worker threads that run a request.", |worker| {
            worker.snapshot.running as u64
        }),
        ("rustwsgi_threads", "Worker threads of the workers that serve.", |worker| {
            if worker.state == "ready" { worker.snapshot.threads as u64 } else { 0 }
        }),
    ];
    for (name, help, value) in gauges {
        text.gauge(name, help);
        text.sample("", &[], view.sum(value));
    }
    text.gauge("rustwsgi_connections", "Open connections by state.");
    for (index, state) in CONNECTION_STATES.iter().enumerate() {
        let count = view.sum(|worker| worker.snapshot.connections[index]);
        text.sample("", &[("state", state)], count);
    }
    text.counter("rustwsgi_connections_accepted", "Connections that were accepted.");
    text.total(&[], view.totals.accepted);
    text.counter("rustwsgi_limits_reached", "How often a bound of docs/limits.md was reached.");
    for (limit, count) in limit_names().zip(view.totals.limits) {
        text.total(&[("limit", limit)], count);
    }
}

fn processes(text: &mut Text, view: &View<'_>) {
    text.gauge("rustwsgi_workers", "Worker processes by state.");
    for state in ["booting", "ready", "retiring"] {
        let count = view.workers.iter().filter(|worker| worker.state == state).count();
        text.sample("", &[("state", state)], count);
    }
    text.gauge("rustwsgi_workers_wanted", "Worker processes that the master keeps.");
    text.sample("", &[], view.workers_wanted);
    text.gauge("rustwsgi_cpus", "CPUs that may be used: CPU affinity and cgroup quota.");
    text.sample("", &[], view.cpus.usable());
    text.counter(
        "rustwsgi_worker_restarts",
        "Workers that have ended before the server, by reason.",
    );
    for (reason, count) in Restart::NAMES.iter().zip(view.ledger.restarts) {
        text.total(&[("reason", reason)], count);
    }
    text.counter("rustwsgi_reloads", "Reloads by result.");
    for (result, count) in Outcome::NAMES.iter().zip(view.reloads.counts()) {
        text.total(&[("result", result)], count);
    }
    text.gauge("rustwsgi_canary", "Whether a canary is on trial (--respawn-canary).");
    text.sample("", &[], u8::from(view.canary.is_some()));
    let used = || {
        let used = |worker: &WorkerView| Some((worker.pid.to_string(), worker.usage?));
        view.workers.iter().filter_map(used)
    };
    text.gauge("rustwsgi_worker_resident_memory_bytes", "Resident memory of a worker.");
    for (pid, usage) in used() {
        text.sample("", &[("pid", &pid)], usage.resident_bytes);
    }
    text.counter("rustwsgi_worker_cpu_seconds", "Processor time of a worker.");
    for (pid, usage) in used() {
        text.total(&[("pid", &pid)], usage.cpu_seconds);
    }
    text.gauge("rustwsgi_ready", "Whether /ready answers 200.");
    text.sample("", &[], u8::from(view.not_ready.is_none()));
    let started = view.ledger.started_at.duration_since(std::time::UNIX_EPOCH);
    text.gauge("rustwsgi_start_time_seconds", "When the master has started, in Unix time.");
    text.sample("", &[], started.unwrap_or_default().as_secs_f64());
    text.gauge("rustwsgi_build_info", "The version of the server.");
    text.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1);
}

/// The text, as far as it is written.
struct Text {
    out: String,
    format: Format,
    /// The name of the current metric, without the suffix of a counter.
    name: &'static str,
}

impl Text {
    fn gauge(&mut self, name: &'static str, help: &str) {
        self.begin(name, "", "gauge", help);
    }

    /// Begins a counter; `name` is without its suffix `_total`.
    fn counter(&mut self, name: &'static str, help: &str) {
        let suffix = match self.format {
            Format::Prometheus => "_total",
            Format::OpenMetrics => "",
        };
        self.begin(name, suffix, "counter", help);
    }

    fn histogram(&mut self, name: &'static str, help: &str, histogram: &Histogram) {
        self.begin(name, "", "histogram", help);
        let bounds = BOUNDS.into_iter().chain(["+Inf"]);
        for (bound, count) in bounds.zip(histogram.cumulative()) {
            self.sample("_bucket", &[("le", bound)], count);
        }
        self.sample("_sum", &[], histogram.sum());
        self.sample("_count", &[], histogram.count());
    }

    fn begin(&mut self, name: &'static str, suffix: &str, kind: &str, help: &str) {
        self.name = name;
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "# HELP {name}{suffix} {help}");
        let _ = writeln!(self.out, "# TYPE {name}{suffix} {kind}");
    }

    /// A value of the current counter.
    fn total(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.sample("_total", labels, value);
    }

    /// A value of the current metric. No label value needs escapes: none comes from a client.
    fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.out, "{}{suffix}", self.name);
        let mut separator = '{';
        for (name, label) in labels {
            let _ = write!(self.out, "{separator}{name}=\"{label}\"");
            separator = ',';
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_is_the_one_that_the_client_prefers() {
        const SCRAPER: &str = "application/openmetrics-text;version=1.0.0;q=0.5,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        for (accept, expected) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/html, text/plain", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            (SCRAPER, Format::OpenMetrics),
            ("text/plain;q=0.9, application/openmetrics-text;q=0.1", Format::Prometheus),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("application/openmetrics-text;q=x", Format::Prometheus),
            ("text/html|application/openmetrics-text", Format::OpenMetrics),
        ] {
            let fields = accept.split('|').map(str::as_bytes);
            assert_eq!(Format::accepted(fields), expected, "{accept}");
        }
    }
}
