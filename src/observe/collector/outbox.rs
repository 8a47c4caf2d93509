//! The messages for one collector: a bounded queue, and the socket that they are sent to.
//!
//! One thread at a time sends, without holding the lock, so that others add messages meanwhile and
//! the application can fork.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use log::{error, warn};

use super::address::{CollectorAddress, Target};
use super::transfer::Transfer;
use crate::observe::wording::counted;
use crate::observe::writer::Outcome;
use crate::sync::ignore_poison;

/// Messages are dropped while this many bytes are queued.
pub(super) const DROP_THRESHOLD_BYTES: usize = 256 * 1024;
/// A thread that finds this many bytes queued sends them, instead of the poller.
pub(super) const SEND_THRESHOLD_BYTES: usize = 32 * 1024;
/// The time between two attempts to connect.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long a process waits that does not flush.
const SEND_TIMEOUT: Duration = Duration::from_millis(50);
/// The shortest time between two reports that a collector fails.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// The queue of one collector, whose messages have the form `F`.
#[derive(Debug)]
pub(super) struct Outbox<F: 'static> {
    /// Names the collector in messages.
    name: &'static str,
    state: Mutex<State<F>>,
    /// Whether there is a collector.
    is_open: AtomicBool,
    /// Whether messages are queued.
    is_pending: AtomicBool,
    /// Messages stay queued because the collector does not take them.
    has_backlog: AtomicBool,
    /// Whether this process flushes regularly, as master and poller do.
    is_flushed: AtomicBool,
}

#[derive(Debug)]
pub(super) struct State<F> {
    /// The address that the sockets below belong to.
    address: Option<CollectorAddress>,
    /// The sockets to try, and the one that is next.
    targets: Option<Arc<[Target]>>,
    next: usize,
    /// Changes when the sockets do: a thread that is sending then discards its own.
    epoch: u64,
    /// The form of the messages.
    form: Option<Arc<F>>,
    queue: VecDeque<Vec<u8>>,
    queued_bytes: usize,
    transfer: Transfer,
    /// A thread is sending, and has taken the transfer and the queue.
    is_sending: bool,
    /// Since when the collector has taken nothing of what is queued.
    stalled_since: Option<Instant>,
    /// Messages that were dropped or lost since the last time that all were sent.
    lost: u64,
    /// Sending fails since the last report.
    is_reported: bool,
    reported_at: Option<Instant>,
}

impl<F> State<F> {
    const fn new() -> State<F> {
        State {
            address: None,
            targets: None,
            next: 0,
            epoch: 0,
            form: None,
            queue: VecDeque::new(),
            queued_bytes: 0,
            transfer: Transfer::NEW,
            is_sending: false,
            stalled_since: None,
            lost: 0,
            is_reported: false,
            reported_at: None,
        }
    }
}

impl<F> Outbox<F> {
    pub(super) const fn new(name: &'static str) -> Outbox<F> {
        Outbox {
            name,
            is_flushed: AtomicBool::new(false),
            state: Mutex::new(State::new()),
            is_open: AtomicBool::new(false),
            is_pending: AtomicBool::new(false),
            has_backlog: AtomicBool::new(false),
        }
    }

