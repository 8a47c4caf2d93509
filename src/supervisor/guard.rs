//! Minds code that is not ours while the master runs it: an application that is preloaded, a configuration.
//!
//! Such code may hang where Python's signal handlers never run, in a C function that does not return, or it
//! may swallow what they raise. Then nothing that the master's only thread could do would help. So there is a
//! second one for that long, which needs no interpreter: it hears the signals, keeps them for the master, and
//! ends the process if it has to. It is gone before the next worker is forked.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use log::error;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::sys::process::exit_immediately;
use crate::sys::process::kill;
use crate::sys::signals::{self, AbortHandler, without_signals};

/// How long code goes on after a signal that is to end it.
const GRACE: Duration = Duration::from_secs(3);
/// How long the stacks may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The exit code if the code has hung for too long; a worker's that cannot start is the same.
const HUNG: i32 = 3;
/// The exit code of a process that the code has forked and that comes back. One of an import ends earlier.
const STRAY: i32 = 1;
/// The exit code of an interrupted start.
const INTERRUPTED: i32 = 130;

/// What there is to know about code that is not ours.
pub(super) struct Guarded<'a> {
    /// What it does, for the log: `the import of the application`.
    pub(super) what: &'static str,
    /// How long it may take.
    pub(super) limit: Duration,
    /// Is called with the exit code before the process ends, on the other thread.
    pub(super) farewell: &'a (dyn Fn(i32) + Sync),
}

impl Guarded<'_> {
    /// Runs the code. What is written to `signals` meanwhile is returned with its result.
    ///
    /// # Errors
    /// If there can be no second thread. Nothing was run.
    pub(super) fn run<T>(
        &self,
        py: Python<'_>,
        signals: &UnixStream,
        code: impl FnOnce() -> T,
    ) -> io::Result<(T, Vec<u8>)> {
        let (end, over) = UnixStream::pair()?;
        let _stacks = Stacks::catch(py);
        thread::scope(|scope| {
            let guard = thread::Builder::new().name("rustwsgi-guard".into());
            let guard =
                without_signals(|| guard.spawn_scoped(scope, || self.watch(signals, &over)))?;
            // However the code ends. Not by closing it, as processes that were forked meanwhile have a copy.
            let end = End(&end);
            let process = std::process::id();
            let result = code();
            if std::process::id() != process {
                // A child of a fork in it, which would go on as a second master. It has no other threads.
                exit_immediately(STRAY);
            }
            drop(end);
            Ok((result, guard.join().unwrap_or_default()))
        })
    }

    /// Returns the signals that have come until the code was `over`.
    fn watch(&self, mut signals: &UnixStream, over: &UnixStream) -> Vec<u8> {
        let mut heard = Vec::new();
        let start = Instant::now();
        let limit = start.checked_add(self.limit);
        let mut asked: Option<Instant> = None;
        loop {
            let until = asked.map(|at| at + GRACE).into_iter().chain(limit).min();
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut watched = [
                PollFd::from_borrowed_fd(over.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            ];
            // An interruption is none of ours, as no signal comes to this thread.
            let _ = rustix::event::poll(&mut watched, left.as_ref());
            if !watched[0].revents().is_empty() {
                return heard;
            }
            let mut bytes = [0; 256];
            let count = signals.read(&mut bytes).unwrap_or(0);
            heard.extend_from_slice(&bytes[..count]);
            let asks = |byte: &&u8| {
                [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT].contains(&i32::from(**byte))
            };
            let now = Instant::now();
            for byte in bytes[..count].iter().filter(asks) {
                // Several TERM may come of one wish.
                if asked.is_some() && i32::from(*byte) != libc::SIGTERM {
                    self.end(INTERRUPTED, "is ended by a second signal");
                }
                asked.get_or_insert(now);
            }
            if asked.is_some_and(|at| now >= at + GRACE) {
                self.end(INTERRUPTED, "does not end at a signal: it is killed");
            }
            if limit.is_some_and(|limit| now >= limit) {
                let limit = self.limit.as_secs_f64();
                self.end(
                    HUNG,
                    &format!("is not over after the {limit} s of --boot-timeout: the server ends"),
                );
            }
        }
    }

    fn end(&self, code: i32, how: &str) -> ! {
        error!("{} {how}", self.what);
        (self.farewell)(code);
        signals::set_abort_exit_code(code);
        // To the process: of its threads the one is chosen that has the signal not blocked, where
        // `faulthandler` has its stack.
        if let Ok(pid) = i32::try_from(std::process::id()) {
            kill(pid, libc::SIGABRT);
            thread::sleep(LAST_WORDS);
        }
        exit_immediately(code)
    }
}

/// Tells the guard that the code is over.
struct End<'a>(&'a UnixStream);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// While this exists ABRT leaves the stacks of all threads on standard error, and a guard chooses the exit
/// code. Afterwards `faulthandler` stays on, as in the workers.
struct Stacks<'py> {
    py: Python<'py>,
    handler: Option<AbortHandler>,
}

impl Stacks<'_> {
    fn catch(py: Python<'_>) -> Stacks<'_> {
        faulthandler(py, "disable");
        let handler = AbortHandler::install();
        // It calls the handler that it finds once it has written the stacks.
        faulthandler(py, "enable");
        Stacks { py, handler: Some(handler) }
    }
}

impl Drop for Stacks<'_> {
    fn drop(&mut self) {
        faulthandler(self.py, "disable");
        self.handler = None;
        faulthandler(self.py, "enable");
    }
}

/// Without standard error there is nothing to write stacks to.
fn faulthandler(py: Python<'_>, method: &str) {
    let _ = py.import("faulthandler").and_then(|module| module.call_method0(method));
}
