//! A worker while it serves: its control thread waits for signals and messages, sends the
//! heartbeat, and ends the process. Requests run on other threads, and with `--threads 1` on the
//! main thread; signal handlers of the application run on the main thread.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use log::{debug, error, info, warn};
use pyo3::prelude::*;

use super::certificates;
use super::heartbeat::{Heartbeat, Progress};
use super::hooks::Hooks;
use super::messages::{FromWorker, Log, Malformed, Received, ToWorker};
use super::recycling::RecyclingLimits;
use super::source_watch::SourceWatch;
use super::worker_signals::{SignalReceiver, WorkerSignals};
use crate::observe::{self, Sink, text_of};
use crate::sys::signals::SignalMask;
use crate::worker::{GracefulEnd, MainThread, Server, exit_now};

/// How often the worker sends its heartbeat and checks its server.
const TICK: Duration = Duration::from_secs(1);
/// How often it checks its server while it is stopping.
const TICK_WHILE_STOPPING: Duration = Duration::from_millis(20);
/// How long complete responses may take to be sent when running requests are not waited for.
const QUICK_FLUSH: Duration = Duration::from_millis(100);
/// How long signal handlers of the application may run then.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(1);

/// The exit code of a worker whose server has ended unexpectedly.
const SERVER_ENDED: i32 = 1;

/// The stage of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Serving,
    /// Has asked the master for a replacement, and serves until the master retires it.
    AwaitingReplacement,
    /// Exits when all requests have finished, or at the deadline, if there is one.
    Stopping {
        deadline: Option<Instant>,
    },
}

impl Stage {
    fn is_stopping(self) -> bool {
        matches!(self, Stage::Stopping { .. })
    }

    /// Stops within `graceful_timeout`. A second request to stop does not move the deadline.
    fn stop(&mut self, now: Instant, graceful_timeout: Duration) {
        if !self.is_stopping() {
            *self = Stage::Stopping { deadline: now.checked_add(graceful_timeout) };
        }
    }

    fn is_overdue(self, now: Instant) -> bool {
        matches!(self, Stage::Stopping { deadline: Some(deadline) } if now >= deadline)
    }
}

/// The events that the worker handles.
enum Event {
    Signal(i32),
    Message(ToWorker),
    Malformed(Malformed),
    MasterExited,
}

/// How a worker has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// All threads of the server have ended.
    Served,
    /// The process has exited: this value is not seen.
    Exited,
}

/// A worker that serves.
pub(super) struct Worker {
    pub(super) signals: SignalReceiver,
    /// The signal mask of the main thread; the control thread blocks all signals.
    pub(super) signal_mask: SignalMask,
    /// A signal that stops the worker was sent to it.
    pub(super) is_stopped_by_signal: bool,
    pub(super) server: Server,
    pub(super) main_thread: MainThread,
    /// The channel to the master; `None` once the master has exited.
    pub(super) channel: Option<UnixStream>,
    pub(super) heartbeat: Heartbeat,
    pub(super) progress: Progress,
    pub(super) hooks: Hooks,
    /// Notices changed source files (`--reload`).
    pub(super) watch: Option<SourceWatch>,
    pub(super) limits: RecyclingLimits,
    pub(super) graceful_timeout: Duration,
    /// Replaces it if the successor starts after the end of this worker.
    pub(super) yield_timeout: Duration,
    pub(super) stage: Stage,
}

impl Worker {
    /// Serves until the worker ends; returns how.
    ///
    /// # Errors
    /// If it cannot wait for signals and messages.
    pub(super) fn run(&mut self, py: Python<'_>) -> PyResult<Ended> {
        loop {
            let tick = if self.stage.is_stopping() { TICK_WHILE_STOPPING } else { TICK };
            let channel: Vec<_> = self.channel.iter().map(AsFd::as_fd).collect();
            self.signals.wait(py, &channel, Some(tick))?;
            // Each step of a turn runs Python code, which may fail for lack of memory, and PyO3
            // then panics; so may the text of the failure. The next turn repeats the steps that it
            // skips.
            let turn = || self.turn(py).map_err(|failure| text_of(&failure));
            let failure = match catch_unwind(AssertUnwindSafe(turn)) {
                Ok(Ok(None)) => continue,
                Ok(Ok(Some(ended))) => return Ok(ended),
                Ok(Err(failure)) => failure,
                Err(_) => {
                    drop(PyErr::take(py));
                    "see the panic above".to_owned()
                }
            };
            error!(
                target: "worker.check_failed",
                "Worker {}: a check of its requests or files failed, trying again: {failure}",
                std::process::id()
            );
        }
    }

