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
use std::time::{Duration, Instant};

use log::{error, warn};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use super::dispatch::{Overdue, RunningRequests};
use super::request_stage::{Action, Check, RequestStage};
use crate::config::Settings;
use crate::http1::ResponseHead;
use crate::net::{Connection, WriteHalf};
use crate::observe::{self, AccessLog};
use crate::sync::ignore_poison;
use crate::wsgi::{Ending, ResponseHandle, Takeover, raise_in_thread, withdraw_from_thread};

/// After this time the poller tries again to take an exchange that was in use.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// How often the poller checks whether a thread whose exchange it has taken is free again.
const OCCUPIED_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The running requests, with one slot for each worker thread.
pub(super) struct Watch {
    /// The value of `--timeout`; `None` if there is no limit.
    timeout: Option<Duration>,
    slots: Vec<Mutex<Slot>>,
    requests_served: AtomicU64,
    has_lost_thread: AtomicBool,
    access_log: Option<Arc<AccessLog>>,
}

#[derive(Default)]
struct Slot {
    /// When the request began to run; `None` between requests.
    started: Option<Instant>,
    /// Its method and target, unescaped.
    request: Vec<u8>,
    /// Sends its response; `None` once the poller has taken the exchange.
    write_half: Option<Arc<WriteHalf>>,
    /// The response that the thread makes. Kept between requests, as it rarely changes.
    response: Option<ResponseHandle>,
    stage: RequestStage,
    /// The thread in which an exception was raised, and may be pending.
    interrupted_thread: Option<c_ulong>,
}

impl Watch {
    pub(super) fn new(settings: &Settings, access_log: Option<Arc<AccessLog>>) -> Watch {
        let timeout = settings.timeouts.request;
        Watch {
            timeout: (timeout < Duration::MAX).then_some(timeout),
            slots: (0..settings.threads).map(|_| Mutex::default()).collect(),
            requests_served: AtomicU64::new(0),
            has_lost_thread: AtomicBool::new(false),
            access_log,
        }
    }

    /// Records that worker thread `thread` begins a request, whose response is `response`.
    pub(super) fn begin(
        &self,
        py: Python<'_>,
        thread: usize,
        connection: &Connection,
        response: &ResponseHandle,
    ) {
        if self.timeout.is_none() {
            return;
        }
        let mut slot = self.lock(py, thread);
        let head = connection.http.head();
        slot.started = Some(Instant::now());
        slot.write_half = Some(connection.write_half.clone());
        if !slot.response.as_ref().is_some_and(|last| last.is_same(response)) {
            slot.response = Some(response.clone());
        }
        slot.request.clear();
        slot.request.extend_from_slice(head.method());
        slot.request.push(b' ');
        slot.request.extend_from_slice(head.raw_target());
    }

    /// Records that worker thread `thread` has finished its request.
    pub(super) fn end(&self, py: Python<'_>, thread: usize) {
        self.requests_served.fetch_add(1, Ordering::Relaxed);
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
        ignore_poison(self.slots[thread].lock_py_attached(py))
    }

    /// The number of requests that were answered.
    pub(super) fn requests_served(&self) -> u64 {
        self.requests_served.load(Ordering::Relaxed)
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
            let age = started.elapsed();
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
        started: Instant,
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
        let age = started.elapsed();
        slot.stage = RequestStage::Interrupted { at: age };
        slot.interrupted_thread = Some(ident);
        let request = slot.request.escape_ascii().to_string();
        drop(slot);
        warn!(
            target: "request.interrupted",
            "Interrupting {request}, which has run for {:.1} s, in thread {}; it is here:",
            age.as_secs_f64(),
            handle.getattr("name")?
        );
        observe::write_text(&stack);
        Ok(())
    }
}

impl RunningRequests for Watch {
    fn take_overdue(&self) -> Overdue {
        let Some(timeout) = self.timeout else { return Overdue::default() };
        let now = Instant::now();
        let mut overdue = Overdue { next_check: now.checked_add(timeout), ..Overdue::default() };
        for slot in &self.slots {
            let mut slot = ignore_poison(slot.lock());
            let Some(started) = slot.started else { continue };
            if slot.write_half.is_none() {
                overdue.occupied_threads += 1;
                continue;
            }
            let due = started.checked_add(slot.stage.takeover_due(timeout));
            let retry = match due {
                Some(due) if due <= now => match slot.take_exchange() {
                    Some(taken) => {
                        let request = slot.request.escape_ascii().to_string();
                        drop(slot);
                        report_timeout(&request, now - started, taken.ending);
                        if let Some(log) = &self.access_log {
                            taken.connection.log_access(&taken.head, &[], |record| log.log(record));
                        }
                        overdue.connections.push(taken.connection);
                        overdue.occupied_threads += 1;
                        continue;
                    }
                    None => Some(now + RETRY_AFTER),
                },
                due => due,
            };
            overdue.next_check = [overdue.next_check, retry].into_iter().flatten().min();
        }
        if overdue.occupied_threads > 0 {
            let soon = Some(now + OCCUPIED_CHECK_INTERVAL);
            overdue.next_check = overdue.next_check.min(soon).or(soon);
        }
        overdue
    }
}

/// A connection that was taken from the thread that runs its request.
struct TakenConnection {
    connection: Box<Connection>,
    head: ResponseHead,
    ending: Ending,
}

impl Slot {
    /// Takes the connection of the request, if no thread uses it at this moment.
    fn take_exchange(&mut self) -> Option<TakenConnection> {
        let Takeover::Taken(exchange, head, ending) = self.response.as_ref()?.take_exchange()
        else {
            return None;
        };
        self.write_half = None;
        let connection = exchange.into_any().downcast().ok()?;
        Some(TakenConnection { connection, head, ending })
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

/// Carries out what the stage has decided, except for an interrupt. Logs without the lock.
fn act(py: Python<'_>, mut slot: MutexGuard<'_, Slot>, action: Action, age: Duration) {
    let age = age.as_secs_f64();
    match action {
        Action::None | Action::Interrupt => {}
        Action::ReportDisconnect => {
            // A thread that waits would raise the pending exception after the wait.
            slot.withdraw_interrupt(py);
            let request = slot.request.escape_ascii().to_string();
            drop(slot);
            warn!(
                target: "request.client_timeout",
                "{request} has run for {age:.1} s, longer than --timeout allows, and waits for its \
                 client: aborting the response"
            );
        }
        Action::AllowCleanup => slot.withdraw_interrupt(py),
        Action::Abort => {
            if let Some(write_half) = &slot.write_half {
                write_half.abort();
            }
        }
        Action::ReportStuck => {
            let request = slot.request.escape_ascii().to_string();
            drop(slot);
            error!(
                target: "request.stuck",
                "{request} has run for {age:.1} s and cannot be interrupted: its thread is lost"
            );
        }
    }
}

impl Slot {
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
