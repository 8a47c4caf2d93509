//! Enforces `--timeout`. Records which request each worker thread runs, and logs and ends requests
//! that run too long. [`request_stage`](super::request_stage) decides what to do; this module does
//! it.

use std::ffi::c_ulong;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use log::{error, warn};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use super::request_stage::{Action, Check, RequestStage};
use crate::net::{Connection, ReadHalf, WriteHalf};
use crate::observe;
use crate::sync::ignore_poison;
use crate::wsgi::{raise_in_thread, withdraw_from_thread};

/// The running requests, with one slot for each worker thread.
#[derive(Debug)]
pub(super) struct Watch {
    /// The value of `--timeout`; `None` if there is no limit.
    timeout: Option<Duration>,
    slots: Vec<Mutex<Slot>>,
    requests_served: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    /// When the request began to run; `None` between requests.
    started: Option<Instant>,
    /// Its method and target, unescaped.
    request: Vec<u8>,
    /// Sends its response.
    write_half: Option<Arc<WriteHalf>>,
    /// Reads its content, if that was not complete.
    read_half: Option<Arc<ReadHalf>>,
    stage: RequestStage,
    /// The thread in which an exception was raised, and may be pending.
    interrupted_thread: Option<c_ulong>,
}

impl Watch {
    pub(super) fn new(threads: usize, timeout: Duration) -> Watch {
        Watch {
            timeout: (timeout < Duration::MAX).then_some(timeout),
            slots: (0..threads).map(|_| Mutex::default()).collect(),
            requests_served: AtomicU64::new(0),
        }
    }

    /// Records that worker thread `thread` begins a request.
    pub(super) fn begin(&self, py: Python<'_>, thread: usize, connection: &Connection) {
        if self.timeout.is_none() {
            return;
        }
        let mut slot = self.lock(py, thread);
        let head = connection.http.head();
        slot.started = Some(Instant::now());
        slot.write_half = Some(connection.write_half.clone());
        slot.read_half = connection.read_half().cloned();
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
        slot.read_half = None;
        slot.stage = RequestStage::Running;
        // The request may have ended just before the exception was raised: the next request must
        // not get it.
        slot.withdraw_interrupt(py);
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
            let has_disconnected = age >= timeout && slot.abort_if_waiting();
            let (stage, action) = slot.stage.advance(Check { age, timeout, has_disconnected });
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
        error!(
            target: "request.timeout",
            "{request} has run for {:.1} s, longer than --timeout allows: interrupting it in \
             thread {}",
            age.as_secs_f64(),
            handle.getattr("name")?
        );
        observe::write_text(&stack);
        Ok(())
    }
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
                 client: ending the wait"
            );
        }
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
    /// Fails the request's wait for its client; returns whether it waited.
    fn abort_if_waiting(&self) -> bool {
        self.write_half.as_ref().is_some_and(|half| half.abort_if_waiting())
            || self.read_half.as_ref().is_some_and(|half| half.abort_if_waiting())
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
