//! The policy for a free-threaded interpreter, which runs several threads at a time.
//!
//! With a GIL, a thread that gets it knows that the others wait for something, so more threads can
//! run. Without one, a thread attaches at once and knows nothing of the others. So the scheduler
//! compares costs: to wake a thread pays if the queued jobs take longer than the wake-up. Jobs that
//! wait, or compute for long, get all threads, and the kernel divides the cores; short jobs are run
//! by the threads that are awake. If these block after all, the sentinel wakes another one.

use std::time::Duration;

use super::Scheduler;
use crate::sync::{AtomicUsize, Ordering};

/// A thread is woken for queued jobs that take at least this long. The wake-up costs two threads
/// about 10 us each, and the woken one begins about 50 us later.
const WORTH_A_THREAD: Duration = Duration::from_micros(50);

/// The mean counts a job as at most this long, so that it falls soon after a few long ones.
const MAX_JOB: Duration = Duration::from_millis(1);

/// A moving average of how long a job takes.
#[derive(Debug)]
pub(super) struct JobTime {
    mean_nanos: AtomicUsize,
}

impl Default for JobTime {
    /// Jobs count as long until the first have ended.
    fn default() -> JobTime {
        JobTime { mean_nanos: AtomicUsize::new(MAX_JOB.as_nanos() as usize) }
    }
}

impl JobTime {
    /// Counts a batch of `jobs` that took `elapsed`. Two threads may count at the same time: then
    /// one of the two is lost, which does not matter.
    fn count(&self, jobs: usize, elapsed: Duration) {
        let nanos = (elapsed / jobs.clamp(1, 1 << 20) as u32).min(MAX_JOB).as_nanos() as usize;
        let mean = self.mean_nanos.load(Ordering::Relaxed);
        self.mean_nanos.store((3 * mean + nanos) / 4, Ordering::Relaxed);
    }

    /// True if this many queued jobs take so long that another thread should run some of them.
    pub(super) fn is_worth_a_thread(&self, queued: usize) -> bool {
        let nanos = queued.saturating_mul(self.mean_nanos.load(Ordering::Relaxed));
        nanos >= WORTH_A_THREAD.as_nanos() as usize
    }
}

impl<J> Scheduler<J> {
    /// True if the interpreter runs several threads at a time.
    pub fn is_parallel(&self) -> bool {
        self.parallelism > 1
    }

    /// Records that a thread of a free-threaded interpreter has run `jobs` in `elapsed`.
    pub fn count_batch(&self, jobs: usize, elapsed: Duration) {
        self.job_time.count(jobs, elapsed);
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use super::*;

    #[test]
    fn another_thread_is_worth_its_wake_up_for_long_or_many_jobs() {
        let job_time = JobTime::default();
        assert!(job_time.is_worth_a_thread(1), "jobs count as long at first");
        let count = |jobs, micros| {
            (0..40).for_each(|_| job_time.count(jobs, Duration::from_micros(micros)));
        };
        count(10, 30);
        assert!(!job_time.is_worth_a_thread(16));
        assert!(job_time.is_worth_a_thread(20));
        count(1, 60_000_000);
        assert!(job_time.is_worth_a_thread(1) && job_time.is_worth_a_thread(usize::MAX));
    }
}
