//! When a worker has served enough: after so many requests, so much time, or with so much memory. Leaks
//! and fragmentation are facts of life; replacing a worker costs its successor's boot and no request.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use crate::config::Recycling;

/// A worker's limits.
#[derive(Debug)]
pub(super) struct RecyclingLimits {
    requests: Option<u64>,
    lifetime: Duration,
    rss: Option<u64>,
    since: Instant,
}

impl RecyclingLimits {
    /// The limits of a worker that begins to serve.
    pub(super) fn new(settings: &Recycling) -> RecyclingLimits {
        let limit = |value: u64| (value > 0).then_some(value);
        RecyclingLimits {
            requests: limit(settings.requests)
                .map(|requests| requests.saturating_add(random(settings.jitter))),
            lifetime: settings.lifetime,
            rss: limit(settings.rss),
            since: Instant::now(),
        }
    }

    /// Why the worker should be replaced, if it should.
    pub(super) fn reason(&self, served: u64) -> Option<String> {
        if self.requests.is_some_and(|limit| served >= limit) {
            return Some(format!("it has answered {served} requests"));
        }
        if self.since.elapsed() >= self.lifetime {
            return Some(format!("it has served for {} s", self.since.elapsed().as_secs()));
        }
        let limit = self.rss?;
        let rss = resident()?;
        (rss >= limit).then(|| format!("it uses {} MiB of memory", rss >> 20))
    }
}

/// A number from 0 to `most`, different in every process.
fn random(most: u64) -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    // Siblings have inherited the same keys.
    hasher.write_u32(std::process::id());
    most.checked_add(1).map_or_else(|| hasher.finish(), |count| hasher.finish() % count)
}

/// This process's resident set in bytes, where it can be told.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Recycling {
        Recycling { requests: 0, jitter: 0, lifetime: Duration::MAX, rss: 0 }
    }

    #[test]
    fn no_limit_is_no_limit() {
        assert_eq!(RecyclingLimits::new(&settings()).reason(u64::MAX), None);
    }

    #[test]
    fn requests_with_jitter() {
        for _ in 0..100 {
            let wear = RecyclingLimits::new(&Recycling { requests: 10, jitter: 5, ..settings() });
            assert_eq!(wear.reason(9), None);
            assert!(wear.reason(15).is_some_and(|why| why.contains("15 requests")));
        }
        assert_eq!(random(0), 0);
    }

    #[test]
    fn time_and_memory() {
        let old = RecyclingLimits::new(&Recycling { lifetime: Duration::ZERO, ..settings() });
        assert!(old.reason(0).is_some_and(|why| why.contains("served for")));
        #[cfg(target_os = "linux")]
        {
            let large = RecyclingLimits::new(&Recycling { rss: 1, ..settings() });
            assert!(large.reason(0).is_some_and(|why| why.contains("MiB")));
            assert_eq!(
                RecyclingLimits::new(&Recycling { rss: u64::MAX, ..settings() }).reason(0),
                None
            );
        }
    }
}
