//! Timestamps of log lines, formatted at most once a second, in the local time of the start.
//!
//! The offsets of the zone are read once, when the process starts. An application may set `TZ` for
//! itself, as Django does by `TIME_ZONE`, and the lines of its worker would change their zone in
//! the middle of a file. A look-up for each line also reads `TZ` while another thread may assign to
//! `os.environ`, which replaces the memory that is being read.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, FixedOffset, Local, Offset, TimeZone, Utc};

/// The zone of the start.
static ZONE: OnceLock<Zone> = OnceLock::new();

/// How long a server may run before its lines follow `TZ` again.
const HORIZON_S: i64 = 10 * 366 * DAY_S;
/// No zone changes its offset twice within this time.
const STEP_S: i64 = 7 * DAY_S;
const DAY_S: i64 = 24 * 60 * 60;

/// Reads the zone of the process. The zone that the first call has found stays.
pub(super) fn remember_zone() {
    zone();
}

fn zone() -> &'static Zone {
    ZONE.get_or_init(|| Zone::read(unix_second(SystemTime::now()), lookup))
}

/// The offsets of a zone.
#[derive(Debug, PartialEq, Eq)]
struct Zone {
    /// The first second that is known.
    from: i64,
    /// The first second that is not.
    until: i64,
    /// The offsets, each with the Unix time from which it holds.
    offsets: Vec<(i64, FixedOffset)>,
}

impl Zone {
    /// Reads the offsets from `now` to the horizon.
    fn read(now: i64, offset: impl Fn(i64) -> FixedOffset) -> Zone {
        // Lines of a moment before, and a clock that is set back a little.
        let from = now - STEP_S;
        let until = now.saturating_add(HORIZON_S);
        let mut offsets = vec![(from, offset(from))];
        let (mut at, mut current) = (from, offset(from));
        while at < until {
            let next = (at + STEP_S).min(until);
            if offset(next) == current {
                at = next;
                continue;
            }
            // The offset is `current` at `at`, and another one at `change`.
            let mut change = next;
            while change - at > 1 {
                let middle = at + (change - at) / 2;
                if offset(middle) == current {
                    at = middle;
                } else {
                    change = middle;
                }
            }
            (at, current) = (change, offset(change));
            offsets.push((change, current));
        }
        Zone { from, until, offsets }
    }

    /// The offset at a Unix time, if that is known.
    fn offset(&self, second: i64) -> Option<FixedOffset> {
        if !(self.from..self.until).contains(&second) {
            return None;
        }
        let after = self.offsets.partition_point(|(from, _)| *from <= second);
        self.offsets.get(after.checked_sub(1)?).map(|(_, offset)| *offset)
    }
}

/// Formats a time, and caches the text for its second.
#[derive(Debug)]
pub(super) struct Stamp {
    /// The format, in chrono's syntax.
    format: &'static str,
    /// The Unix time of `text`, in seconds.
    second: i64,
    /// The formatted time.
    text: String,
}

impl Stamp {
    /// A stamp with an empty cache.
    pub(super) fn new(format: &'static str) -> Stamp {
        Stamp { format, second: i64::MIN, text: String::new() }
    }

    /// Formats `at` in the local time of the start.
    pub(super) fn text(&mut self, at: SystemTime) -> &str {
        self.text_with(at, |second| zone().offset(second).unwrap_or_else(|| lookup(second)))
    }

    fn text_with(&mut self, at: SystemTime, offset: impl Fn(i64) -> FixedOffset) -> &str {
        let second = unix_second(at);
        if second != self.second {
            let local = utc(second).with_timezone(&offset(second));
            self.second = second;
            self.text = local.format(self.format).to_string();
        }
        &self.text
    }
}

/// The milliseconds of `at` within its second.
pub(super) fn millisecond(at: SystemTime) -> u32 {
    since_epoch(at).subsec_millis()
}

/// The offset of the local zone as it is now set.
fn lookup(second: i64) -> FixedOffset {
    Local.offset_from_utc_datetime(&utc(second).naive_utc()).fix()
}

fn utc(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).unwrap_or_default()
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

    /// An hour more in each second half of 100 days, and a week at another offset.
    fn offset(second: i64) -> FixedOffset {
        let days = second.div_euclid(DAY_S);
        let hours = if (2000..2008).contains(&days) { 5 } else { i64::from(days % 100 >= 50) };
        FixedOffset::east_opt(i32::try_from(hours * 3600).unwrap()).unwrap()
    }

    #[test]
    fn offsets_change_at_the_second() {
        let zone = Zone::read(1234 * DAY_S + 7, offset);
        assert_eq!(zone.from, 1227 * DAY_S + 7);
        for (from, _) in &zone.offsets[1..] {
            assert_eq!(zone.offset(*from), Some(offset(*from)), "{from}");
            assert_eq!(zone.offset(from - 1), Some(offset(from - 1)), "{from}");
            assert_ne!(offset(*from), offset(from - 1), "{from}");
        }
        for second in (zone.from..zone.until).step_by(40_009) {
            assert_eq!(zone.offset(second), Some(offset(second)), "{second}");
        }
        assert_eq!((zone.offset(zone.from - 1), zone.offset(zone.until)), (None, None));
    }

    #[test]
    fn zone_without_changes_has_one_offset() {
        let zone = Zone::read(0, |_| Utc.fix());
        assert_eq!(zone.offsets, [(-STEP_S, Utc.fix())]);
        assert_eq!(zone.offset(5), Some(Utc.fix()));
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
