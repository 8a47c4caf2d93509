//! Tests of the thread policy, with threads that neither poll sockets nor run Python.
//!
//! This file makes each transition by hand, on one thread, where nothing blocks. `threads` adds
//! parked threads and the sentinel, and `stress` runs everything concurrently. The tests change
//! the state by public functions only, and none depends on timing: a test that waits waits for an
//! event, and [`LIMIT`] only turns a hang into a failure.

#![cfg(not(shuttle))]

mod stress;
mod threads;

use super::sentinel::IDLE_ROUNDS_BEFORE_SLEEP;
use super::*;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

/// A test that waits longer than this has lost a wake-up.
const LIMIT: Duration = Duration::from_secs(20);

/// Stands for the poller's wake-up call: counts the calls, and lets a test wait for one.
#[derive(Default)]
struct WakeCounter {
    calls: Mutex<u32>,
    changed: Condvar,
}

impl Wake for WakeCounter {
    fn wake(&self) {
        *self.calls.lock().unwrap() += 1;
        self.changed.notify_all();
    }
}

impl WakeCounter {
    fn count(&self) -> u32 {
        *self.calls.lock().unwrap()
    }

    /// Waits until there were more than `before` calls.
    fn wait_beyond(&self, before: u32) {
        let calls = self.calls.lock().unwrap();
        let waited =
            self.changed.wait_timeout_while(calls, LIMIT, |calls| *calls <= before).unwrap();
        assert!(!waited.1.timed_out(), "the poller was not woken");
    }
}

/// A scheduler whose jobs are numbers, and the counter of its wake-up calls.
fn scheduler(threads: usize) -> (Arc<Scheduler<u32>>, Arc<WakeCounter>) {
    (Arc::new(Scheduler::new(threads)), Arc::new(WakeCounter::default()))
}

impl<J> Scheduler<J> {
    /// Takes another job of a batch, which does not end.
    pub(in crate::worker::scheduler) fn continue_batch(
        &self,
        thread: usize,
        wake: &impl Wake,
    ) -> Option<J> {
        self.take_next_job(&mut self.lock(), thread, wake)
    }

    /// Takes the role of running jobs. The sentinel may poll meanwhile, in place of a test that
    /// runs late: then the thread relieves it first.
    fn take_run_role(&self, thread: usize, wake: &impl Wake) {
        loop {
            match self.take_role(thread, wake) {
                Role::Run => return,
                Role::Poll => self.finish_poll(Some(thread), None, wake),
                Role::Quit => panic!("the scheduler has stopped"),
            }
        }
    }

    /// Waits until this many threads are parked.
    fn wait_for_parked(&self, threads: usize) {
        self.wait_for("parked threads", |state| state.parked.len() == threads);
    }

    /// Waits until the sentinel has nothing to watch, and sleeps.
    fn wait_for_sleeping_sentinel(&self) {
        self.wait_for("a sleeping sentinel", |state| state.is_sentinel_asleep);
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&State<J>) -> bool) {
        let began = Instant::now();
        while !is_so(&self.lock()) {
            assert!(began.elapsed() < LIMIT, "waited for {what}");
            thread::yield_now();
        }
    }
}

#[test]
fn first_thread_without_work_keeps_polling() {
    let (scheduler, wakes) = scheduler(2);
    for _ in 0..3 {
        assert_eq!(scheduler.take_role(1, &*wakes), Role::Poll);
        assert!(!scheduler.load().has_unclaimed_work);
        scheduler.finish_poll(Some(1), None, &*wakes);
    }
    assert_eq!(wakes.count(), 0);
}

#[test]
fn polling_thread_runs_its_own_jobs_without_a_wakeup() {
    let (scheduler, wakes) = scheduler(2);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Poll);
    scheduler.finish_poll(Some(0), [1, 2], &*wakes);
    assert!(scheduler.load().has_unclaimed_work);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Run);
    assert_eq!(scheduler.load().free_threads, 2);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    assert_eq!(scheduler.load().free_threads, 1);
    assert_eq!(scheduler.continue_batch(0, &*wakes), Some(2));
    assert_eq!(scheduler.continue_batch(0, &*wakes), None);
    scheduler.end_batch();
    assert!(!scheduler.load().has_unclaimed_work);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Poll);
    assert_eq!(wakes.count(), 0);
}

#[test]
fn queued_jobs_are_taken_in_arrival_order() {
    let (scheduler, wakes) = scheduler(1);
    scheduler.take_role(0, &*wakes);
    scheduler.finish_poll(Some(0), [1, 2], &*wakes);
    scheduler.finish_poll(Some(0), [3], &*wakes);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Run);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    assert_eq!(
        [scheduler.continue_batch(0, &*wakes), scheduler.continue_batch(0, &*wakes)],
        [Some(2), Some(3)]
    );
}

