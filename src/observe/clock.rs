//! The time of day as log lines carry it, formatted at most once a second.
//!
//! The offset from UTC is asked for once per quarter of an hour, which is where every zone in use
//! changes it. That is less for speed than for safety: asking reads the `TZ` variable, and an
//! application that assigns to `os.environ` in another thread replaces what is being read.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, FixedOffset, Local, Offset, TimeZone, Utc};

/// The zones of the world move their clocks at multiples of this many seconds.
const QUARTER_HOUR: i64 = 900;

/// One timestamp, kept until another second is asked for.
#[derive(Debug)]
pub(super) struct Stamp {
    /// A chrono format.
    format: &'static str,
    /// The second, since 1970, that `text` is of.
    second: i64,
    /// The formatted second.
    text: String,
    /// The local zone's offset in the quarter of an hour `quarter`.
    offset: FixedOffset,
    /// Which quarter of an hour, since 1970, `offset` is of.
    quarter: i64,
}

impl Stamp {
    /// A stamp that is formatted when first asked for.
    pub(super) fn new(format: &'static str) -> Stamp {
        Stamp {
            format,
            second: i64::MIN,
            text: String::new(),
            offset: Utc.fix(),
            quarter: i64::MIN,
        }
    }

    /// The local time of `at` in this stamp's format.
    pub(super) fn text(&mut self, at: SystemTime) -> &str {
        self.text_with(at, local_offset)
    }

    fn text_with(&mut self, at: SystemTime, offset: impl Fn(DateTime<Utc>) -> FixedOffset) -> &str {
        let second = unix_second(at);
        if second != self.second {
            let utc = DateTime::from_timestamp(second, 0).unwrap_or_default();
            let quarter = second.div_euclid(QUARTER_HOUR);
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

/// Milliseconds into the second of `at`.
pub(super) fn millisecond(at: SystemTime) -> u32 {
    since_epoch(at).subsec_millis()
}

fn local_offset(utc: DateTime<Utc>) -> FixedOffset {
    Local.offset_from_utc_datetime(&utc.naive_utc()).fix()
}

fn unix_second(at: SystemTime) -> i64 {
    i64::try_from(since_epoch(at).as_secs()).unwrap_or(i64::MAX)
}

/// A clock set before 1970 is taken for 1970.
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
    fn formats_each_second_with_its_offset() {
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
        // Records come in the order they finish, so a second may come back.
        assert_eq!(stamp.text_with(at(start), utc), "24/Nov/2026:04:14:34 +0000");
    }

    #[test]
    fn the_offset_is_asked_for_once_a_quarter_of_an_hour() {
        let asked = Cell::new(0);
        let offset = |_| {
            asked.set(asked.get() + 1);
            FixedOffset::east_opt(asked.get() * 3600).unwrap()
        };
        let mut stamp = Stamp::new("%H:%M:%S %z");
        assert_eq!(stamp.text_with(at(899), offset), "01:14:59 +0100");
        assert_eq!(stamp.text_with(at(0), offset), "01:00:00 +0100");
        assert_eq!(stamp.text_with(at(900), offset), "02:15:00 +0200");
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn a_clock_before_1970_does_not_panic() {
        let mut stamp = Stamp::new("%Y");
        let before = UNIX_EPOCH - Duration::from_secs(5);
        assert_eq!(stamp.text_with(before, |_| Utc.fix()), "1970");
        assert_eq!(millisecond(before), 0);
    }

    #[test]
    fn local_time_is_what_chrono_says() {
        let now = SystemTime::now();
        let expected = DateTime::<Local>::from(now).format(FORMAT).to_string();
        assert_eq!(Stamp::new(FORMAT).text(now), expected);
    }
}
