//! The row of one thread in a worker's slot: the request that it runs, and what it has counted.
//!
//! Only its thread writes to a row, so counting is a load and a store. The thread that polls has a
//! row of its own, for the responses that it makes itself.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::SLOW_REQUEST;
use super::histogram::{HISTOGRAM_WORDS, Histogram, add, observe};
use super::request_entry::{self, ENTRY_WORDS, Entry, Shown};
use super::totals::{Body, CLASSES, METHODS, Totals, class_of, method_of};
use crate::sys::clock::Moment;

// The offsets of a row in words.
const PHASE: usize = 0;
const IS_ATTACHING: usize = 1;
const RECEIVED_BYTES: usize = 2;
const SENT_BYTES: usize = 3;
const REQUESTS: usize = 4;
const DURATION: usize = REQUESTS + METHODS.len() * CLASSES.len();
const QUEUE: usize = DURATION + HISTOGRAM_WORDS;
const APP: usize = QUEUE + HISTOGRAM_WORDS;
const RUNNING: usize = APP + HISTOGRAM_WORDS;
const SLOW: usize = RUNNING + ENTRY_WORDS;
/// The words of a row, rounded up so that no two threads write to one cache line: x86 processors
/// fetch two lines of 64 bytes at a time.
pub(super) const ROW_WORDS: usize = (SLOW + ENTRY_WORDS).next_multiple_of(16);

const RELAXED: Ordering = Ordering::Relaxed;

/// The words of one row.
pub(super) type Words = [AtomicU64; ROW_WORDS];

/// What a request is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It waits for a thread.
    Queued,
    /// The application runs it.
    Running,
    /// Its thread has sent, or looked up a file, and waits for the interpreter.
    WaitingForInterpreter,
    /// Its thread sends a part of the response, and may wait for the client.
    Writing,
    /// It has taken its connection.
    Upgraded,
}

/// A thread without a request.
const IDLE: u64 = 0;

impl Phase {
    fn code(self) -> u64 {
        self as u64 + 1
    }

    fn from_code(code: u64) -> Option<Phase> {
        [Phase::Queued, Phase::Running, Phase::WaitingForInterpreter, Phase::Writing]
            .into_iter()
            .find(|phase| phase.code() == code)
    }

    /// The name that operators see.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Queued => "queued",
            Phase::Running => "running",
            Phase::WaitingForInterpreter => "waiting for the interpreter",
            Phase::Writing => "writing",
            Phase::Upgraded => "upgraded",
        }
    }
}

/// The row of one thread. The slot stays mapped until the process ends, so that each use of the row
/// takes a store and nothing else.
#[derive(Clone, Copy)]
pub struct ThreadRow(pub(super) &'static Words);

impl fmt::Debug for ThreadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ThreadRow").finish_non_exhaustive()
    }
}

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered<'a> {
    /// Its method.
    pub(crate) method: &'a [u8],
    /// The status of the response; 0 if there was none.
    pub(crate) status: u16,
    /// Bytes of its body.
    pub(crate) received_bytes: u64,
    /// Bytes of the response's body.
    pub(crate) sent_bytes: u64,
    /// When its first byte arrived.
    pub(crate) started_at: Moment,
    /// When it was complete.
    pub(crate) ready_at: Moment,
    /// When a thread began to run it; `None` if the poller has answered.
    pub(crate) began_at: Option<Moment>,
    /// When its response was complete.
    pub(crate) ended_at: Moment,
}

thread_local! {
    /// The row of this thread.
    static OWN: Cell<Option<ThreadRow>> = const { Cell::new(None) };
}

/// Shows that the request of this worker thread has entered another phase. Does nothing in another
/// thread.
pub fn enter_phase(phase: Phase) {
    if let Some(row) = OWN.get() {
        row.enter(phase);
    }
}

impl ThreadRow {
    /// Makes it the row of this thread, for [`enter_phase`].
    pub fn adopt(&self) {
        OWN.set(Some(*self));
    }

    /// Shows that the thread waits for the interpreter, to run the next request then.
    #[inline]
    pub fn attach(&self) {
        self.0[IS_ATTACHING].store(1, RELAXED);
    }

    /// Shows that the thread has the interpreter.
    #[inline]
    pub fn attached(&self) {
        self.0[IS_ATTACHING].store(0, RELAXED);
    }