    /// Carries out what is due; returns how the worker ends, when it does.
    fn turn(&mut self, py: Python<'_>) -> PyResult<Option<Ended>> {
        let signals = self.signals.take();
        // Also without a signal: a request may have replaced the wakeup descriptor.
        if !signals.is_empty() || self.main_thread.serves() {
            self.main_thread.call();
        }
        // Messages before signals: on USR1, the counters must go to the new log file.
        let messages = std::iter::from_fn(|| self.receive()).collect::<Vec<_>>();
        let signals = signals.into_iter().map(Event::Signal);
        for event in messages.into_iter().chain(signals) {
            if let Some(ended) = self.handle(py, event) {
                return Ok(Some(ended));
            }
        }
        self.send_heartbeat();
        self.check_recycling(py)?;
        if let Some(watch) = &self.watch {
            watch.update(py)?;
        }
        if self.server.join(py, Some(Duration::ZERO))? {
            return Ok(Some(Ended::Served));
        }
        if self.stage.is_overdue(Instant::now()) {
            return Ok(Some(match self.server.end_graceful_period(py)? {
                GracefulEnd::Stopped => Ended::Served,
                GracefulEnd::Idle => {
                    log_exit();
                    self.exit_immediately(py)
                }
                GracefulEnd::Aborted => self.exit_immediately(py),
            }));
        }
        Ok(None)
    }

    /// Sends the heartbeat if the server has made progress. An idle one makes it when it is woken,
    /// so every other tick has a heartbeat then. A worker that stops has its own deadline.
    fn send_heartbeat(&mut self) {
        if self.progress.has_advanced(self.server.progress()) || self.stage.is_stopping() {
            self.heartbeat.beat();
        } else {
            self.server.wake_poller();
        }
    }

    /// The next message of the master.
    fn receive(&mut self) -> Option<Event> {
        match ToWorker::receive(self.channel.as_ref()?) {
            Ok(Received::Data(Ok(message))) => Some(Event::Message(message)),
            Ok(Received::Data(Err(malformed))) => Some(Event::Malformed(malformed)),
            Ok(Received::Closed) => {
                self.channel = None;
                Some(Event::MasterExited)
            }
            Err(_) => None,
        }
    }

    /// Handles an event; returns how the worker ends, if the event ends it.
    fn handle(&mut self, py: Python<'_>, event: Event) -> Option<Ended> {
        match event {
            Event::Signal(libc::SIGUSR1) => self.server.log_counters(),
            // May come several times: from the master, and from a process manager or terminal that
            // signals all processes.
            //
            // The master sends a signal, and then a message for the same stop: a handler of the
            // application may keep the signal from this loop, or the message is read first.
            Event::Signal(libc::SIGTERM) | Event::Message(ToWorker::Stop { quick: false }) => {
                self.is_stopped_by_signal = true;
                self.stop();
            }
            Event::Message(ToWorker::Stop { quick: true })
            | Event::Signal(libc::SIGINT | libc::SIGQUIT) => return Some(self.stop_quickly(py)),
            // A signal that the application handles.
            Event::Signal(_) => {}
            Event::Message(ToWorker::Retire) => {
                self.server.retire();
                self.watch = None;
                self.stage.stop(Instant::now(), self.graceful_timeout);
            }
            Event::Message(ToWorker::Yield) => {
                self.server.yield_to_successor();
                self.watch = None;
                self.stage.stop(Instant::now(), self.yield_timeout);
            }
            Event::Message(ToWorker::Multiprocess(multiprocess)) => {
                self.server.set_multiprocess(multiprocess);
            }
            Event::Message(ToWorker::LogFile(Log::Error, file)) => {
                observe::redirect(Sink::from(file));
            }
            Event::Message(ToWorker::LogFile(Log::Access, file)) => {
                self.server.redirect_access_log(Sink::from(file));
            }
            Event::Message(ToWorker::Certificates(file)) => {
                certificates::renew(&file, |bytes| self.server.renew_certificates(bytes));
            }
            Event::Malformed(Malformed::MissingFile(log)) => report_lost_log(log),
            Event::Malformed(Malformed::MissingCertificates) => certificates::report_lost(),
            Event::Malformed(malformed) => debug!("The master sent a {malformed}: ignored"),
            Event::MasterExited => {
                // Without a master, this worker would never be replaced and would keep the address
                // in use.
                let pid = std::process::id();
                warn!(
                    target: "worker.orphaned",
                    "The master has exited: shutting down worker {pid}"
                );
                self.stop();
            }
        }
        None
    }

