//! The locks and flags with which threads pass work to each other.
//!
//! They are std's, unless a test is built with `--cfg shuttle`: then they are shuttle's, which runs
//! the threads one at a time and tries one order of their steps after another (`make model`). Two
//! things are invisible to the checker, and modelled here: a thread that blocks in the kernel, and
//! time.

#[cfg(not(all(test, shuttle)))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
};

#[cfg(all(test, shuttle))]
pub(crate) use shuttle::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
};

use std::sync::{LockResult, PoisonError, TryLockError};
use std::time::Duration;

/// The guard of a lock, even if a thread has panicked while holding it. A panic costs one request,
/// and never leaves the protected data half-changed.
pub(crate) fn ignore_poison<G>(result: LockResult<G>) -> G {
    result.unwrap_or_else(PoisonError::into_inner)
}

/// The guard of a lock if no thread holds it, even if one has panicked while holding it.
pub(crate) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Blocks this thread for `time`. In a model, any moment may be the end of it.
#[cfg_attr(all(test, shuttle), expect(unused_variables))]
pub(crate) fn sleep(time: Duration) {
    #[cfg(not(all(test, shuttle)))]
    std::thread::sleep(time);
    #[cfg(all(test, shuttle))]
    shuttle::thread::yield_now();
}

/// Marks, in debug builds, that this thread holds a lock under which no object of Python may be
/// released: without a GIL that may wait for all other threads, and one of them for the lock.
#[derive(Debug)]
pub(crate) struct CriticalSection(());

#[cfg(debug_assertions)]
thread_local! {
    static CRITICAL_SECTIONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl CriticalSection {
    /// Lasts until the value is dropped.
    pub(crate) fn enter() -> CriticalSection {
        #[cfg(debug_assertions)]
        CRITICAL_SECTIONS.set(CRITICAL_SECTIONS.get() + 1);
        CriticalSection(())
    }

    /// Whether this thread is inside a section.
    #[cfg(all(debug_assertions, any(feature = "python", all(test, not(shuttle)))))]
    pub(crate) fn is_inside() -> bool {
        CRITICAL_SECTIONS.get() > 0
    }
}

#[cfg(debug_assertions)]
impl Drop for CriticalSection {
    fn drop(&mut self) {
        CRITICAL_SECTIONS.set(CRITICAL_SECTIONS.get() - 1);
    }
}

/// Waits at `condvar` until it is notified, or `time` is over.
#[cfg(not(all(test, shuttle)))]
pub(crate) fn pause<'a, T>(
    _mutex: &'a Mutex<T>,
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    time: Duration,
) -> MutexGuard<'a, T> {
    ignore_poison(condvar.wait_timeout(guard, time)).0
}

/// In a model, a short timeout may expire at any moment. (shuttle's own `wait_timeout` never
/// expires: a model that needs it deadlocks, which shuttle reports.)
#[cfg(all(test, shuttle))]
pub(crate) fn pause<'a, T>(
    mutex: &'a Mutex<T>,
    _condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    _time: Duration,
) -> MutexGuard<'a, T> {
    drop(guard);
    shuttle::thread::yield_now();
    ignore_poison(mutex.lock())
}

/// Models blocking in the kernel, which the checker cannot see: a thread that would wait for a
/// descriptor waits here until any thread has changed one, and polls again.
#[cfg(all(test, shuttle))]
pub(crate) mod kernel {
    use super::{Condvar, Mutex};

    #[derive(Default)]
    struct Kernel {
        changes: Mutex<u64>,
        changed: Condvar,
    }

    shuttle::lazy_static! {
        static ref KERNEL: Kernel = Kernel::default();
    }

    /// How many times a descriptor was changed so far.
    pub(crate) fn changes() -> u64 {
        *KERNEL.changes.lock().expect("not poisoned")
    }

    /// Records that a descriptor was changed.
    pub(crate) fn changed() {
        *KERNEL.changes.lock().expect("not poisoned") += 1;
        KERNEL.changed.notify_all();
    }

    /// Blocks until there are more changes than had been `seen`.
    pub(crate) fn wait(seen: u64) {
        let changes = KERNEL.changes.lock().expect("not poisoned");
        drop(KERNEL.changed.wait_while(changes, |changes| *changes == seen).expect("not poisoned"));
    }
}
