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

/// The time of day to within a few milliseconds, which is read without asking the processor's counter.
#[cfg(target_os = "linux")]
pub fn wall_clock() -> SystemTime {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime writes one timespec, which `now` is.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &mut now) };
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    UNIX_EPOCH + std::time::Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// The time of day.
#[cfg(not(target_os = "linux"))]
pub fn wall_clock() -> SystemTime {
    SystemTime::now()
}
