//! The master's view of one worker: its status, its channel, its heartbeat, and when to kill it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, error, warn};

use super::heartbeat::Heartbeat;
use super::link::Link;
use super::messages::{FromWorker, Received, ToWorker};
use super::pool::{WorkerState, WorkerStatus};
use crate::config::Replace;
use crate::net::Membership;
use crate::observe::WorkerSlot;
use crate::sys::process::kill;
use crate::worker::Inspection;

/// How long the master waits beyond a worker's own deadline, or after SIGABRT, before SIGKILL.
pub(super) const EXIT_MARGIN: Duration = Duration::from_secs(3);

/// Replaces [`EXIT_MARGIN`] if the worker's replacement waits for its exit.
const YIELD_MARGIN: Duration = Duration::from_secs(1);

/// After this number of ignored messages the master no longer reads what the worker sends. The
/// server's own code causes a few at most.
const MAX_IGNORED_MESSAGES: u32 = 64;

/// How long a heartbeat may be missing when `--timeout` sets no limit.
const DEFAULT_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(60);

/// The times after which the master kills a worker.
#[derive(Debug, Clone, Copy)]
pub(super) struct KillTimeouts {
    /// From the fork to the ready message.
    pub(super) boot: Duration,
    /// Without a heartbeat.
    pub(super) heartbeat: Duration,
}

impl KillTimeouts {
    /// `request` is the time that a request may take, after which the worker interrupts it itself.
    pub(super) fn new(boot: Duration, request: Duration) -> KillTimeouts {
        let heartbeat = match request {
            Duration::MAX => DEFAULT_HEARTBEAT_TIMEOUT,
            limit => limit.saturating_add(EXIT_MARGIN),
        };
        KillTimeouts { boot, heartbeat }
    }
}

/// The plan to kill the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    /// None.
    Unplanned,
    /// It was asked to exit, and is sent SIGKILL at this time, if any.
    Due(Option<Instant>),
    /// SIGKILL was sent.
    Sent,
}

/// A worker process.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    pub(super) pid: i32,
    pub(super) status: WorkerStatus,
    /// Each response only shows why the application failed to load.
    pub(super) serves_error_page: bool,
    /// When it entered its state.
    since: Instant,
    /// When a check first found the heartbeat missing.
    heartbeat_missing_since: Option<Instant>,
    kill: Kill,
    /// `None` once the worker has closed its end: a closed channel is readable until the process is
    /// reaped, so that waiting for it would spin.
    channel: Option<UnixStream>,
    heartbeat: Heartbeat,
    hand_over: Option<Membership>,
    /// Shows what it does, with `--metrics` or `--control-socket`.
    pub(super) slot: Option<Arc<WorkerSlot>>,
    /// The channel to its inspector, with `--control-socket`.
    inspection: Option<UnixStream>,
    /// An unexpected message was logged: further ones are ignored without a line.
    has_sent_unexpected: bool,
    ignored_messages: u32,
}

impl WorkerProcess {
    /// A worker that was just forked.
    pub(super) fn new(pid: i32, status: WorkerStatus, link: Link) -> WorkerProcess {
        let Link { master_end, worker_end: _, heartbeat, hand_over, slot, inspection } = link;
        WorkerProcess {
            pid,
            status,
            serves_error_page: false,
            since: Instant::now(),
            heartbeat_missing_since: None,
            kill: Kill::Unplanned,
            channel: Some(master_end),
            heartbeat,
            hand_over,
            slot,
            inspection: inspection.map(|(master_end, _)| master_end),
            has_sent_unexpected: false,
            ignored_messages: 0,
        }
    }

    /// No other worker counts on it, as its process has ended.
    pub(super) fn leave_hand_over(&self) {
        self.hand_over.iter().for_each(Membership::remove_worker);
    }

