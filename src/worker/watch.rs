//! What the application is doing, and for how long: the request each runner is at, so that one that takes
//! too long can be named, shown and interrupted.
//!
//! Under threads a timeout cannot end the process: the other requests in it are innocent. So the thread
//! gets an exception raised in it, which ends whatever is written in Python. A thread inside a C function
//! hears of it when that returns to Python code. If it does not, its response is broken off, which ends one
//! whose blocks are made in C; and if that does not help either, the worker has to be replaced.
//!
//! One that waits for a client which reads slowly is in the server's own hands: the wait fails, and the
//! application finds its client gone. No exception is raised, which would meet its cleaning up; that has
//! [`GRACE`] from then on before it counts as a request that runs too long. A client must never be the reason
//! for which a worker is replaced.

use std::ffi::c_ulong;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use log::{error, warn};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::net::{Connection, WriteHalf};
use crate::observe;
use crate::sync::ignore_poison;
use crate::wsgi::{raise_in_thread, withdraw_from_thread};

/// How long a request may go on that has lost its client before it is interrupted, and one that was interrupted
/// before its response is broken off.
const GRACE: Duration = Duration::from_secs(5);
/// How much longer until it counts as stuck.
const LAST: Duration = Duration::from_secs(1);

/// The requests that run, one place for each runner.
#[derive(Debug)]
pub(super) struct Watch {
    /// Longer than this no request may run; `None` watches nothing.
    limit: Option<Duration>,
    places: Vec<Mutex<Place>>,
    served: AtomicU64,
}

#[derive(Debug, Default)]
struct Place {
    /// When the request began to run; `None` between requests.
    since: Option<Instant>,
    /// Its method and target, escaped when they are shown.
    request: Vec<u8>,
    /// Where its response goes.
    write_half: Option<Arc<WriteHalf>>,
    /// When its response was broken off, as it waited for its client.
    broken_off: Option<Instant>,
    /// When, and in which thread, an exception was raised.
    interrupted: Option<(Instant, c_ulong)>,
    /// It was reported that the exception did not help.
    stuck: bool,
}

impl Watch {
    pub(super) fn new(runners: usize, limit: Duration) -> Watch {
        Watch {
            limit: (limit < Duration::MAX).then_some(limit),
            places: (0..runners).map(|_| Mutex::default()).collect(),
            served: AtomicU64::new(0),
        }
    }

    /// Runner `me` begins with a request.
    pub(super) fn begin(&self, py: Python<'_>, me: usize, connection: &Connection) {
        if self.limit.is_none() {
            return;
        }
        let mut place = self.place(py, me);
        let head = connection.http.head();
        place.since = Some(Instant::now());
        place.write_half = Some(connection.write_half.clone());
        place.request.clear();
        place.request.extend_from_slice(head.method());
        place.request.push(b' ');
        place.request.extend_from_slice(head.raw_target());
    }

    /// Runner `me` is done with it.
    pub(super) fn end(&self, py: Python<'_>, me: usize) {
        self.served.fetch_add(1, Ordering::Relaxed);
        if self.limit.is_none() {
            return;
        }
        let mut place = self.place(py, me);
        place.since = None;
        place.write_half = None;
        place.broken_off = None;
        // It may have ended by itself just before: the exception must not meet the next request.
        place.take_back_interruption(py);
    }

    /// A thread that has to wait lets the interpreter go meanwhile: the one that has the place may want to stop
    /// all threads of an interpreter without GIL.
    fn place(&self, py: Python<'_>, me: usize) -> MutexGuard<'_, Place> {
        ignore_poison(self.places[me].lock_py_attached(py))
    }

    /// Since when a request runs that has run too long and does not wait for its client, and whether it was
    /// interrupted. If it does wait, that is ended, and it has time to clean up.
    fn overdue(&self, py: Python<'_>, me: usize, limit: Duration) -> Option<(Instant, bool)> {
        let mut place = self.place(py, me);
        let since = place.since.filter(|since| since.elapsed() >= limit)?;
        if !place.write_half.as_ref().is_some_and(|write_half| write_half.end_wait()) {
            let cleans_up = place.broken_off.is_some_and(|at| at.elapsed() < GRACE);
            return (!cleans_up).then_some((since, place.interrupted.is_some()));
        }
        place.broken_off = Some(Instant::now());
        // One that was raised just before the wait, which is deaf to it, would be heard after it.
        place.take_back_interruption(py);
        let shown = place.request.escape_ascii().to_string();
        drop(place);
        warn!(
            "{shown} has run for {:.1} s, longer than --timeout allows, and waits for its client: the \
             response is broken off",
            since.elapsed().as_secs_f64()
        );
        None
    }

    /// Requests that were answered.
    pub(super) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Interrupts what has run too long; `runners` are the threads. Returns whether one goes on in spite
    /// of that.
    pub(super) fn check(&self, py: Python<'_>, runners: &[Py<PyAny>]) -> PyResult<bool> {
        let Some(limit) = self.limit else { return Ok(false) };
        let mut stuck = false;
        for (me, runner) in runners.iter().enumerate() {
            let Some((since, interrupted)) = self.overdue(py, me, limit) else { continue };
            let age = since.elapsed();
            let mut thread: c_ulong = 0;
            let mut seen = String::new();
            if !interrupted {
                // Python code may let go of the interpreter, and whoever gets it may want the place,
                // to end this very request: nothing is locked meanwhile.
                thread = runner.bind(py).getattr("ident")?.extract()?;
                seen = stack(py, thread).unwrap_or_default();
            }
            let mut place = self.place(py, me);
            if place.since != Some(since) {
                continue;
            }
            let shown = place.request.escape_ascii().to_string();
            match place.interrupted {
                None => {
                    raise_in_thread(py, thread);
                    place.interrupted = Some((Instant::now(), thread));
                    drop(place);
                    error!(
                        "{shown} has run for {:.1} s, longer than --timeout allows: it is interrupted in \
                         {}",
                        age.as_secs_f64(),
                        runner.bind(py).getattr("name")?
                    );
                    observe::write_raw(seen.as_bytes());
                }
                Some((at, _)) if at.elapsed() >= GRACE + LAST => {
                    stuck = true;
                    if !place.stuck {
                        place.stuck = true;
                        drop(place);
                        error!(
                            "{shown} cannot be interrupted: it runs since {:.1} s",
                            age.as_secs_f64()
                        );
                    }
                }
                Some((at, _)) if at.elapsed() >= GRACE => {
                    if let Some(write_half) = &place.write_half {
                        write_half.break_off();
                    }
                }
                Some(_) => {}
            }
        }
        Ok(stuck)
    }
}

impl Place {
    /// Takes back an exception that its thread has not come to yet.
    fn take_back_interruption(&mut self, py: Python<'_>) {
        self.stuck = false;
        if let Some((_, thread)) = self.interrupted.take() {
            withdraw_from_thread(py, thread);
        }
    }
}

/// Where a thread is, as Python shows a stack.
fn stack(py: Python<'_>, thread: c_ulong) -> PyResult<String> {
    let frames = py.import("sys")?.call_method0("_current_frames")?;
    let frame = frames.get_item(thread)?;
    let lines: Vec<String> =
        py.import("traceback")?.call_method1("format_stack", (frame,))?.extract()?;
    Ok(format!("Stack (most recent call last):\n{}", lines.concat()))
}
