//! All writers of the process.
//!
//! A forked child must not find the lock of a log held by a thread that it does not have. So a fork
//! takes the locks of all writers and releases them on both sides. The child begins with empty
//! buffers, since its parent writes the lines.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, Once};

use super::{LogWriter, State};
use crate::observe::lost_lines;
use crate::observe::sink::Sink;
use crate::sync::ignore_poison;
use crate::sys::at_fork;

/// The writer of a log that can be closed, and takes it back then.
#[derive(Debug)]
pub(in crate::observe) struct OwnedWriter(pub(super) &'static LogWriter);

impl OwnedWriter {
    /// A writer to `sink`.
    pub(in crate::observe) fn new(sink: Sink) -> OwnedWriter {
        let mut writers = writers();
        let free = writers.iter().copied().find(|writer| writer.lock().is_free);
        let writer = free.unwrap_or_else(|| {
            // A fork takes the locks of all writers, so they live as long as the process. A closed
            // one is used again.
            let writer = Box::leak(Box::new(LogWriter::new()));
            register(&mut writers, writer);
            writer
        });
        let mut state = writer.lock();
        state.is_free = false;
        state.sink = Some(Arc::new(sink));
        drop(state);
        OwnedWriter(writer)
    }
}

impl Deref for OwnedWriter {
    type Target = LogWriter;

    fn deref(&self) -> &LogWriter {
        self.0
    }
}

impl Drop for OwnedWriter {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.reset();
        state.sink = None;
        state.is_free = true;
        self.0.has_backlog.store(false, Ordering::Relaxed);
        self.0.was_forked.store(false, Ordering::Relaxed);
    }
}

/// All writers of the process.
static WRITERS: Mutex<Vec<&'static LogWriter>> = Mutex::new(Vec::new());

fn writers() -> MutexGuard<'static, Vec<&'static LogWriter>> {
    ignore_poison(WRITERS.lock())
}

/// Takes the lock of this writer, too, whenever the process forks.
pub(in crate::observe) fn hold_at_fork(writer: &'static LogWriter) {
    let mut writers = writers();
    if !writers.iter().any(|known| std::ptr::eq(*known, writer)) {
        register(&mut writers, writer);
    }
}

fn register(writers: &mut Vec<&'static LogWriter>, writer: &'static LogWriter) {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| at_fork::register(hold_all, release_all, reset_all));
    writers.push(writer);
}

/// The locks of all writers, with that of their list.
struct Held {
    states: Vec<MutexGuard<'static, State>>,
    writers: MutexGuard<'static, Vec<&'static LogWriter>>,
}

thread_local! {
    /// What the thread that forks holds meanwhile.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// Before a fork. No thread holds two locks of writers, nor forks while it holds one.
pub(super) fn hold_all() {
    let writers = writers();
    let states = writers.iter().map(|writer| writer.lock()).collect();
    // Fails only if the thread is ending; then the locks are released at once.
    let _ = HELD.try_with(|held| held.replace(Some(Held { states, writers })));
}

/// After a fork, in the parent.
pub(super) fn release_all() {
    let _ = HELD.try_with(RefCell::take);
}

/// After a fork, in the child: no thread is writing, and the parent writes what is buffered.
fn reset_all() {
    lost_lines::forget();
    let held = HELD.try_with(RefCell::take).ok().flatten();
    if let Some(mut held) = held {
        for (state, writer) in held.states.iter_mut().zip(held.writers.iter()) {
            state.reset();
            writer.has_backlog.store(false, Ordering::Relaxed);
            writer.was_forked.store(true, Ordering::Relaxed);
        }
    }
}
