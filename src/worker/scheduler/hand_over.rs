//! Takes jobs out of the queue for another process.

use super::Scheduler;

impl<J> Scheduler<J> {
    /// Removes those jobs from the queue that are `wanted`, which it asks in the order in which
    /// they would run. The others keep their places. Takes none if a thread has begun a job since
    /// there were `jobs_taken`, because it may begin the next one soon.
    pub fn take_for_others(&self, jobs_taken: u64, mut wanted: impl FnMut(&J) -> bool) -> Vec<J> {
        let mut state = self.lock();
        if state.jobs_taken != jobs_taken {
            return Vec::new();
        }
        let newest_first = state.newest_first;
        let mut taken = Vec::new();
        for _ in 0..state.queue.len() {
            let next = if newest_first { state.queue.pop_back() } else { state.queue.pop_front() };
            match next {
                Some(job) if wanted(&job) => taken.push(job),
                Some(job) if newest_first => state.queue.push_front(job),
                Some(job) => state.queue.push_back(job),
                None => break,
            }
        }
        state.newest_first &= !state.queue.is_empty();
        taken
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use crate::worker::scheduler::{Load, Role, Scheduler, Wake};

    struct NoWake;

    impl Wake for NoWake {
        fn wake(&self) {}
    }

    /// A scheduler whose only thread runs the first of these jobs.
    fn busy(jobs: std::ops::RangeInclusive<u32>) -> Scheduler<u32> {
        let scheduler = Scheduler::new(1);
        scheduler.take_role(0, &NoWake);
        scheduler.finish_poll(Some(0), jobs, &NoWake);
        assert_eq!(scheduler.take_role(0, &NoWake), Role::Run);
        assert!(scheduler.begin_batch(0, &NoWake).is_some());
        scheduler
    }

    fn left(scheduler: &Scheduler<u32>) -> Vec<u32> {
        std::iter::from_fn(|| scheduler.continue_batch(0, &NoWake)).collect()
    }

    #[test]
    fn next_jobs_go_to_others_and_the_rest_keep_their_places() {
        let scheduler = busy(1..=7);
        let mut asked = Vec::new();
        let taken = scheduler.take_for_others(1, |job| {
            asked.push(*job);
            asked.len() < 4 && job % 2 == 0
        });
        assert_eq!((taken, asked), (vec![2, 4], vec![2, 3, 4, 5, 6, 7]));
        assert_eq!(left(&scheduler), [3, 5, 6, 7]);
    }

    #[test]
    fn newest_job_goes_first_if_it_would_run_first() {
        let scheduler = busy(1..=5);
        scheduler.serve_newest_first();
        let mut places = 2;
        let taken = scheduler.take_for_others(1, |_| {
            places -= 1;
            places >= 0
        });
        assert_eq!(taken, [5, 4]);
        assert_eq!(left(&scheduler), [3, 2]);
    }

    #[test]
    fn jobs_stay_if_a_thread_has_begun_another_one() {
        let scheduler = busy(1..=4);
        let Load { jobs_taken, .. } = scheduler.load();
        assert_eq!(scheduler.continue_batch(0, &NoWake), Some(2));
        assert!(scheduler.take_for_others(jobs_taken, |_| true).is_empty());
        assert_eq!(scheduler.load().queued, 2);
    }
}
