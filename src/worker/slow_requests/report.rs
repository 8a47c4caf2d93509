//! The description of a slow request, and its log line.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use log::warn;

use super::limiter::Limiter;
use crate::net::{Connection, PollerHandle, SendingTime};
use crate::observe::shared_state::Kept;
use crate::observe::{RequestId, RequestScope, WorkerSlot, counted};
use crate::sync::ignore_poison;
use crate::sys::clock::Moment;

/// Bytes of a request line that are kept.
const MAX_REQUEST_BYTES: usize = 256;

/// A request that runs, as the log shows it.
#[derive(Clone)]
pub(super) struct SlowRequest {
    /// Its method and target, cut to [`MAX_REQUEST_BYTES`], unescaped.
    line: Vec<u8>,
    /// Bytes of the method.
    method_length: usize,
    is_cut: bool,
    /// How the error log names the client.
    client: String,
    id: Option<RequestId>,
    began_at: Moment,
    /// How long it has waited for its thread.
    queued: Duration,
    /// The time that its thread spends sending.
    sending: Option<Arc<SendingTime>>,
}

/// What is known of the stack of a request.
pub(super) enum Stack {
    /// The stack, innermost frame first.
    Read(String),
    /// Its thread runs no Python code: it sends, for instance.
    None,
    /// The interpreter could not be had.
    InterpreterHeld,
    /// The request has ended before its stack was read.
    Ended,
}

impl SlowRequest {
    /// The request of a connection, which a thread begins to run now.
    pub(super) fn new(connection: &Connection, began_at: Moment) -> SlowRequest {
        let head = connection.http.head();
        let (method, target) = (head.method(), head.raw_target());
        let length = method.len() + 1 + target.len();
        let mut line = Vec::with_capacity(length.min(MAX_REQUEST_BYTES));
        for part in [method, b" ", target] {
            let room = MAX_REQUEST_BYTES - line.len();
            line.extend_from_slice(&part[..part.len().min(room)]);
        }
        SlowRequest {
            method_length: method.len().min(line.len()),
            line,
            is_cut: length > MAX_REQUEST_BYTES,
            client: connection.describe_client(),
            id: connection.request_id().cloned(),
            began_at,
            queued: connection.queued().unwrap_or_default(),
            sending: connection.sending().cloned(),
        }
    }

    pub(super) fn began_at(&self) -> Moment {
        self.began_at
    }

    /// How long it has run at `now`.
    pub(super) fn age(&self, now: Moment) -> Duration {
        now.saturating_duration_since(self.began_at)
    }

    /// True if the other is a copy.
    pub(super) fn is_same(&self, other: &SlowRequest) -> bool {
        self.began_at == other.began_at && self.line == other.line
    }

    fn method_and_target(&self) -> (&[u8], &[u8]) {
        let (method, target) = self.line.split_at(self.method_length);
        (method, target.strip_prefix(b" ").unwrap_or(target))
    }
}

/// Logs slow requests, and shows them to the master.
pub(super) struct Reporter {
    limiter: Limiter,
    /// Shows them to the master, with `--metrics`. Locked by the thread that writes.
    slot: Option<Mutex<Arc<WorkerSlot>>>,
}

impl Reporter {
    pub(super) fn new(handle: &Arc<PollerHandle>, slot: Option<&Arc<WorkerSlot>>) -> Reporter {
        let limiter = Limiter::new(handle.clone());
        Reporter { limiter, slot: slot.map(|slot| Mutex::new(slot.clone())) }
    }

    /// Reports a request at `now`.
    pub(super) fn report(&self, request: &SlowRequest, now: Moment, stack: &Stack) {
        let left_out = self.limiter.admit(now);
        self.show(request, now, stack);
        if let Some(left_out) = left_out {
            log(request, now, stack, left_out);
        }
    }

    fn show(&self, request: &SlowRequest, now: Moment, stack: &Stack) {
        let Some(slot) = &self.slot else { return };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (method, target) = request.method_and_target();
        ignore_poison(slot.lock()).keep_slow(Kept {
            method,
            target,
            age_ns: nanos(request.age(now)),
            queue_ns: nanos(request.queued),
            at_ns: now.as_nanos(),
            stack: if let Stack::Read(stack) = stack { stack } else { "" },
        });
    }
}

/// Logs a request. `left_out` is the number of slow requests that were not logged before.
fn log(request: &SlowRequest, now: Moment, stack: &Stack, left_out: u64) {
    let SlowRequest { line, is_cut, client, id, queued, sending, .. } = request;
    let age = request.age(now);
    let send = sending.as_ref().map_or(Duration::ZERO, |sending| sending.until(now));
    let _scope = id.as_ref().map(RequestScope::enter);
    let more = match left_out {
        0 => String::new(),
        count => format!(" ({} not logged since the last line)", counted(count, "slow request")),
    };
    let stack = match stack {
        Stack::Read(stack) => format!("its stack, innermost first: {stack}"),
        Stack::None => "no stack: its thread runs no Python code".to_owned(),
        Stack::InterpreterHeld => "no stack: code in C holds the interpreter".to_owned(),
        Stack::Ended => "no stack: it has ended".to_owned(),
    };
    warn!(
        target: "request.slow",
        "{}{} from {client} has run for {:.3} s, longer than --slow-request (queue {:.3} s, app \
         {:.3} s, send {:.3} s); {stack}{more}",
        line.escape_ascii(),
        if *is_cut { "..." } else { "" },
        age.as_secs_f64(),
        queued.as_secs_f64(),
        age.saturating_sub(send).as_secs_f64(),
        send.as_secs_f64(),
    );
}
