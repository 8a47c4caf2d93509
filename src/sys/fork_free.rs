//! Tests that close a descriptor and expect the effect at once: the other end of a pipe sees that,
//! a lock is free. A child that another test forks has a copy of all descriptors for a moment.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The tests that run and want no fork.
static TESTS: Mutex<usize> = Mutex::new(0);
static CHANGED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, usize> {
    TESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, no test forks. A test may have several.
#[derive(Debug)]
pub(crate) struct ForkFree(());

impl ForkFree {
    /// Waits while another test forks.
    pub(crate) fn new() -> ForkFree {
        *lock() += 1;
        ForkFree(())
    }
}

impl Drop for ForkFree {
    fn drop(&mut self) {
        *lock() -= 1;
        CHANGED.notify_all();
    }
}

/// Waits for the tests that want no fork, and lets none begin while the result lives.
#[cfg(feature = "python")]
pub(super) fn before_fork() -> MutexGuard<'static, usize> {
    CHANGED.wait_while(lock(), |tests| *tests > 0).unwrap_or_else(PoisonError::into_inner)
}
