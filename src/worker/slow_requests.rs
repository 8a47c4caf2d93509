//! `--slow-request`: logs each request that runs longer, with its phases and its Python stack, and
//! does not interrupt it.
//!
//! The poller finds slow requests: it needs neither the interpreter nor a free thread for that. It
//! passes them to the reader, a thread that attaches to the interpreter to read the stack of the
//! request's thread. If the reader cannot attach, because code in C holds the interpreter, the
//! poller logs the request without its stack. A request that the poller has not found in time is
//! logged by its own thread when it ends.

mod limiter;
mod report;

use std::ffi::c_ulong;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use super::python_thread::{self, join_all};
use crate::config::Settings;
use crate::net::{Connection, PollerHandle};
use crate::observe::WorkerSlot;
use crate::sync::{ignore_poison, try_lock};
use crate::sys::clock::{self, Moment};
use crate::sys::signals::without_signals;
use crate::wsgi::{current_thread, read_stack};
use report::{Reporter, SlowRequest, Stack};

/// How often the poller checks at most.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// After this time the poller tries again to read a place that its thread was using.
const RETRY_AFTER: Duration = Duration::from_millis(20);
/// How long the reader may take to attach to the interpreter.
const STACK_WAIT: Duration = Duration::from_millis(300);
/// How long the end of the server waits for the reader.
const READER_END: Duration = Duration::from_secs(1);

/// The requests that run, and those that were found to be slow.
pub(super) struct SlowRequests {
    limit: Duration,
    places: Vec<Place>,
    queue: Mutex<Queue>,
    /// Notified when the queue has requests, or is closed.
    has_work: Condvar,
    reporter: Reporter,
    /// The `threading.Thread` of the reader.
    reader: Mutex<Option<Py<PyAny>>>,
}

/// The request of one worker thread. Aligned, so that no two threads write to one cache line.
#[derive(Default)]
#[repr(align(128))]
struct Place(Mutex<Option<Running>>);

struct Running {
    request: SlowRequest,
    /// The `ident` of its thread.
    thread: c_ulong,
    /// It was found to be slow.
    is_found: bool,
}

/// Slow requests whose stacks are not read yet.
#[derive(Default)]
struct Queue {
    found: Vec<Found>,
    is_closed: bool,
}

struct Found {
    request: SlowRequest,
    /// The number of its worker thread, and its `ident`.
    thread: (usize, c_ulong),
    at: Moment,
}

impl SlowRequests {
    /// `None` without `--slow-request`.
    pub(super) fn new(
        settings: &Settings,
        handle: &Arc<PollerHandle>,
        slot: Option<&Arc<WorkerSlot>>,
    ) -> Option<Arc<SlowRequests>> {
        let limit = settings.observability.slow_request;
        let requests = || SlowRequests {
            limit,
            places: (0..settings.threads).map(|_| Place::default()).collect(),
            queue: Mutex::default(),
            has_work: Condvar::new(),
            reporter: Reporter::new(handle, slot),
            reader: Mutex::default(),
        };
        (!limit.is_zero()).then(|| Arc::new(requests()))
    }

    /// Records that worker thread `thread`, which is the current one, begins a request at `now`.
    pub(super) fn begin(
        &self,
        py: Python<'_>,
        thread: usize,
        connection: &Connection,
        now: Moment,
    ) {
        let request = SlowRequest::new(connection, now);
        let running = Running { request, thread: current_thread(py), is_found: false };
        *self.lock(py, thread) = Some(running);
    }

    /// Records that the request of a worker thread has ended at `now`, and logs it if it is slow
    /// and was not found before.
    pub(super) fn end(&self, py: Python<'_>, thread: usize, now: Moment) {
        let ended = self.lock(py, thread).take();
        if let Some(Running { request, is_found: false, .. }) = ended
            && request.age(now) >= self.limit
        {
            self.reporter.report(&request, now, &Stack::Ended);
        }
    }

    /// Records that a request has left its worker thread, with its connection.
    pub(super) fn forget(&self, py: Python<'_>, thread: usize) {
        drop(self.lock(py, thread).take());
    }