#[test]
fn queued_job_after_a_batch_is_run_before_polling() {
    // The thread has used up the time of its batch while a job is still queued.
    let (scheduler, wakes) = scheduler(1);
    scheduler.take_role(0, &*wakes);
    scheduler.finish_poll(Some(0), [1, 2], &*wakes);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Run);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    scheduler.end_batch();
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Run);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(2));
    scheduler.end_batch();
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Poll);
}

#[test]
fn lead_of_a_thread_that_runs_is_taken_by_the_next() {
    let (scheduler, wakes) = scheduler(3);
    scheduler.take_role(0, &*wakes);
    scheduler.finish_poll(Some(0), [1], &*wakes);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Run);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Poll);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    scheduler.finish_poll(Some(1), [2], &*wakes);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Run);
    assert_eq!(scheduler.take_role(2, &*wakes), Role::Poll);
    assert_eq!(wakes.count(), 0);
}

#[test]
fn second_thread_polls_while_one_attaches() {
    let (scheduler, wakes) = scheduler(3);
    scheduler.take_role(0, &*wakes);
    scheduler.finish_poll(Some(0), [1, 2], &*wakes);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Run);
    // Two jobs are queued, but thread 0 is about to take them: thread 1 polls, and may block.
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Poll);
    assert!(!scheduler.load().has_unclaimed_work);
    scheduler.finish_poll(Some(1), [3], &*wakes);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Poll);
    // Thread 0 is inside the application: another thread may attach.
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    assert!(scheduler.load().has_unclaimed_work);
    scheduler.finish_poll(Some(1), None, &*wakes);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Run);
    assert!(!scheduler.load().has_unclaimed_work);
}

#[test]
fn spare_threads_with_an_unclaimed_job_is_zero() {
    let (scheduler, wakes) = scheduler(2);
    scheduler.take_role(0, &*wakes);
    assert_eq!(scheduler.spare_threads(), 2);
    scheduler.finish_poll(Some(0), [1, 2], &*wakes);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Run);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    // If the sentinel makes thread 1 poll, it returns at once for the queued job.
    assert_eq!(scheduler.spare_threads(), 0);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Run);
    assert_eq!(scheduler.begin_batch(1, &*wakes), Some(2));
    scheduler.end_batch();
    assert_eq!(scheduler.spare_threads(), 1);
}

#[test]
fn second_thread_in_app_calls_a_third_for_the_rest() {
    let (scheduler, wakes) = scheduler(3);
    scheduler.take_role(0, &*wakes);
    scheduler.finish_poll(Some(0), [1], &*wakes);
    scheduler.take_role(0, &*wakes);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Poll);
    scheduler.finish_poll(Some(1), [2, 3], &*wakes);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Run);
    assert_eq!(scheduler.take_role(2, &*wakes), Role::Poll);
    assert_eq!(wakes.count(), 0);
    // Thread 1 has attached while thread 0 is inside: thread 0 blocks. Thread 2 polls.
    assert_eq!(scheduler.begin_batch(1, &*wakes), Some(2));
    assert_eq!(wakes.count(), 1);
    scheduler.finish_poll(Some(2), None, &*wakes);
    assert_eq!(scheduler.take_role(2, &*wakes), Role::Run);
    // The queue is empty: no thread is called.
    assert_eq!(scheduler.begin_batch(2, &*wakes), Some(3));
    assert_eq!(wakes.count(), 1);
}

#[test]
fn first_thread_in_app_calls_no_other() {
    // If the jobs are short, it has run them all before another thread is awake.
    let (scheduler, wakes) = scheduler(2);
    scheduler.take_role(0, &*wakes);
    scheduler.finish_poll(Some(0), [1, 2], &*wakes);
    scheduler.take_role(0, &*wakes);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Poll);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    assert_eq!(wakes.count(), 0);
}

#[test]
fn thread_that_finds_no_job_does_not_count_as_in_app() {
    let (scheduler, wakes) = scheduler(3);
    scheduler.take_role(0, &*wakes);
    scheduler.finish_poll(Some(0), [1], &*wakes);
    scheduler.take_role(0, &*wakes);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    scheduler.take_role(1, &*wakes);
    scheduler.finish_poll(Some(1), [2], &*wakes);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Run);
    assert_eq!(scheduler.continue_batch(0, &*wakes), Some(2));
    assert_eq!(scheduler.begin_batch(1, &*wakes), None);
    scheduler.end_batch();
    // No thread is inside, and the queue is empty.
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Poll);
    scheduler.finish_poll(Some(1), [3, 4], &*wakes);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Run);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Poll);
    assert_eq!(scheduler.begin_batch(1, &*wakes), Some(3));
    assert_eq!(wakes.count(), 0, "the only thread in the application has called another");
}

#[test]
fn jobs_of_a_relieved_sentinel_wake_the_new_leader() {
    // A worker thread has taken the lead during the sentinel's last poll.
    let (scheduler, wakes) = scheduler(1);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Poll);
    scheduler.finish_poll(None, None, &*wakes);
    assert_eq!(wakes.count(), 0);
    scheduler.finish_poll(None, [1], &*wakes);
    assert_eq!(wakes.count(), 1);
    assert!(scheduler.load().has_unclaimed_work);
    scheduler.finish_poll(Some(0), None, &*wakes);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Run);
    // Now thread 0 is about to take the jobs.
    scheduler.finish_poll(None, [2], &*wakes);
    assert_eq!(wakes.count(), 1);
}

