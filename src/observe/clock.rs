//! Timestamps of log lines, formatted at most once a second.
//!
//! The offset from UTC is looked up once per quarter of an hour: all time zones in use change it at
//! such a time. This is less for speed than for safety: the look-up reads the `TZ` variable, and an
//! application that assigns to `os.environ` in another thread replaces the memory that is being
//! read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, FixedOffset, Local, Offset, TimeZone, Utc};

/// Time zones change their offset at multiples of this many seconds.
const QUARTER_HOUR_S: i64 = 900;

/// Formats a time, and caches the text for its second.
#[derive(Debug)]
pub(super) struct Stamp {
    /// The format, in chrono's syntax.
    format: &'static str,
    /// The Unix time of `text`, in seconds.
    second: i64,
    /// The formatted time.
    text: String,
    /// The local offset from UTC during `quarter`.
    offset: FixedOffset,
    /// The Unix time of `offset`, in quarters of an hour.
    quarter: i64,
}

impl Stamp {
    /// A stamp with an empty cache.
    pub(super) fn new(format: &'static str) -> Stamp {
        Stamp {
            format,
            second: i64::MIN,
            text: String::new(),
            offset: Utc.fix(),
            quarter: i64::MIN,
        }
    }

    /// Formats `at` in local time.
    pub(super) fn text(&mut self, at: SystemTime) -> &str {
        self.text_with(at, local_offset)
    }

    fn text_with(&mut self, at: SystemTime, offset: impl Fn(DateTime<Utc>) -> FixedOffset) -> &str {
        let second = unix_second(at);
        if second != self.second {
            let utc = DateTime::from_timestamp(second, 0).unwrap_or_default();
            let quarter = second.div_euclid(QUARTER_HOUR_S);
            if quarter != self.quarter {
                self.offset = offset(utc);
                self.quarter = quarter;
            }
            self.second = second;
            self.text = utc.with_timezone(&self.offset).format(self.format).to_string();
        }
        &self.text
    }
}

/// The milliseconds of `at` within its second.
pub(super) fn millisecond(at: SystemTime) -> u32 {
    since_epoch(at).subsec_millis()
}

fn local_offset(utc: DateTime<Utc>) -> FixedOffset {
    Local.offset_from_utc_datetime(&utc.naive_utc()).fix()
}

fn unix_second(at: SystemTime) -> i64 {
    i64::try_from(since_epoch(at).as_secs()).unwrap_or(i64::MAX)
}

/// The time since 1970; zero if the clock is set to an earlier time.
fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const FORMAT: &str = "%d/%b/%Y:%H:%M:%S %z";

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn second_is_formatted_with_its_offset() {
        let utc = |_| Utc.fix();
        let mut stamp = Stamp::new(FORMAT);
        // 24 November 2026, 04:14:34 UTC.
        let start = 1_795_493_674;
        assert_eq!(stamp.text_with(at(start), utc), "24/Nov/2026:04:14:34 +0000");
        assert_eq!(
            stamp.text_with(at(start) + Duration::from_millis(999), utc),
            "24/Nov/2026:04:14:34 +0000"
        );
        assert_eq!(stamp.text_with(at(start + 1), utc), "24/Nov/2026:04:14:35 +0000");
        // Records come in the order in which requests finish, so an earlier second may come again.
        assert_eq!(stamp.text_with(at(start), utc), "24/Nov/2026:04:14:34 +0000");
    }

    #[test]
    fn offset_is_looked_up_once_a_quarter_of_an_hour() {
        let lookups = Cell::new(0);
        let offset = |_| {
            lookups.set(lookups.get() + 1);
            FixedOffset::east_opt(lookups.get() * 3600).unwrap()
        };
        let mut stamp = Stamp::new("%H:%M:%S %z");
        assert_eq!(stamp.text_with(at(899), offset), "01:14:59 +0100");
        assert_eq!(stamp.text_with(at(0), offset), "01:00:00 +0100");
        assert_eq!(stamp.text_with(at(900), offset), "02:15:00 +0200");
        assert_eq!(lookups.get(), 2);
    }

    #[test]
    fn clock_before_1970_is_taken_for_1970() {
        let mut stamp = Stamp::new("%Y");
        let before = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(stamp.text_with(before, |_| Utc.fix()), "1970");
        assert_eq!(millisecond(before), 0);
    }

    #[test]
    fn local_time_agrees_with_chrono() {
        let now = SystemTime::now();
        let expected = DateTime::<Local>::from(now).format(FORMAT).to_string();
        assert_eq!(Stamp::new(FORMAT).text(now), expected);
    }
}