    /// Sends to this collector, or to none, from now on.
    ///
    /// # Errors
    /// A phrase, if the host cannot be found; then there is none.
    pub(super) fn open(&self, to: &Option<(CollectorAddress, F)>) -> Result<(), String>
    where
        F: Clone,
    {
        let Some((address, form)) = to else {
            self.close();
            return Ok(());
        };
        let is_same = {
            let state = &mut self.lock();
            state.form = Some(Arc::new(form.clone()));
            state.address.as_ref() == Some(address)
        };
        if !is_same {
            let targets = address.targets().and_then(|targets| match targets.is_empty() {
                true => Err(io::ErrorKind::NotFound.into()),
                false => Ok(targets),
            });
            let targets = targets.map_err(|error| {
                self.close();
                format!("cannot find {address}: {error}")
            })?;
            let state = &mut self.lock();
            state.address = Some(address.clone());
            state.targets = Some(targets.into());
            (state.next, state.transfer) = (0, Transfer::NEW);
            (state.epoch, state.is_sending) = (state.epoch + 1, false);
            state.stalled_since = None;
        }
        self.is_open.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
        let state = &mut *self.lock();
        let epoch = state.epoch + 1;
        *state = State { epoch, ..State::new() };
        self.is_pending.store(false, Ordering::Relaxed);
        self.has_backlog.store(false, Ordering::Relaxed);
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    pub(super) fn is_pending(&self) -> bool {
        self.is_pending.load(Ordering::Relaxed)
    }

    pub(super) fn has_backlog(&self) -> bool {
        self.has_backlog.load(Ordering::Relaxed)
    }

    /// The form of the messages, if there is a collector.
    pub(super) fn form(&self) -> Option<Arc<F>> {
        if self.is_open() { self.lock().form.clone() } else { None }
    }

    /// Queues a message, unless the queue is full. `join` is the size in bytes up to which messages
    /// share a datagram, separated by line feeds. Returns how many bytes are queued.
    pub(super) fn push(&self, message: Vec<u8>, join: Option<usize>) -> usize {
        let state = &mut *self.lock();
        if state.queued_bytes >= DROP_THRESHOLD_BYTES {
            state.lost += 1;
            return state.queued_bytes;
        }
        let length = message.len();
        match (state.queue.back_mut(), join) {
            (Some(last), Some(most)) if last.len() + 1 + length <= most => {
                last.push(b'\n');
                last.extend_from_slice(&message);
                state.queued_bytes += length + 1;
            }
            _ => {
                state.queue.push_back(message);
                state.queued_bytes += length;
            }
        }
        self.is_pending.store(true, Ordering::Relaxed);
        state.queued_bytes
    }

    /// Sends what is queued, from a loop that calls this regularly. Cheap if there is nothing.
    #[inline]
    pub(super) fn flush(&self) {
        if self.is_open() || self.is_pending() {
            self.flush_in_use();
        }
    }

    fn flush_in_use(&self) {
        if self.is_open() {
            self.is_flushed.store(true, Ordering::Relaxed);
        }
        if self.is_pending() {
            self.report(self.send());
        }
    }

    /// Sends what is queued. A process that does not flush, such as a forked child of the
    /// application, may end at once: it gives the collector a moment.
    pub(super) fn send_now(&self) {
        self.report(self.send());
        if self.has_backlog() && !self.is_flushed.load(Ordering::Relaxed) {
            self.send_until(Instant::now() + SEND_TIMEOUT);
        }
    }

    fn report(&self, outcome: Outcome) {
        let name = self.name;
        match outcome {
            Outcome::Quiet => {}
            Outcome::Failing(why) => error!(
                target: "collector.failed",
                "Cannot send to {name}, trying again each second: {why}"
            ),
            Outcome::Recovered(lost) => warn!(
                target: "collector.recovered",
                "Sending to {name} again: lost {}",
                counted(lost, "message")
            ),
        }
    }

    /// Sends what is queued, as far as the collector takes it at once. Does nothing if another
    /// thread is sending.
    pub(super) fn send(&self) -> Outcome {
        let mut state = self.lock();
        let now = Instant::now();
        if state.is_sending || state.queue.is_empty() {
            return Outcome::Quiet;
        }
        if state.transfer.retry_at.is_some_and(|at| now < at) {
            return Outcome::Quiet;
        }
        state.is_sending = true;
        let mut queue = mem::take(&mut state.queue);
        let mut transfer = mem::replace(&mut state.transfer, Transfer::NEW);
        let (targets, next, epoch) = (state.targets.clone(), state.next, state.epoch);
        drop(state);

        let before = (queue.len(), transfer.sent_bytes);
        let (lost, result) = transfer.send_all(&mut queue, targets.as_deref(), next);
        let is_stalled = before == (queue.len(), transfer.sent_bytes);

        let mut state = self.lock();
        // The collector was changed: another socket is used from now on.
        if state.epoch != epoch {
            return Outcome::Quiet;
        }
        state.is_sending = false;
        state.stalled_since = is_stalled.then(|| state.stalled_since.unwrap_or(now));
        if result.is_err() {
            transfer = Transfer { retry_at: Some(now + RETRY_INTERVAL), ..Transfer::NEW };
            state.next = next.wrapping_add(1);
        }
        state.transfer = transfer;
        queue.append(&mut state.queue);
        state.queue = queue;
        state.queued_bytes = state.queue.iter().map(Vec::len).sum();
        state.lost += lost;
        let has_backlog = !state.queue.is_empty();
        self.is_pending.store(has_backlog, Ordering::Relaxed);
        self.has_backlog.store(has_backlog, Ordering::Relaxed);
        state.report(result, has_backlog, now)
    }

    /// As [`Outbox::send`], and waits until `end` for a collector that is connected.
    pub(super) fn send_until(&self, end: Instant) {
        while self.is_pending() {
            self.send();
            let left = end.saturating_duration_since(Instant::now());
            if !self.has_backlog() || left.is_zero() {
                return;
            }
            // Meanwhile no other thread sends: it would open a second socket, and send the rest of
            // a message there that has begun in this one.
            let (link, epoch) = {
                let state = &mut *self.lock();
                if state.is_sending {
                    return;
                }
                let Some(link) = state.transfer.link.take() else { return };
                state.is_sending = true;
                (link, state.epoch)
            };
            let is_writable = link.wait_writable(left);
            let state = &mut *self.lock();
            if state.epoch != epoch {
                return;
            }
            state.is_sending = false;
            state.transfer.link = Some(link);
            if !is_writable {
                return;
            }
        }
    }

    /// At the end of the process: as [`Outbox::send_until`], but waits only for a collector that
    /// has taken something within the last `patience`.
    pub(super) fn finish(&self, end: Instant, patience: Duration) {
        self.send();
        let stalled_since = self.lock().stalled_since;
        if stalled_since.is_none_or(|since| since.elapsed() < patience) {
            self.send_until(end);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<F>> {
        ignore_poison(self.state.lock())
    }
}

impl<F> State<F> {
    fn report(&mut self, result: io::Result<()>, has_backlog: bool, now: Instant) -> Outcome {
        let why = match result {
            Err(error) => error.to_string(),
            Ok(()) if self.lost > 0 && has_backlog => "it does not keep up".to_owned(),
            Ok(()) if !has_backlog && (mem::take(&mut self.is_reported) || self.lost > 0) => {
                return Outcome::Recovered(mem::take(&mut self.lost));
            }
            Ok(()) => return Outcome::Quiet,
        };
        let is_due = self.reported_at.is_none_or(|at| now >= at + REPORT_INTERVAL);
        if self.is_reported || !is_due {
            return Outcome::Quiet;
        }
        (self.is_reported, self.reported_at) = (true, Some(now));
        Outcome::Failing(why)
    }
}

/// The lock of an outbox, held during a fork.
trait Held {
    /// In the child: the parent sends what is queued, and the child opens a socket of its own.
    fn reset(&mut self);
}

impl<F> Held for MutexGuard<'static, State<F>> {
    fn reset(&mut self) {
        self.queue = VecDeque::new();
        self.queued_bytes = 0;
        self.transfer = Transfer::NEW;
        self.epoch += 1;
        (self.is_sending, self.lost, self.is_reported) = (false, 0, false);
        self.stalled_since = None;
    }
}

thread_local! {
    /// What the thread that forks holds meanwhile.
    static HELD: RefCell<Vec<Box<dyn Held>>> = const { RefCell::new(Vec::new()) };
}

impl<F> Outbox<F> {
    /// Before a fork: takes the lock. No thread holds two locks of outboxes, nor forks while it
    /// holds one.
    pub(super) fn hold(&'static self) {
        let held: Box<dyn Held> = Box::new(self.lock());
        // Fails only if the thread is ending; then the lock is released at once.
        let _ = HELD.try_with(|all| all.borrow_mut().push(held));
    }

    /// In the child, after [`reset_held`].
    pub(super) fn reset(&self) {
        self.is_flushed.store(false, Ordering::Relaxed);
        self.is_pending.store(false, Ordering::Relaxed);
        self.has_backlog.store(false, Ordering::Relaxed);
    }
}

/// After a fork: releases all locks.
pub(super) fn release_held() {
    let _ = HELD.try_with(|all| all.borrow_mut().clear());
}

/// After a fork, in the child: resets all outboxes that are held, and releases them.
pub(super) fn reset_held() {
    let _ = HELD.try_with(|all| all.borrow_mut().iter_mut().for_each(|held| held.reset()));
    release_held();
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