    fn lock(&self, py: Python<'_>, thread: usize) -> MutexGuard<'_, Option<Running>> {
        ignore_poison(self.places[thread].0.lock_py_attached(py))
    }

    /// Locks the queue, for which the poller waits. `lock_py_attached` would keep the lock while it
    /// waits for the interpreter, which code in C may hold for long.
    fn lock_queue(&self, py: Python<'_>) -> MutexGuard<'_, Queue> {
        loop {
            if let Some(queue) = try_lock(&self.queue) {
                return queue;
            }
            py.detach(std::thread::yield_now);
        }
    }

    /// For the poller: passes requests that have become slow to the reader, and logs those for
    /// which it cannot attach. Returns when to check again. Never waits for the interpreter.
    pub(super) fn check(&self, now: Moment) -> Moment {
        let (found, mut next_check) = self.find(now);
        let mut queue = ignore_poison(self.queue.lock());
        if !found.is_empty() {
            queue.found.extend(found);
            self.has_work.notify_one();
        }
        let is_late = |found: &mut Found| found.at + STACK_WAIT <= now;
        let late: Vec<_> = queue.found.extract_if(.., is_late).collect();
        if let Some(first) = queue.found.first() {
            next_check = next_check.min(first.at + STACK_WAIT);
        }
        drop(queue);
        for Found { request, .. } in late {
            self.reporter.report(&request, now, &Stack::InterpreterHeld);
        }
        next_check
    }

    /// The requests that have become slow, and when the next one may be.
    fn find(&self, now: Moment) -> (Vec<Found>, Moment) {
        let mut found = Vec::new();
        let mut next_check = now + self.limit;
        for (index, Place(place)) in self.places.iter().enumerate() {
            // Without waiting: the thread that holds the lock may wait for the interpreter.
            let Some(mut place) = try_lock(place) else {
                next_check = next_check.min(now + RETRY_AFTER);
                continue;
            };
            let Some(running) = place.as_mut().filter(|running| !running.is_found) else {
                continue;
            };
            let due = running.request.began_at() + self.limit;
            if due <= now {
                running.is_found = true;
                let (request, thread) = (running.request.clone(), (index, running.thread));
                found.push(Found { request, thread, at: now });
            } else {
                next_check = next_check.min(due);
            }
        }
        (found, next_check.max(now + MIN_CHECK_INTERVAL))
    }

    /// Starts the reader.
    ///
    /// # Errors
    /// If the system refuses, or a signal handler has raised an exception.
    pub(super) fn start_reader(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let requests = self.clone();
        let run = move |py: Python<'_>| {
            requests.read_stacks(py);
            Ok(())
        };
        let reader = without_signals(|| python_thread::start(py, "rustwsgi-stacks", run))?;
        *ignore_poison(self.reader.lock_py_attached(py)) = Some(reader);
        Ok(())
    }

    /// Ends the reader. No thread may come back from its wait while the interpreter is finalized.
    pub(super) fn end_reader(&self, py: Python<'_>) {
        self.lock_queue(py).is_closed = true;
        self.has_work.notify_all();
        let reader = ignore_poison(self.reader.lock_py_attached(py)).take();
        if let Some(reader) = reader {
            let _ = join_all(py, &[reader], Some(READER_END));
        }
    }

    /// The main function of the reader.
    fn read_stacks(&self, py: Python<'_>) {
        while py.detach(|| self.wait_for_work()) {
            // The poller takes requests back while this thread waits to attach.
            let found = std::mem::take(&mut self.lock_queue(py).found);
            for Found { request, thread, .. } in found {
                let stack = self.stack_of(py, &request, thread);
                self.reporter.report(&request, clock::now(), &stack);
            }
        }
    }

    /// Waits for requests. False once the queue is closed.
    fn wait_for_work(&self) -> bool {
        let is_idle = |queue: &mut Queue| queue.found.is_empty() && !queue.is_closed;
        let queue = self.has_work.wait_while(ignore_poison(self.queue.lock()), is_idle);
        !ignore_poison(queue).is_closed
    }

    fn stack_of(
        &self,
        py: Python<'_>,
        request: &SlowRequest,
        (thread, ident): (usize, c_ulong),
    ) -> Stack {
        let stack = read_stack(py, ident);
        // Afterwards: reading may collect garbage, whose destructors let other threads run.
        let place = self.lock(py, thread);
        let is_same = place.as_ref().is_some_and(|running| running.request.is_same(request));
        match stack {
            _ if !is_same => Stack::Ended,
            Ok(Some(stack)) => Stack::Read(stack),
            Ok(None) | Err(_) => Stack::None,
        }
    }
}
