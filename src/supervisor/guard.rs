//! Watches foreign code while the master runs it: the import of a preloaded application, or a
//! gunicorn configuration.
//!
//! Such code may hang in a C function, where Python's signal handlers never run, or swallow the
//! exceptions that they raise. Then the master's only thread cannot end it. So a second thread runs
//! meanwhile, which needs no interpreter: it receives the signals, keeps them for the master, and
//! ends the process if necessary. It ends before the next worker is forked.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use log::error;
use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::observe;
use crate::sys::process::{exit_immediately, kill};
use crate::sys::signals::{self, AbortHandler, without_signals};

/// How long the code may continue after a signal that should end it.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long `faulthandler` may take to write the stacks.
const STACKS_TIMEOUT: Duration = Duration::from_secs(1);
/// The exit code when the code has run into its time limit; the same as when a worker cannot boot.
const TIMED_OUT: i32 = 3;
/// The exit code of a child that the code has forked and that returns from it.
const STRAY_CHILD: i32 = 1;
/// The exit code of a start that a signal has interrupted.
const INTERRUPTED: i32 = 130;

/// Foreign code.
pub(super) struct Guarded<'a> {
    /// A description for the log: `importing the application`.
    pub(super) what: &'static str,
    /// How long it may take.
    pub(super) limit: Duration,
    /// Called with the exit code, on the second thread, before the process ends.
    pub(super) before_exit: &'a (dyn Fn(i32) + Sync),
}

/// The decision of the second thread.
enum Verdict {
    /// The code may continue.
    Continue,
    /// The process ends with this exit code, for this reason.
    Exit(i32, String),
}

impl Guarded<'_> {
    /// Runs the code. Returns its result, and the bytes that were written to `signals` meanwhile.
    ///
    /// # Errors
    /// If the second thread cannot be started. The code was not run then.
    pub(super) fn run<T>(
        &self,
        py: Python<'_>,
        signals: &UnixStream,
        code: impl FnOnce() -> T,
    ) -> io::Result<(T, Vec<u8>)> {
        let (done, is_done) = UnixStream::pair()?;
        let _handler = StackDump::install(py);
        thread::scope(|scope| {
            let guard = thread::Builder::new().name("rustwsgi-guard".into());
            let guard =
                without_signals(|| guard.spawn_scoped(scope, || self.watch(signals, &is_done)))?;
            let done = ShutDown(&done);
            let process = std::process::id();
            let result = code();
            if std::process::id() != process {
                // A child that the code has forked returns here. It would continue as a second
                // master.
                exit_immediately(STRAY_CHILD);
            }
            drop(done);
            Ok((result, guard.join().unwrap_or_default()))
        })
    }

    /// Receives signals until the code `is_done`, and returns them.
    fn watch(&self, mut signals: &UnixStream, is_done: &UnixStream) -> Vec<u8> {
        let mut received = Vec::new();
        let mut watch = Watch { limit: self.limit, started: Instant::now(), interrupted_at: None };
        loop {
            let deadline = watch.deadline().into_iter().chain(observe::release_deadline()).min();
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut watched = [
                PollFd::from_borrowed_fd(is_done.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            ];
            // No signal is delivered to this thread, so poll(2) is not interrupted.
            let _ = rustix::event::poll(&mut watched, left.as_ref());
            if !watched[0].revents().is_empty() {
                return received;
            }
            observe::release_due(Instant::now());
            let mut bytes = [0; 256];
            let count = signals.read(&mut bytes).unwrap_or(0);
            received.extend_from_slice(&bytes[..count]);
            if let Verdict::Exit(code, reason) = watch.judge(&bytes[..count], Instant::now()) {
                self.exit(code, &reason);
            }
        }
    }

    fn exit(&self, code: i32, reason: &str) -> ! {
        error!(target: "guard.exit", "Shutting down while {}: {reason}", self.what);
        (self.before_exit)(code);
        observe::finish();
        signals::set_abort_exit_code(code);
        // To the process: the kernel chooses a thread that has not blocked the signal, the one for
        // which `faulthandler` has an alternate stack.
        if let Ok(pid) = i32::try_from(std::process::id()) {
            kill(pid, libc::SIGABRT);
            thread::sleep(STACKS_TIMEOUT);
        }
        exit_immediately(code)
    }
}

