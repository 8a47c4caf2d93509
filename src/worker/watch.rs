//! The watch over running requests: knows which request each worker thread runs, and ends requests
//! that run too long.
//!
//! A request is ended for its client and in its thread, each by a thread that it cannot block:
//!
//! - its client is answered by the polling thread, which takes the exchange away from the request's
//!   thread ([`RunningRequests`]). That needs neither the interpreter nor the request's thread.
//! - the request's thread is interrupted by the control thread, which has the interpreter.
//!   [`request_stage`](super::request_stage) decides what to do there; this module does it.

use std::ffi::c_ulong;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use log::{error, warn};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use super::dispatch::{Overdue, RunningRequests};
use super::request_stage::{Action, Check, RequestStage};
use super::slow_requests::SlowRequests;
use crate::config::Settings;
use crate::net::{Connection, WriteHalf};
use crate::observe::{AccessLog, RequestId, RequestScope, ThreadRow, WorkerSlot};
use crate::sync::{ignore_poison, try_lock};
use crate::sys::clock::{self, Moment, earliest};
use crate::wsgi::{Ending, ResponseHandle, Takeover, raise_in_thread, withdraw_from_thread};

/// After this time the poller tries again to take an exchange that was in use.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// How long a thread may go on sending a response that is overdue, before its client is reset.
const SENDING_GRACE: Duration = Duration::from_millis(300);

/// How often the poller checks whether a thread whose exchange it has taken is free again.
const OCCUPIED_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The running requests, with one slot for each worker thread.
pub(super) struct Watch {
    /// The value of `--timeout`; `None` if there is no limit.
    timeout: Option<Duration>,
    places: Vec<Place>,
    has_lost_thread: AtomicBool,
    access_log: Option<Arc<AccessLog>>,
    /// The poller's row, for responses that it ends.
    row: Option<ThreadRow>,
    /// Logs slow requests, if that is wanted.
    slow: Option<Arc<SlowRequests>>,
}

/// A slot and its lock. Aligned, so that no two threads write to one cache line (x86 processors
/// fetch two lines of 64 bytes at a time).
#[derive(Default)]
#[repr(align(128))]
struct Place {
    slot: Mutex<Slot>,
    /// Requests that the thread has served. Only that thread adds to it.
    requests_served: AtomicU64,
}

#[derive(Default)]
struct Slot {
    /// When the request began to run; `None` between requests.
    started: Option<Moment>,
    /// Its method and target, unescaped.
    request: Vec<u8>,
    /// Its id, if it has one.
    id: Option<RequestId>,
    /// Sends its response; `None` once the poller has taken the exchange.
    write_half: Option<Arc<WriteHalf>>,
    /// The poller has reset the client, while the thread was sending.
    is_reset: bool,
    /// The response that the thread makes. Kept between requests, as it rarely changes.
    response: Option<ResponseHandle>,
    stage: RequestStage,
    /// The thread in which an exception was raised, and may be pending.
    interrupted_thread: Option<c_ulong>,
}

impl Watch {
    pub(super) fn new(
        settings: &Settings,
        access_log: Option<Arc<AccessLog>>,
        slot: Option<&Arc<WorkerSlot>>,
        slow: Option<Arc<SlowRequests>>,
    ) -> Watch {
        let timeout = settings.timeouts.request;
        Watch {
            timeout: (timeout < Duration::MAX).then_some(timeout),
            places: (0..settings.threads).map(|_| Place::default()).collect(),
            has_lost_thread: AtomicBool::new(false),
            access_log,
            row: slot.map(WorkerSlot::poller_row),
            slow,
        }
    }

    /// Records that worker thread `thread` begins a request at `now`, whose response is `response`.
    pub(super) fn begin(
        &self,
        py: Python<'_>,
        thread: usize,
        connection: &Connection,
        response: &ResponseHandle,
        now: Moment,
    ) {
        if self.timeout.is_none() {
            return;
        }
        let mut slot = self.lock(py, thread);
        slot.started = Some(now);
        slot.write_half = Some(connection.write_half.clone());
        slot.is_reset = false;
        if !slot.response.as_ref().is_some_and(|last| last.is_same(response)) {
            slot.response = Some(response.clone());
        }
        slot.id = connection.request_id().cloned();
        slot.request.clear();
        slot.request.extend_from_slice(connection.http.head().method_and_target());
    }