    /// Stops accepting, and exits when the running requests are done.
    fn stop(&mut self) {
        self.server.stop();
        self.watch = None;
        self.stage.stop(Instant::now(), self.graceful_timeout);
    }

    /// Exits without waiting for running requests.
    fn stop_quickly(&mut self, py: Python<'_>) -> Ended {
        self.server.stop();
        self.main_thread.call();
        self.call_hook(py, "worker_int");
        let _ = self.server.join(py, Some(QUICK_FLUSH));
        self.main_thread.wait_until_answered(py, HANDLER_TIMEOUT, Duration::ZERO);
        self.exit_immediately(py)
    }

    /// Ends the process, even if threads of the application are stuck. Python's own exit would wait
    /// for them.
    fn exit_immediately(&self, py: Python<'_>) -> Ended {
        self.call_hook(py, "worker_exit");
        exit_now(py, 0);
        Ended::Exited
    }

    /// On the main thread: all threads of the server have ended. Returns the exit code.
    pub(super) fn on_server_end(&self, py: Python<'_>, signals: &WorkerSignals) -> i32 {
        self.hooks.call(py, "served", &[self.request_count()]);
        if !self.is_stopped_by_signal {
            signals.raise_unsent_term(py);
        }
        if !self.stage.is_stopping() {
            error!(target: "worker.failed", "The server has ended unexpectedly: exiting");
            return SERVER_ENDED;
        }
        log_exit();
        // Python waits for threads of the application that are not daemons.
        let threads = py.import("rustwsgi._lingering_threads");
        let _ = threads.and_then(|module| module.call_method0("report_soon"));
        0
    }

    /// Calls a hook on the control thread. Commands that it starts inherit the signal mask.
    fn call_hook(&self, py: Python<'_>, name: &str) {
        self.signal_mask.during(|| self.hooks.call(py, name, &[self.request_count()]));
    }

    /// Requests so far, for the hooks.
    fn request_count(&self) -> i64 {
        self.server.requests_served().try_into().unwrap_or(i64::MAX)
    }

    /// Asks for a replacement when this worker has reached a limit, or has a request that cannot be
    /// interrupted.
    fn check_recycling(&mut self, py: Python<'_>) -> PyResult<()> {
        let is_stuck = self.server.end_overdue_requests(py)?;
        let (Stage::Serving, Some(channel)) = (self.stage, &self.channel) else { return Ok(()) };
        let reason = match is_stuck {
            true => Some("a request cannot be interrupted".to_owned()),
            false if self.server.has_lost_thread() => {
                Some("one of its threads has failed".to_owned())
            }
            false => self.limits.reached(self.server.requests_served()),
        };
        let Some(reason) = reason else { return Ok(()) };
        if is_stuck {
            // gunicorn calls it in a worker that the master aborts. This worker detects the timeout
            // itself.
            self.call_hook(py, "worker_abort");
        }
        let pid = std::process::id();
        info!(target: "worker.recycling", "Worker {pid} asks to be replaced: {reason}");
        if FromWorker::ReplacementWanted.send(channel).is_ok() {
            self.stage = Stage::AwaitingReplacement;
        }
        Ok(())
    }
}

fn log_exit() {
    info!(target: "worker.exiting", "Worker exiting (pid: {})", std::process::id());
}

/// The kernel has dropped a log's file, because this process has no free descriptor.
pub(super) fn report_lost_log(log: Log) {
    error!(
        target: "log.not_received",
        "Worker {} has no free descriptor for the new {log}, and keeps the old file: raise \
         LimitNOFILE, and send USR1 again",
        std::process::id()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_of_the_first_stop_holds() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        for mut stage in [Stage::Serving, Stage::AwaitingReplacement] {
            assert!(!stage.is_stopping() && !stage.is_overdue(now));
            stage.stop(now, 30 * second);
            stage.stop(now + second, 30 * second);
            assert_eq!(stage, Stage::Stopping { deadline: Some(now + 30 * second) });
            assert!(!stage.is_overdue(now + 29 * second) && stage.is_overdue(now + 30 * second));
        }
        let mut stage = Stage::Serving;
        stage.stop(now, Duration::MAX);
        assert_eq!(stage, Stage::Stopping { deadline: None });
        assert!(!stage.is_overdue(now + 1000 * second));
    }
}