#[test]
fn lost_leader_leaves_polling_to_others_and_counts_as_busy() {
    let (scheduler, wakes) = scheduler(2);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Poll);
    scheduler.remove_thread(Some(0));
    assert_eq!(scheduler.load().free_threads, 1);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Poll);
    scheduler.finish_poll(Some(1), [1], &*wakes);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Run);
    assert_eq!(scheduler.begin_batch(1, &*wakes), Some(1));
    assert_eq!(scheduler.load().free_threads, 0);
    scheduler.end_batch();
    // The sentinel starts again, so it does not count.
    scheduler.remove_thread(None);
    assert_eq!(scheduler.load().free_threads, 1);
}

#[test]
fn jobs_of_a_lost_thread_that_was_about_to_attach_are_run() {
    let (scheduler, wakes) = scheduler(2);
    scheduler.take_role(0, &*wakes);
    scheduler.finish_poll(Some(0), [1], &*wakes);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Run);
    assert!(!scheduler.load().has_unclaimed_work);
    scheduler.remove_thread(Some(0));
    assert!(scheduler.load().has_unclaimed_work);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Run);
    assert_eq!(scheduler.begin_batch(1, &*wakes), Some(1));
}

#[test]
fn threads_after_stop_quit_and_jobs_stay_queued() {
    let (scheduler, wakes) = scheduler(2);
    scheduler.take_role(0, &*wakes);
    scheduler.finish_poll(Some(0), [1, 2], &*wakes);
    scheduler.stop();
    scheduler.stop();
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Quit);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Quit);
    scheduler.run_sentinel(&*wakes, || -> Option<u32> { panic!("polled after stop()") });
    assert_eq!(
        [
            scheduler.continue_batch(0, &*wakes),
            scheduler.continue_batch(0, &*wakes),
            scheduler.continue_batch(0, &*wakes)
        ],
        [Some(1), Some(2), None]
    );
    assert!(scheduler.load().has_unclaimed_work, "a poll in progress would block for ever");
}

/// A scheduler with these jobs in its queue, whose only thread is about to take the first.
fn with_queued(jobs: impl IntoIterator<Item = u32>) -> (Arc<Scheduler<u32>>, Arc<WakeCounter>) {
    let (scheduler, wakes) = scheduler(1);
    scheduler.take_role(0, &*wakes);
    scheduler.finish_poll(Some(0), jobs, &*wakes);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Run);
    (scheduler, wakes)
}

#[test]
fn withdrawn_jobs_do_not_run_and_others_keep_their_order() {
    let (scheduler, wakes) = with_queued(1..=6);
    assert_eq!(scheduler.load().queued, 6);
    assert_eq!(scheduler.withdraw(|job| job % 2 == 0), [2, 4, 6]);
    assert!(scheduler.withdraw(|_| false).is_empty());
    assert_eq!(scheduler.load().queued, 3);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    assert_eq!(
        [scheduler.continue_batch(0, &*wakes), scheduler.continue_batch(0, &*wakes)],
        [Some(3), Some(5)]
    );
}

#[test]
fn newest_first_ends_when_the_queue_is_empty() {
    let (scheduler, wakes) = with_queued([1, 2, 3]);
    scheduler.serve_newest_first();
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(3));
    scheduler.finish_poll(None, [4], &*wakes);
    let taken = [(); 3].map(|()| scheduler.continue_batch(0, &*wakes));
    assert_eq!(taken, [Some(4), Some(2), Some(1)]);
    scheduler.finish_poll(None, [5, 6], &*wakes);
    assert_eq!(
        [scheduler.continue_batch(0, &*wakes), scheduler.continue_batch(0, &*wakes)],
        [Some(5), Some(6)]
    );
    // On an empty queue the call has no effect.
    scheduler.serve_newest_first();
    scheduler.finish_poll(None, [7, 8], &*wakes);
    assert_eq!(
        [scheduler.continue_batch(0, &*wakes), scheduler.continue_batch(0, &*wakes)],
        [Some(7), Some(8)]
    );
}

#[test]
fn short_jobs_of_a_parallel_interpreter_call_no_further_thread() {
    for (job_us, is_called) in [(1000, true), (1, false)] {
        let (scheduler, wakes) = (Scheduler::new(2).with_parallelism(2), WakeCounter::default());
        (0..40).for_each(|_| scheduler.count_batch(1, Duration::from_micros(job_us)));
        assert_eq!(scheduler.take_role(0, &wakes), Role::Poll);
        scheduler.finish_poll(None, [1, 2, 3], &wakes);
        let before = wakes.count();
        assert_eq!(scheduler.begin_batch(1, &wakes), Some(1));
        assert_eq!(wakes.count() > before, is_called, "{job_us} us");
    }
}