    /// Shows the request that the thread begins: its numbers are the times at which it arrived, was
    /// complete, and began to run.
    #[inline(always)]
    pub(crate) fn begin(&self, request: Shown<'_>) {
        let words = self.0;
        let version = request_entry::write(part(words, RUNNING), request);
        // A reader that sees the phase also sees the request.
        words[PHASE].store(version << 8 | Phase::Running.code(), Ordering::Release);
    }

    /// Shows that the thread runs no request.
    #[inline]
    pub fn end(&self) {
        self.0[PHASE].store(IDLE, RELAXED);
    }

    fn enter(&self, phase: Phase) {
        let word = &self.0[PHASE];
        let shown = word.load(RELAXED);
        if shown != IDLE {
            word.store(shown & !0xff | phase.code(), RELAXED);
        }
    }

    /// Counts a request that was answered. `line` is called if it was slow, and returns its method,
    /// a space, and its target.
    // Otherwise a call copies the request to the stack, which takes as long as to count it.
    #[inline(always)]
    pub(crate) fn count<'a>(&self, answered: Answered<'a>, line: impl FnOnce() -> &'a [u8]) {
        let words = self.0;
        let kind = method_of(answered.method) * CLASSES.len() + class_of(answered.status);
        add(&words[REQUESTS + kind], 1);
        if answered.received_bytes > 0 {
            add(&words[RECEIVED_BYTES], answered.received_bytes);
        }
        add(&words[SENT_BYTES], answered.sent_bytes);
        let ended = answered.ended_at;
        let duration = ended.nanos_since(answered.started_at);
        observe(part(words, DURATION), duration);
        if let Some(began) = answered.began_at {
            observe(part(words, QUEUE), began.nanos_since(answered.ready_at));
            observe(part(words, APP), ended.nanos_since(began));
        }
        if duration >= SLOW_REQUEST.as_nanos() as u64 {
            let numbers = [duration, ended.as_nanos(), u64::from(answered.status)];
            let method_bytes = answered.method.len();
            self.show_slow(Shown { line: line(), method_bytes, numbers });
        }
    }

    #[cold]
    #[inline(never)]
    fn show_slow(&self, request: Shown<'_>) {
        request_entry::write(part(self.0, SLOW), request);
    }
}

/// What a row shows to the master.
pub(super) fn running(words: &Words) -> Option<(Phase, Option<Entry>)> {
    let shown = words[PHASE].load(Ordering::Acquire);
    if shown == IDLE {
        return None;
    }
    let entry = request_entry::read(part(words, RUNNING));
    // The thread has begun another request since: it runs that one.
    let is_same = entry.as_ref().is_some_and(|entry| entry.version << 8 == shown & !0xff);
    let phase = Phase::from_code(shown & 0xff).filter(|_| is_same);
    Some((phase.unwrap_or(Phase::Running), entry))
}

/// The entry of the request that was begun last.
pub(super) fn last_begun(words: &Words) -> &[AtomicU64; ENTRY_WORDS] {
    part(words, RUNNING)
}

pub(super) fn last_slow(words: &Words) -> Option<Entry> {
    request_entry::read(part(words, SLOW))
}

pub(super) fn is_attaching(words: &Words) -> bool {
    words[IS_ATTACHING].load(RELAXED) != 0
}

/// Adds what a row has counted.
pub(super) fn add_to(totals: &mut Totals, words: &Words) {
    let kinds = &words[REQUESTS..DURATION];
    for (total, count) in totals.requests.iter_mut().flatten().zip(kinds) {
        *total = total.wrapping_add(count.load(RELAXED));
    }
    totals.duration.add(&words[DURATION..QUEUE]);
    totals.queue.add(&words[QUEUE..APP]);
    totals.app.add(&words[APP..RUNNING]);
    let Body { received, sent } = &mut totals.body_bytes;
    *received = received.wrapping_add(words[RECEIVED_BYTES].load(RELAXED));
    *sent = sent.wrapping_add(words[SENT_BYTES].load(RELAXED));
}

/// The words from an offset on.
#[inline]
fn part<const LENGTH: usize>(words: &Words, start: usize) -> &[AtomicU64; LENGTH] {
    words[start..].first_chunk().expect("a row has all its parts")
}

impl Histogram {
    /// The number of values that were at most this bucket's bound.
    pub fn cumulative(&self) -> impl Iterator<Item = u64> + '_ {
        self.buckets.iter().scan(0_u64, |sum, count| {
            *sum = sum.wrapping_add(*count);
            Some(*sum)
        })
    }
}
