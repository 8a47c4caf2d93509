//! The time that deadlines are counted in.
//!
//! It is the system's steady clock. Under the fuzzer, whose clients are slow in every way, it stands still
//! until it is told how much has passed.

/// Now.
#[cfg(not(fuzzing))]
pub(super) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(fuzzing)]
pub use told::{advance, now};

#[cfg(fuzzing)]
mod told {
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    thread_local! {
        static NOW: Cell<Instant> = Cell::new(Instant::now());
    }

    /// Now, on this thread.
    pub fn now() -> Instant {
        NOW.get()
    }

    /// So much time passes on this thread.
    pub fn advance(time: Duration) {
        NOW.set(NOW.get() + time);
    }
}