    /// Readable when there are messages, or when the worker has exited.
    pub(super) fn channel(&self) -> Option<BorrowedFd<'_>> {
        self.readable_channel().map(AsFd::as_fd)
    }

    /// The channel, unless the worker has flooded it, which must not keep the master busy.
    fn readable_channel(&self) -> Option<&UnixStream> {
        self.channel.as_ref().filter(|_| self.ignored_messages < MAX_IGNORED_MESSAGES)
    }

    /// The master has ended it, as it was not ready in time or had no heartbeat.
    pub(super) fn is_overdue(&self) -> bool {
        self.kill != Kill::Unplanned
    }

    /// How long it has been in its state.
    pub(super) fn time_in_state(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Sends a message. A worker that has closed its end gets none.
    pub(super) fn send(&self, message: ToWorker<&std::fs::File>) -> io::Result<()> {
        self.channel.as_ref().map_or(Ok(()), |channel| message.send(channel))
    }

    /// Lets it answer a client of the control socket.
    ///
    /// # Errors
    /// If its inspector cannot be reached: it reads nothing, or the worker has ended.
    pub(super) fn inspect(&self, request: Inspection, client: BorrowedFd<'_>) -> io::Result<()> {
        let channel = self.inspection.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        request.send(channel, client)
    }

    /// Takes the messages that have arrived.
    pub(super) fn receive(&mut self) -> Vec<FromWorker> {
        match self.readable_channel().map(FromWorker::receive) {
            Some(Ok(Received::Data(messages))) => {
                let mut report = |malformed| self.ignore_unexpected(&malformed);
                messages
                    .into_iter()
                    .filter_map(|message| message.map_err(&mut report).ok())
                    .collect()
            }
            Some(Ok(Received::Closed)) => {
                self.channel = None;
                Vec::new()
            }
            Some(Err(_)) | None => Vec::new(),
        }
    }

    /// Ignores a message that has come too late.
    pub(super) fn ignore_late(&mut self, message: FromWorker) {
        self.ignored_messages += 1;
        debug!("Worker {} sent {message:?} too late: ignored", self.pid);
    }

    /// Ignores a message that this server does not send: code of the application has written it.
    /// Logs that once for each worker, so that it cannot fill the log.
    pub(super) fn ignore_unexpected(&mut self, message: &dyn std::fmt::Display) {
        self.ignored_messages += 1;
        if !std::mem::replace(&mut self.has_sent_unexpected, true) {
            warn!(
                target: "worker.unexpected_message",
                "Worker {} has sent an unexpected message, probably not by the server's code: \
                 ignoring this and further ones: {message}",
                self.pid
            );
        }
    }

    /// The worker serves from now on.
    pub(super) fn set_ready(&mut self, serves_error_page: bool) {
        self.status.state = WorkerState::Ready;
        self.serves_error_page = serves_error_page;
        self.since = Instant::now();
    }

    /// Asks it to exit when its running requests are done, and kills it after `graceful_timeout`.
    /// With [`Replace::StopFirst`], its replacement starts when it has exited.
    pub(super) fn retire(&mut self, replace: Replace, graceful_timeout: Duration) {
        let message = match replace {
            Replace::ReadyFirst => ToWorker::Retire,
            Replace::StopFirst => ToWorker::Yield,
        };
        if self.status.state == WorkerState::Retiring {
            return;
        }
        let asked = self.channel.as_ref().is_some_and(|channel| message.send(channel).is_ok());
        // A worker that is booting reads messages only at the end, and has no request to finish.
        if !asked || self.status.state == WorkerState::Booting {
            kill(self.pid, libc::SIGTERM);
        }
        let margin = match replace {
            Replace::ReadyFirst => EXIT_MARGIN,
            Replace::StopFirst => YIELD_MARGIN,
        };
        self.set_retiring(graceful_timeout.saturating_add(margin));
    }

    /// Ends it with a signal, and kills it after `graceful_timeout`, even if it was asked to exit
    /// before. A message follows, because a handler of the application may receive the signal.
    pub(super) fn stop(&mut self, signal: i32, graceful_timeout: Duration) {
        kill(self.pid, signal);
        // Fails if the worker has exited, or reads nothing any more: the kill deadline holds.
        let _ = self.send(ToWorker::Stop { quick: signal != libc::SIGTERM });
        self.set_retiring(graceful_timeout.saturating_add(EXIT_MARGIN));
    }

    fn set_retiring(&mut self, kill_after: Duration) {
        let now = Instant::now();
        self.status.state = WorkerState::Retiring;
        self.since = now;
        if self.kill != Kill::Sent {
            self.kill = Kill::Due(now.checked_add(kill_after));
        }
    }

    /// Sends SIGABRT to a worker that is not ready in time or has no heartbeat, and SIGKILL to one
    /// that has not exited in time.
    pub(super) fn kill_if_overdue(&mut self, timeouts: &KillTimeouts, now: Instant) {
        let pid = self.pid;
        if self.kill == Kill::Unplanned && self.is_hung(timeouts, now) {
            // Its `faulthandler` prints the stacks of all threads.
            kill(pid, libc::SIGABRT);
            self.kill = Kill::Due(now.checked_add(EXIT_MARGIN));
        }
        if matches!(self.kill, Kill::Due(Some(at)) if at <= now) {
            warn!(target: "worker.killed", "Worker {pid} has not exited in time: sending SIGKILL");
            kill(pid, libc::SIGKILL);
            self.kill = Kill::Sent;
        }
    }

    /// Whether it is not ready in time, or has no heartbeat; logs which.
    fn is_hung(&mut self, timeouts: &KillTimeouts, now: Instant) -> bool {
        let pid = self.pid;
        match self.status.state {
            WorkerState::Booting if self.time_in_state(now) >= timeouts.boot => {
                error!(
                    target: "worker.boot_timeout",
                    "Worker {pid} is not ready after the {} s of --boot-timeout: sending SIGABRT",
                    timeouts.boot.as_secs_f64()
                );
                true
            }
            WorkerState::Ready => {
                let age = self.heartbeat.age();
                let hung = self.misses_heartbeat(age >= timeouts.heartbeat, now);
                if hung {
                    error!(
                        target: "worker.no_heartbeat",
                        "Worker {pid} has sent no heartbeat for {} s: sending SIGABRT",
                        age.as_secs()
                    );
                }
                hung
            }
            WorkerState::Booting | WorkerState::Retiring => false,
        }
    }

    /// Whether the heartbeat was missing at two checks that are [`EXIT_MARGIN`] apart. One check is
    /// not enough: after the machine was suspended, the master may run before its workers.
    fn misses_heartbeat(&mut self, missing_now: bool, now: Instant) -> bool {
        self.heartbeat_missing_since =
            missing_now.then(|| self.heartbeat_missing_since.unwrap_or(now));
        self.heartbeat_missing_since
            .is_some_and(|since| now.saturating_duration_since(since) >= EXIT_MARGIN)
    }

    /// When to call [`WorkerProcess::kill_if_overdue`] next.
    pub(super) fn next_deadline(&self, timeouts: &KillTimeouts) -> Option<Instant> {
        match (self.kill, self.status.state) {
            (Kill::Sent, _) => None,
            (Kill::Due(at), _) => at,
            (Kill::Unplanned, WorkerState::Booting) => self.since.checked_add(timeouts.boot),
            (Kill::Unplanned, WorkerState::Ready) => match self.heartbeat_missing_since {
                Some(since) => since.checked_add(EXIT_MARGIN),
                None => self.heartbeat.last().checked_add(timeouts.heartbeat),
            },
            (Kill::Unplanned, WorkerState::Retiring) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fork_free::ForkFree;

    /// A worker whose pid is no process, so that signals to it reach none.
    fn worker() -> (WorkerProcess, UnixStream) {
        let link = Link::new().unwrap();
        let worker_end = link.worker_end.try_clone().unwrap();
        let status = WorkerStatus::booting(0, false);
        (WorkerProcess::new(i32::MAX, status, link), worker_end)
    }

    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUTS: KillTimeouts =
        KillTimeouts { boot: Duration::from_secs(60), heartbeat: Duration::from_secs(30) };

    #[test]
    fn worker_that_boots_too_long_is_aborted_then_killed() {
        let (mut worker, _other_end) = worker();
        let overdue = worker.since + TIMEOUTS.boot;
        assert_eq!(worker.next_deadline(&TIMEOUTS), Some(overdue));
        worker.kill_if_overdue(&TIMEOUTS, overdue - SECOND);
        assert_eq!(worker.kill, Kill::Unplanned);
        worker.kill_if_overdue(&TIMEOUTS, overdue);
        assert_eq!(worker.kill, Kill::Due(Some(overdue + EXIT_MARGIN)));
        worker.kill_if_overdue(&TIMEOUTS, overdue + EXIT_MARGIN);
        assert_eq!(worker.kill, Kill::Sent);
        assert_eq!(worker.next_deadline(&TIMEOUTS), None);
        worker.stop(libc::SIGTERM, SECOND);
        assert_eq!(worker.kill, Kill::Sent, "not twice");
    }

    #[test]
    fn missing_heartbeat_counts_when_it_is_missing_twice() {
        let (mut worker, _other_end) = worker();
        let now = Instant::now();
        for (missing, after, expected) in [
            (true, Duration::ZERO, false),
            (true, SECOND, false),
            (false, 2 * SECOND, false),
            (true, 3 * SECOND, false),
            (true, 3 * SECOND + EXIT_MARGIN, true),
        ] {
            assert_eq!(worker.misses_heartbeat(missing, now + after), expected, "{after:?}");
        }
    }

    #[test]
    fn heartbeat_timeout_exceeds_the_request_timeout() {
        let of = |request| KillTimeouts::new(SECOND, request).heartbeat;
        assert_eq!(of(Duration::MAX), DEFAULT_HEARTBEAT_TIMEOUT);
        assert_eq!(of(30 * SECOND), 30 * SECOND + EXIT_MARGIN);
    }

    #[test]
    fn ready_worker_is_retired_by_a_message_once() {
        let (mut worker, other_end) = worker();
        other_end.set_nonblocking(true).unwrap();
        worker.set_ready(false);
        worker.retire(Replace::ReadyFirst, SECOND);
        worker.retire(Replace::ReadyFirst, SECOND);
        assert_eq!(worker.status.state, WorkerState::Retiring);
        assert!(matches!(ToWorker::receive(&other_end), Ok(Received::Data(Ok(ToWorker::Retire)))));
        assert_eq!(ToWorker::receive(&other_end).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn malformed_messages_are_ignored() {
        let _fork_free = ForkFree::new();
        let (mut worker, mut other_end) = worker();
        io::Write::write_all(&mut other_end, b"x!\0~").unwrap();
        assert_eq!(worker.receive(), [FromWorker::ReplacementWanted, FromWorker::SourceChanged]);
        drop(other_end);
        assert_eq!(worker.receive(), []);
        assert!(worker.channel().is_none(), "no longer waited for");
    }

    #[test]
    fn worker_that_floods_its_channel_is_no_longer_read() {
        let (mut worker, mut other_end) = worker();
        let flood = [b'x'; 2 * MAX_IGNORED_MESSAGES as usize];
        io::Write::write_all(&mut other_end, &flood).unwrap();
        FromWorker::ReplacementWanted.send(&other_end).unwrap();
        for _ in 0..MAX_IGNORED_MESSAGES {
            assert_eq!(worker.receive(), []);
        }
        assert!(worker.channel().is_none(), "no longer waited for");
        worker.set_ready(false);
        worker.retire(Replace::ReadyFirst, SECOND);
        other_end.set_nonblocking(true).unwrap();
        assert!(matches!(ToWorker::receive(&other_end), Ok(Received::Data(Ok(ToWorker::Retire)))));
    }
}
