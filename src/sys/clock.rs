//! The two clocks: the monotonic clock for deadlines, and the time of day.
//!
//! Under the fuzzer, the monotonic clock stands still until the fuzzer advances it.

use std::time::SystemTime;

/// The current time of the monotonic clock.
#[cfg(not(fuzzing))]
pub(crate) fn now() -> std::time::Instant {
    std::time::Instant::now()
}

#[cfg(fuzzing)]
pub use manual::{advance, now};

#[cfg(fuzzing)]
mod manual {
    use std::cell::Cell;
    use std::time::{Duration, Instant};

    thread_local! {
        static NOW: Cell<Instant> = Cell::new(Instant::now());
    }

    /// The current time on this thread.
    pub fn now() -> Instant {
        NOW.get()
    }

    /// Moves the clock of this thread forward.
    pub fn advance(time: Duration) {
        NOW.set(NOW.get() + time);
    }
}

/// The time of day to within a few milliseconds, read without asking the processor's counter.
#[cfg(target_os = "linux")]
pub(crate) fn wall_clock() -> SystemTime {
    use nix::time::ClockId;
    use std::time::{Duration, UNIX_EPOCH};

    // Not rustix's, whose way to the vDSO crashes under valgrind (`make bench-instructions`).
    let now = ClockId::CLOCK_REALTIME_COARSE.now().map(Duration::from);
    now.map_or_else(|_| SystemTime::now(), |now| UNIX_EPOCH + now)
}

/// The time of day.
#[cfg(not(target_os = "linux"))]
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}