    /// Records that worker thread `thread` has finished its request.
    pub(super) fn end(&self, py: Python<'_>, thread: usize) {
        let served = &self.places[thread].requests_served;
        served.store(served.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        if self.timeout.is_none() {
            return;
        }
        let mut slot = self.lock(py, thread);
        slot.started = None;
        slot.write_half = None;
        slot.stage = RequestStage::Running;
        // The request may have ended just before the exception was raised: the next request must
        // not get it.
        slot.withdraw_interrupt(py);
    }

    /// Records that a worker thread has ended unexpectedly.
    pub(super) fn record_lost_thread(&self) {
        self.has_lost_thread.store(true, Ordering::Relaxed);
    }

    /// True if a worker thread has ended unexpectedly.
    pub(super) fn has_lost_thread(&self) -> bool {
        self.has_lost_thread.load(Ordering::Relaxed)
    }

    /// Detaches from the interpreter to wait: the thread that holds the lock may stop all attached
    /// threads of a free-threaded interpreter.
    fn lock(&self, py: Python<'_>, thread: usize) -> MutexGuard<'_, Slot> {
        ignore_poison(self.places[thread].slot.lock_py_attached(py))
    }

    /// The number of requests that were answered.
    pub(super) fn requests_served(&self) -> u64 {
        let served = self.places.iter().map(|place| place.requests_served.load(Ordering::Relaxed));
        served.fold(0, u64::wrapping_add)
    }

    /// Takes the next step to end each request that has run too long; `threads` are the worker
    /// threads. Returns whether a request is stuck: its thread cannot be recovered.
    pub(super) fn end_overdue_requests(
        &self,
        py: Python<'_>,
        threads: &[Py<PyAny>],
    ) -> PyResult<bool> {
        let Some(timeout) = self.timeout else { return Ok(false) };
        let mut is_any_stuck = false;
        for (thread, handle) in threads.iter().enumerate() {
            let mut slot = self.lock(py, thread);
            let Some(started) = slot.started else { continue };
            let age = clock::now().saturating_duration_since(started);
            let is_taken = slot.write_half.is_none();
            let has_disconnected = age >= timeout
                && slot.write_half.as_ref().is_some_and(|half| half.abort_if_waiting());
            let has_noticed =
                is_taken && slot.response.as_ref().is_some_and(|response| response.take_notice(py));
            let check = Check { age, timeout, is_taken, has_disconnected, has_noticed };
            let (stage, action) = slot.stage.advance(check);
            if action == Action::Interrupt {
                drop(slot);
                self.interrupt(py, thread, handle.bind(py), started)?;
                continue;
            }
            slot.stage = stage;
            is_any_stuck |= stage == RequestStage::Stuck;
            act(py, slot, action, age);
        }
        Ok(is_any_stuck)
    }

    /// Raises the exception in the request that `thread` has run since `started`.
    fn interrupt(
        &self,
        py: Python<'_>,
        thread: usize,
        handle: &Bound<'_, PyAny>,
        started: Moment,
    ) -> PyResult<()> {
        // No lock is held here: Python code may release the GIL, and the thread that takes it may
        // need the lock to end this request.
        let ident: c_ulong = handle.getattr("ident")?.extract()?;
        let stack = format_stack(py, ident).unwrap_or_default();
        let mut slot = self.lock(py, thread);
        if slot.started != Some(started) {
            return Ok(());
        }
        raise_in_thread(py, ident);
        let age = clock::now().saturating_duration_since(started);
        slot.stage = RequestStage::Interrupted { at: age };
        slot.interrupted_thread = Some(ident);
        let (request, _scope) = slot.describe();
        drop(slot);
        warn!(
            target: "request.interrupted",
            traceback = stack.as_str();
            "Interrupting {request}, which has run for {:.1} s, in thread {}; it is here:",
            age.as_secs_f64(),
            handle.getattr("name")?
        );
        Ok(())
    }
}

impl Watch {
    /// For the poller: ends the response of the request in `slot` if it is overdue. Returns when to
    /// check again.
    fn end_if_overdue(
        &self,
        mut slot: MutexGuard<'_, Slot>,
        timeout: Duration,
        now: Moment,
        overdue: &mut Overdue,
    ) -> Option<Moment> {
        let started = slot.started?;
        let Some(write_half) = slot.write_half.clone() else {
            overdue.occupied_threads += 1;
            return None;
        };
        let due = started.checked_add(slot.stage.takeover_due(timeout))?;
        if due > now {
            return Some(due);
        }
        let age = now.saturating_duration_since(started);
        match slot.response.as_ref().map(ResponseHandle::take_exchange) {
            Some(Takeover::Taken(exchange, head, ending)) => {
                slot.write_half = None;
                overdue.occupied_threads += 1;
                let is_reported = slot.is_reset;
                let (request, _scope) = slot.describe();
                drop(slot);
                if !is_reported {
                    report_timeout(&request, age, ending);
                }
                let connection: Box<Connection> = exchange.into_any().downcast().ok()?;
                if let Some(log) = &self.access_log {
                    connection.log_access(&head, &[], |record| log.log(record));
                }
                if let Some(row) = &self.row {
                    connection.count_answered(row, head.status(), Some(started), now);
                }
                overdue.connections.push(connection);
                return None;
            }
            // The request waits for its client, which is ended without an exception.
            Some(Takeover::Sending)
                if slot.stage == RequestStage::Running && write_half.abort_if_waiting() =>
            {
                slot.stage = RequestStage::Disconnected { at: age };
                report_disconnect(slot, age);
                write_half.reset();
            }
            Some(Takeover::Sending) if now >= due + SENDING_GRACE && !slot.is_reset => {
                slot.is_reset = true;
                let (request, _scope) = slot.describe();
                drop(slot);
                write_half.reset();
                report_timeout(&request, age, Ending::Aborted);
            }
            _ => {}
        }
        Some(now + RETRY_AFTER)
    }
}

impl RunningRequests for Watch {
    fn take_overdue(&self) -> Overdue {
        let now = clock::now();
        let end = |timeout| self.end_overdue(timeout, now);
        let mut overdue = self.timeout.map_or_else(Overdue::default, end);
        if let Some(slow) = &self.slow {
            overdue.next_check = earliest([overdue.next_check, Some(slow.check(now))]);
        }
        overdue
    }
}

impl Watch {
    fn end_overdue(&self, timeout: Duration, now: Moment) -> Overdue {
        let mut overdue = Overdue { next_check: now.checked_add(timeout), ..Overdue::default() };
        let retry = Some(now + RETRY_AFTER);
        for Place { slot, .. } in &self.places {
            // Without waiting: the thread that holds the lock may wait for the interpreter.
            let next_check = match try_lock(slot) {
                Some(slot) => self.end_if_overdue(slot, timeout, now, &mut overdue),
                None => retry,
            };
            overdue.next_check = [overdue.next_check, next_check].into_iter().flatten().min();
        }
        if overdue.occupied_threads > 0 {
            let soon = Some(now + OCCUPIED_CHECK_INTERVAL);
            overdue.next_check = overdue.next_check.min(soon).or(soon);
        }
        overdue
    }
}

fn report_timeout(request: &str, age: Duration, ending: Ending) {
    let response = match ending {
        Ending::TimedOut => "responding with 504 Gateway Timeout",
        Ending::Aborted => "aborting its response, which has begun",
        Ending::Complete => "its response was complete",
    };
    error!(
        target: "request.timeout",
        "{request} has run for {:.1} s, longer than --timeout allows: {response}, and interrupting \
         its thread",
        age.as_secs_f64()
    );
}

fn report_disconnect(slot: MutexGuard<'_, Slot>, age: Duration) {
    let (request, _scope) = slot.describe();
    drop(slot);
    warn!(
        target: "request.client_timeout",
        "{request} has run for {:.1} s, longer than --timeout allows, and waits for its client: \
         aborting the response",
        age.as_secs_f64()
    );
}

/// Carries out what the stage has decided, except for an interrupt. Logs without the lock.
fn act(py: Python<'_>, mut slot: MutexGuard<'_, Slot>, action: Action, age: Duration) {
    let age_s = age.as_secs_f64();
    match action {
        Action::None | Action::Interrupt => {}
        Action::ReportDisconnect => {
            // A thread that waits would raise the pending exception after the wait.
            slot.withdraw_interrupt(py);
            report_disconnect(slot, age);
        }
        Action::AllowCleanup => slot.withdraw_interrupt(py),
        Action::Abort => {
            if let Some(write_half) = &slot.write_half {
                write_half.abort();
            }
        }
        Action::ReportStuck => {
            let (request, _scope) = slot.describe();
            drop(slot);
            error!(
                target: "request.stuck",
                "{request} has run for {age_s:.1} s and cannot be interrupted: its thread is lost"
            );
        }
    }
}

impl Slot {
    /// The request as the error log names it. Lines of this thread carry its id until the scope is
    /// dropped.
    fn describe(&self) -> (String, Option<RequestScope>) {
        (self.request.escape_ascii().to_string(), self.id.as_ref().map(RequestScope::enter))
    }

    /// Withdraws an exception that the thread has not raised yet.
    fn withdraw_interrupt(&mut self, py: Python<'_>) {
        if let Some(ident) = self.interrupted_thread.take() {
            withdraw_from_thread(py, ident);
        }
    }
}

/// The stack of a thread, as Python formats it.
fn format_stack(py: Python<'_>, ident: c_ulong) -> PyResult<String> {
    let frames = py.import("sys")?.call_method0("_current_frames")?;
    let frame = frames.get_item(ident)?;
    let lines: Vec<String> =
        py.import("traceback")?.call_method1("format_stack", (frame,))?.extract()?;
    Ok(format!("Stack (most recent call last):\n{}", lines.concat()))
}
