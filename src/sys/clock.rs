//! The two clocks: the monotonic clock for deadlines, and the time of day.
//!
//! Under the fuzzer, the monotonic clock stands still until the fuzzer advances it.

use std::num::NonZeroU64;
use std::ops::Add;
use std::time::{Duration, SystemTime};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A time of the monotonic clock, in nanoseconds since the clock began, at least 1; it ends after
/// 584 years. It has half the size of an [`Instant`](std::time::Instant), or of an `Option` of one,
/// and costs half of its arithmetic. All processes of a system have the same clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(NonZeroU64);

impl Moment {
    /// This many nanoseconds after the clock began.
    #[inline]
    pub(crate) fn from_nanos(nanos: u64) -> Moment {
        Moment(NonZeroU64::new(nanos).unwrap_or(NonZeroU64::MIN))
    }

    /// Nanoseconds since the clock began.
    #[inline]
    pub(crate) fn as_nanos(self) -> u64 {
        self.0.get()
    }

    /// Nanoseconds; zero if `earlier` is later.
    #[inline]
    pub(crate) fn nanos_since(self, earlier: Moment) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }

    /// `None` after the end of the clock: the time never comes.
    #[inline]
    pub fn checked_add(self, time: Duration) -> Option<Moment> {
        let nanos = time.as_secs().checked_mul(NANOS_PER_SECOND)?;
        let nanos = nanos.checked_add(u64::from(time.subsec_nanos()))?;
        self.0.checked_add(nanos).map(Moment)
    }

    /// Zero if `earlier` is later.
    #[inline]
    pub fn saturating_duration_since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    /// The end of the clock at most.
    #[inline]
    fn add(self, time: Duration) -> Moment {
        self.checked_add(time).unwrap_or(Moment(NonZeroU64::MAX))
    }
}

/// The earliest of these times; `None` stands for never.
#[inline]
pub(crate) fn earliest<const N: usize>(times: [Option<Moment>; N]) -> Option<Moment> {
    times.into_iter().fold(None, |first, time| match (first, time) {
        (Some(first), Some(time)) => Some(first.min(time)),
        (first, time) => first.or(time),
    })
}

/// The current time of the monotonic clock.
#[cfg(not(fuzzing))]
#[inline]
pub(crate) fn now() -> Moment {
    use nix::time::ClockId;
    let now = ClockId::CLOCK_MONOTONIC.now().expect("every system has this clock");
    // It counts up from zero.
    Moment::from_nanos(now.tv_sec() as u64 * NANOS_PER_SECOND + now.tv_nsec() as u64)
}

#[cfg(fuzzing)]
pub use manual::{advance, now};

#[cfg(fuzzing)]
mod manual {
    use std::cell::Cell;
    use std::time::Duration;

    use super::Moment;

    thread_local! {
        static NOW: Cell<Moment> = Cell::new(Moment::from_nanos(0));
    }

    /// The current time on this thread.
    pub fn now() -> Moment {
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
    use std::time::UNIX_EPOCH;

    // Not rustix's, whose way to the vDSO crashes under valgrind (`make bench-instructions`).
    let now = ClockId::CLOCK_REALTIME_COARSE.now().map(Duration::from);
    now.map_or_else(|_| SystemTime::now(), |now| UNIX_EPOCH + now)
}

/// The time of day.
#[cfg(not(target_os = "linux"))]
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moment_has_the_arithmetic_of_an_instant() {
        let start = now();
        assert!(now() >= start);
        let hour = Duration::from_secs(3600);
        for time in [Duration::ZERO, Duration::from_nanos(1), hour, 10_000 * hour] {
            let later = start + time;
            assert_eq!(start.checked_add(time), Some(later));
            assert_eq!(later.saturating_duration_since(start), time);
            assert_eq!(start.saturating_duration_since(later), Duration::ZERO);
            assert_eq!(Moment::from_nanos(later.as_nanos()), later);
        }
    }

    #[test]
    fn earliest_time_is_found_among_those_that_come() {
        let at = |nanos| Some(Moment::from_nanos(nanos));
        for (times, expected) in [
            ([None, None, None], None),
            ([None, at(5), None], at(5)),
            ([at(7), None, at(6)], at(6)),
            ([at(0), at(1), at(2)], at(0)),
        ] {
            assert_eq!(earliest(times), expected, "{times:?}");
        }
    }

    #[test]
    fn moment_after_the_end_of_the_clock_never_comes() {
        let start = now();
        let end = Moment::from_nanos(u64::MAX);
        for time in [Duration::from_nanos(u64::MAX), Duration::from_secs(u64::MAX), Duration::MAX] {
            assert_eq!(start.checked_add(time), None);
            assert_eq!(start + time, end);
        }
        assert_eq!(size_of::<Option<Moment>>(), 8);
    }
}
