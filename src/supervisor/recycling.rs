//! When a worker is recycled: after a number of requests, after a time, or above a memory size.
//! This bounds leaks and fragmentation, at the cost of one boot and no request.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use crate::config::Recycling;
use crate::observe::counted;

/// The limits of one worker.
#[derive(Debug)]
pub(super) struct RecyclingLimits {
    max_requests: Option<u64>,
    max_lifetime: Duration,
    max_rss_bytes: Option<u64>,
    started_at: Instant,
}

impl RecyclingLimits {
    /// The limits of a worker that begins to serve.
    pub(super) fn new(settings: &Recycling) -> RecyclingLimits {
        let limit = |value: u64| (value > 0).then_some(value);
        RecyclingLimits {
            max_requests: limit(settings.requests)
                .map(|requests| requests.saturating_add(random_up_to(settings.jitter))),
            max_lifetime: settings.lifetime,
            max_rss_bytes: limit(settings.rss),
            started_at: Instant::now(),
        }
    }

    /// The number of requests after which the worker is replaced, with its jitter.
    pub(super) fn max_requests(&self) -> Option<u64> {
        self.max_requests
    }

    /// Why the worker is to be replaced, if a limit is reached.
    pub(super) fn reached(&self, served: u64) -> Option<String> {
        if self.max_requests.is_some_and(|limit| served >= limit) {
            return Some(format!(
                "it has answered {} (--max-requests)",
                counted(served, "request")
            ));
        }
        let lifetime = self.started_at.elapsed();
        if lifetime >= self.max_lifetime {
            let seconds = lifetime.as_secs();
            return Some(format!("it has served for {seconds} s (--max-worker-lifetime)"));
        }
        let limit = self.max_rss_bytes?;
        let rss = resident_bytes()?;
        (rss >= limit).then(|| format!("it uses {} MiB of memory (--max-worker-rss)", rss >> 20))
    }
}

/// A random number from 0 to `max`.
fn random_up_to(max: u64) -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    // Workers inherit the keys of `RandomState` from the master, so the pid is hashed as well.
    hasher.write_u32(std::process::id());
    max.checked_add(1).map_or_else(|| hasher.finish(), |count| hasher.finish() % count)
}

/// The resident set size of this process, on systems that have /proc.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Recycling {
        Recycling { requests: 0, jitter: 0, lifetime: Duration::MAX, rss: 0 }
    }

    #[test]
    fn limits_of_zero_are_never_reached() {
        assert_eq!(RecyclingLimits::new(&settings()).reached(u64::MAX), None);
    }

    #[test]
    fn request_limit_with_jitter_is_reached_within_the_jitter() {
        for _ in 0..100 {
            let limits = RecyclingLimits::new(&Recycling { requests: 10, jitter: 5, ..settings() });
            assert_eq!(limits.reached(9), None);
            assert!(limits.reached(15).is_some_and(|why| why.contains("15 requests")));
        }
        assert_eq!(random_up_to(0), 0);
    }

    #[test]
    fn lifetime_and_memory_limits_name_their_option() {
        let old = RecyclingLimits::new(&Recycling { lifetime: Duration::ZERO, ..settings() });
        assert!(old.reached(0).is_some_and(|why| why.contains("--max-worker-lifetime")));
        #[cfg(target_os = "linux")]
        {
            let large = RecyclingLimits::new(&Recycling { rss: 1, ..settings() });
            assert!(large.reached(0).is_some_and(|why| why.contains("--max-worker-rss")));
            let small = RecyclingLimits::new(&Recycling { rss: u64::MAX, ..settings() });
            assert_eq!(small.reached(0), None);
        }
    }
}
