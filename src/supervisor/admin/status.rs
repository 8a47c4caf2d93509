//! `/status`: the state of the server as JSON, which the live page shows.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::ledger::{Restart, SlowRequest, TimelineEvent};
use super::view::{CanaryView, View, WorkerView};
use crate::control::{RequestInfo, rounded, text};
use crate::observe::limit_names;
use crate::observe::shared_state::{
    BOUNDS, CLASSES, CONNECTION_STATES, Histogram, METHODS, SlowStack, Totals,
};
use crate::supervisor::canary::Tally;
use crate::supervisor::reloads::{Ended, Outcome};

/// The whole state.
pub(super) fn status(view: &View<'_>) -> Value {
    let sum = |value: fn(&WorkerView) -> u64| view.sum(value);
    json!({
        "server": "rustwsgi",
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "time": unix_time(SystemTime::now()),
        "uptime": rounded(view.uptime().as_secs_f64()),
        "stage": view.stage,
        "ready": view.not_ready.is_none(),
        "reason": view.not_ready,
        "threads": sum(|worker| worker.snapshot.threads as u64),
        "threads_busy": sum(|worker| worker.snapshot.running as u64),
        "requests_in_progress": sum(|worker| worker.snapshot.running as u64),
        "requests_queued": sum(|worker| worker.snapshot.queued),
        "requests_upgraded": sum(|worker| worker.snapshot.upgraded),
        "workers": view.workers.iter().map(worker).collect::<Vec<_>>(),
        "totals": totals(&view.totals),
        "restarts": named(&Restart::NAMES, &view.ledger.restarts),
        "reloads": named(&Outcome::NAMES, view.reloads.counts()),
        "last_reloads": view.reloads.ended().map(reload).collect::<Vec<_>>(),
        "canary": view.canary.as_ref().map(canary),
        "workers_wanted": view.workers_wanted,
        "workers_auto": view.is_auto,
        "cpus": {
            "allowed": view.cpus.allowed,
            "quota": view.cpus.quota,
            "usable": view.cpus.usable(),
        },
        "events": view.ledger.events.iter().map(event).collect::<Vec<_>>(),
        "slow_requests": view.ledger.slow.iter().rev().map(slow).collect::<Vec<_>>(),
    })
}

fn worker(worker: &WorkerView) -> Value {
    let snapshot = &worker.snapshot;
    json!({
        "pid": worker.pid,
        "state": worker.state,
        "canary": worker.is_canary,
        "time_in_state": rounded(worker.time_in_state.as_secs_f64()),
        "threads": snapshot.threads,
        "threads_busy": snapshot.running,
        "queued": snapshot.queued,
        "upgraded": snapshot.upgraded,
        "connections": named(&CONNECTION_STATES, &snapshot.connections),
        "answered": worker.answered,
        "memory_bytes": worker.usage.map(|usage| usage.resident_bytes),
        "cpu_seconds": worker.usage.map(|usage| usage.cpu_seconds),
        "requests": snapshot.requests.iter().map(RequestInfo::from).collect::<Vec<_>>(),
        "slow_requests": snapshot.slow.iter().map(slow_stack).collect::<Vec<_>>(),
    })
}

fn totals(totals: &Totals) -> Value {
    let mut requests = Map::new();
    for (method, counts) in METHODS.iter().zip(&totals.requests) {
        if counts.iter().any(|&count| count > 0) {
            requests.insert((*method).to_owned(), named(&CLASSES, counts));
        }
    }
    let limits: Vec<_> = limit_names().collect();
    json!({
        "answered": totals.answered(),
        "requests": requests,
        "duration": histogram(&totals.duration),
        "queue": histogram(&totals.queue),
        "app": histogram(&totals.app),
        "request_body_bytes": totals.body_bytes.received,
        "response_body_bytes": totals.body_bytes.sent,
        "connections_accepted": totals.accepted,
        "limits": named(&limits, &totals.limits),
    })
}

/// Counts by bucket, each without those of the buckets before; the last one has no bound.
fn histogram(histogram: &Histogram) -> Value {
    json!({
        "bounds": BOUNDS.map(|bound| bound.parse::<f64>().unwrap_or_default()),
        "counts": histogram.buckets,
        "sum": histogram.sum(),
    })
}

fn event(event: &TimelineEvent) -> Value {
    json!({
        "time": unix_time(event.at),
        "event": event.what,
        "pid": event.pid,
        "detail": event.detail,
        "reason": event.reason,
    })
}

fn reload(ended: &Ended) -> Value {
    json!({
        "number": ended.number,
        "time": unix_time(ended.at),
        "outcome": ended.outcome.name(),
        "reason": ended.reason,
    })
}

fn canary(canary: &CanaryView) -> Value {
    let tally = |tally: Tally| json!({"answered": tally.answered, "failed": tally.failed});
    json!({
        "seconds_left": canary.left.map(|left| rounded(left.as_secs_f64())),
        "new": tally(canary.compared.new),
        "old": tally(canary.compared.old),
    })
}

fn slow(slow: &SlowRequest) -> Value {
    json!({
        "time": unix_time(slow.seen_at),
        "pid": slow.pid,
        "method": text(&slow.request.method),
        "target": text(&slow.request.target),
        "status": slow.request.status,
        "duration": rounded(slow.request.duration),
    })
}

fn slow_stack(slow: &SlowStack) -> Value {
    json!({
        "method": text(&slow.method),
        "target": text(&slow.target),
        "age": rounded(slow.age),
        "queue": rounded(slow.queue),
        "ago": rounded(slow.ago),
        "stack": if slow.stack.is_empty() { Vec::new() } else { slow.stack.split(", ").collect() },
    })
}

fn named(names: &[&str], values: &[u64]) -> Value {
    let pairs = names.iter().zip(values);
    Value::Object(pairs.map(|(name, value)| ((*name).to_owned(), json!(value))).collect())
}

fn unix_time(at: SystemTime) -> f64 {
    rounded(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64())
}
