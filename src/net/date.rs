//! The time of day, as the Date field has it. [RFC 9110 section 5.6.7]

use std::time::{SystemTime, UNIX_EPOCH};

/// A cached HTTP-date. One for each thread, so that it needs no lock.
#[derive(Debug, Default)]
pub struct HttpDate {
    second: u64,
    text: String,
}

impl HttpDate {
    /// The date of `now`, such as `Tue, 24 Nov 2026 04:05:06 GMT`, formatted once a second.
    pub fn at(&mut self, now: SystemTime) -> &[u8] {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text = httpdate::fmt_http_date(now);
        }
        self.text.as_bytes()
    }
}