/// Decides when foreign code has run for too long.
struct Watch {
    limit: Duration,
    started: Instant,
    /// When the first signal came that should end the code.
    interrupted_at: Option<Instant>,
}

impl Watch {
    /// When [`Watch::judge`] is due, even without a signal.
    fn deadline(&self) -> Option<Instant> {
        let interrupted = self.interrupted_at.map(|at| at + INTERRUPT_TIMEOUT);
        interrupted.into_iter().chain(self.started.checked_add(self.limit)).min()
    }

    fn judge(&mut self, signals: &[u8], now: Instant) -> Verdict {
        for signal in signals.iter().copied().map(i32::from) {
            match signal {
                // Not a further TERM: a process manager may send several for one stop.
                libc::SIGINT | libc::SIGQUIT if self.interrupted_at.is_some() => {
                    return Verdict::Exit(INTERRUPTED, "a second signal came".to_owned());
                }
                libc::SIGTERM | libc::SIGINT | libc::SIGQUIT => {
                    self.interrupted_at.get_or_insert(now);
                }
                _ => {}
            }
        }
        if self.interrupted_at.is_some_and(|at| now >= at + INTERRUPT_TIMEOUT) {
            let seconds = INTERRUPT_TIMEOUT.as_secs();
            return Verdict::Exit(
                INTERRUPTED,
                format!("it has not ended within {seconds} s of a signal"),
            );
        }
        if self.started.checked_add(self.limit).is_some_and(|limit| now >= limit) {
            let seconds = self.limit.as_secs_f64();
            return Verdict::Exit(
                TIMED_OUT,
                format!("it has not ended after the {seconds} s of --boot-timeout"),
            );
        }
        Verdict::Continue
    }
}

/// Reports that the code has ended, even if it panics. Uses `shutdown`, because children that the
/// code has forked hold copies of the socket.
struct ShutDown<'a>(&'a UnixStream);

impl Drop for ShutDown<'_> {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}

/// While this exists, SIGABRT writes the stacks of all threads to standard error and exits with the
/// code that the guard has chosen. Afterwards `faulthandler` stays enabled, as in the workers.
struct StackDump<'py> {
    py: Python<'py>,
    handler: Option<AbortHandler>,
}

impl StackDump<'_> {
    fn install(py: Python<'_>) -> StackDump<'_> {
        // `faulthandler` calls the handler that it finds when it is enabled, after it has written
        // the stacks.
        faulthandler(py, "disable");
        let handler = AbortHandler::install();
        faulthandler(py, "enable");
        StackDump { py, handler: Some(handler) }
    }
}

impl Drop for StackDump<'_> {
    fn drop(&mut self) {
        faulthandler(self.py, "disable");
        self.handler = None;
        faulthandler(self.py, "enable");
    }
}

/// Calls a function of `faulthandler`. It fails without standard error, where no stacks can be
/// written.
fn faulthandler(py: Python<'_>, method: &str) {
    let _ = py.import("faulthandler").and_then(|module| module.call_method0(method));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_ended_by_time_and_by_signals() {
        const TERM: u8 = libc::SIGTERM as u8;
        const INT: u8 = libc::SIGINT as u8;
        const HUP: u8 = libc::SIGHUP as u8;
        /// The signals that come at each second.
        type Steps = &'static [(u64, &'static [u8])];
        let cases: &[(Steps, Option<i32>)] = &[
            (&[(9, &[])], None),
            (&[(10, &[])], Some(TIMED_OUT)),
            (&[(0, &[HUP, HUP])], None),
            (&[(0, &[TERM]), (1, &[TERM]), (2, &[TERM])], None),
            (&[(0, &[TERM]), (3, &[])], Some(INTERRUPTED)),
            (&[(0, &[INT]), (1, &[INT])], Some(INTERRUPTED)),
            (&[(0, &[TERM, INT])], Some(INTERRUPTED)),
            (&[(0, &[INT, TERM])], None),
        ];
        for (steps, expected) in cases {
            let started = Instant::now();
            let mut watch = Watch { limit: Duration::from_secs(10), started, interrupted_at: None };
            let exit = steps.iter().find_map(|(seconds, signals)| {
                match watch.judge(signals, started + Duration::from_secs(*seconds)) {
                    Verdict::Continue => None,
                    Verdict::Exit(code, _) => Some(code),
                }
            });
            assert_eq!(exit, *expected, "{steps:?}");
        }
    }
}
