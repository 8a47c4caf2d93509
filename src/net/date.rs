//! The time of day in the format of the Date field. [RFC 9110 section 5.6.7]

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A cached HTTP-date. One for each thread, so that it needs no lock.
#[derive(Debug)]
pub struct HttpDate {
    /// The start and the end of the second that `text` is the date of.
    second: Range<SystemTime>,
    /// The date of that second.
    text: String,
}

impl Default for HttpDate {
    fn default() -> HttpDate {
        HttpDate { second: UNIX_EPOCH..UNIX_EPOCH, text: String::new() }
    }
}

impl HttpDate {
    /// The date of `now`, such as `Tue, 24 Nov 2026 04:05:06 GMT`, formatted once a second.
    pub fn at(&mut self, now: SystemTime) -> &[u8] {
        if !self.second.contains(&now) {
            let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
            let start = UNIX_EPOCH + Duration::from_secs(since_epoch.as_secs());
            self.second = start..start + Duration::from_secs(1);
            self.text = httpdate::fmt_http_date(start);
        }
        self.text.as_bytes()
    }
}
