//! Threads that neither poll nor run Python put the policy to the test.
//!
//! Here each transition is tried by hand, on one thread where nothing blocks. In `threads` others park, and
//! the sentinel watches. `stress` lets real threads at it. Only public functions are used, and no test depends on how long something takes:
//! where one waits, it waits for an event, and [`LIMIT`] only turns a hang into a failure.

mod stress;
mod threads;

use super::*;
use std::sync::{Arc, mpsc};
use std::thread;

/// Waiting longer than this means that nobody was called.
const LIMIT: Duration = Duration::from_secs(20);

/// Long enough for a runner to park and for an idle sentinel to go to sleep. Where they have not, a
/// test proves less, but passes.
const QUIET: Duration = Duration::from_millis(60);

/// Stands for what ends a poll. It can be counted and waited for.
#[derive(Default)]
struct Bell {
    rung: Mutex<u32>,
    changed: Condvar,
}

impl Wake for Bell {
    fn wake(&self) {
        *self.rung.lock().unwrap() += 1;
        self.changed.notify_all();
    }
}

impl Bell {
    fn rung(&self) -> u32 {
        *self.rung.lock().unwrap()
    }

    /// Waits until it rang more than `before` times.
    fn wait_beyond(&self, before: u32) {
        let rung = self.rung.lock().unwrap();
        let waited = self.changed.wait_timeout_while(rung, LIMIT, |rung| *rung <= before).unwrap();
        assert!(!waited.1.timed_out(), "nobody woke the poller");
    }
}

/// A scheduler of jobs that are numbers, and its bell.
fn scheduler(runners: usize) -> (Arc<Scheduler<u32>>, Arc<Bell>) {
    (Arc::new(Scheduler::new(runners)), Arc::new(Bell::default()))
}

#[test]
fn whoever_comes_first_polls_and_goes_on_polling() {
    let (scheduler, bell) = scheduler(2);
    for _ in 0..3 {
        assert_eq!(scheduler.role(1, &*bell), Role::Poll);
        assert!(!scheduler.pressure().pressed);
        scheduler.polled(Some(1), None, &*bell);
    }
    assert_eq!(bell.rung(), 0);
}

#[test]
fn who_polled_runs_what_it_found_and_nobody_is_woken() {
    let (scheduler, bell) = scheduler(2);
    assert_eq!(scheduler.role(0, &*bell), Role::Poll);
    scheduler.polled(Some(0), [1, 2], &*bell);
    assert!(scheduler.pressure().pressed);
    assert_eq!(scheduler.role(0, &*bell), Role::Run);
    assert_eq!(scheduler.pressure().free, 2);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    assert_eq!(scheduler.pressure().free, 1);
    assert_eq!(scheduler.another(0, &*bell), Some(2));
    assert_eq!(scheduler.another(0, &*bell), None);
    scheduler.done();
    assert!(!scheduler.pressure().pressed);
    assert_eq!(scheduler.role(0, &*bell), Role::Poll);
    assert_eq!(bell.rung(), 0);
}

#[test]
fn jobs_are_taken_in_the_order_they_came() {
    let (scheduler, bell) = scheduler(1);
    scheduler.role(0, &*bell);
    scheduler.polled(Some(0), [1, 2], &*bell);
    scheduler.polled(Some(0), [3], &*bell);
    assert_eq!(scheduler.role(0, &*bell), Role::Run);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    assert_eq!([scheduler.another(0, &*bell), scheduler.another(0, &*bell)], [Some(2), Some(3)]);
}

#[test]
fn work_left_over_goes_before_polling() {
    // A runner whose time with the interpreter is over comes back while jobs wait.
    let (scheduler, bell) = scheduler(1);
    scheduler.role(0, &*bell);
    scheduler.polled(Some(0), [1, 2], &*bell);
    assert_eq!(scheduler.role(0, &*bell), Role::Run);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    scheduler.done();
    assert_eq!(scheduler.role(0, &*bell), Role::Run);
    assert_eq!(scheduler.first(0, &*bell), Some(2));
    scheduler.done();
    assert_eq!(scheduler.role(0, &*bell), Role::Poll);
}

#[test]
fn the_lead_of_one_that_is_away_is_free() {
    let (scheduler, bell) = scheduler(3);
    scheduler.role(0, &*bell);
    scheduler.polled(Some(0), [1], &*bell);
    assert_eq!(scheduler.role(0, &*bell), Role::Run);
    assert_eq!(scheduler.role(1, &*bell), Role::Poll);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    scheduler.polled(Some(1), [2], &*bell);
    assert_eq!(scheduler.role(1, &*bell), Role::Run);
    assert_eq!(scheduler.role(2, &*bell), Role::Poll);
    assert_eq!(bell.rung(), 0);
}

#[test]
fn one_at_a_time_waits_for_the_interpreter() {
    let (scheduler, bell) = scheduler(3);
    scheduler.role(0, &*bell);
    scheduler.polled(Some(0), [1, 2], &*bell);
    assert_eq!(scheduler.role(0, &*bell), Role::Run);
    // Two jobs wait, but so does a thread: the next one polls, and may block.
    assert_eq!(scheduler.role(1, &*bell), Role::Poll);
    assert!(!scheduler.pressure().pressed);
    scheduler.polled(Some(1), [3], &*bell);
    assert_eq!(scheduler.role(1, &*bell), Role::Poll);
    // It is inside: somebody else may wait.
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    assert!(scheduler.pressure().pressed);
    scheduler.polled(Some(1), None, &*bell);
    assert_eq!(scheduler.role(1, &*bell), Role::Run);
    assert!(!scheduler.pressure().pressed);
}

#[test]
fn who_is_to_run_what_waits_has_no_room_for_more() {
    let (scheduler, bell) = scheduler(2);
    scheduler.role(0, &*bell);
    assert_eq!(scheduler.room(), 2);
    scheduler.polled(Some(0), [1, 2], &*bell);
    assert_eq!(scheduler.role(0, &*bell), Role::Run);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    // The sentinel may send the second one to poll. It comes back for the job that waits.
    assert_eq!(scheduler.room(), 0);
    assert_eq!(scheduler.role(1, &*bell), Role::Run);
    assert_eq!(scheduler.first(1, &*bell), Some(2));
    scheduler.done();
    assert_eq!(scheduler.room(), 1);
}

#[test]
fn a_second_thread_inside_calls_a_third_for_what_is_left() {
    let (scheduler, bell) = scheduler(3);
    scheduler.role(0, &*bell);
    scheduler.polled(Some(0), [1], &*bell);
    scheduler.role(0, &*bell);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    assert_eq!(scheduler.role(1, &*bell), Role::Poll);
    scheduler.polled(Some(1), [2, 3], &*bell);
    assert_eq!(scheduler.role(1, &*bell), Role::Run);
    assert_eq!(scheduler.role(2, &*bell), Role::Poll);
    assert_eq!(bell.rung(), 0);
    // That 1 got the interpreter while 0 is inside proves that 0 blocks. The third is in its poll.
    assert_eq!(scheduler.first(1, &*bell), Some(2));
    assert_eq!(bell.rung(), 1);
    scheduler.polled(Some(2), None, &*bell);
    assert_eq!(scheduler.role(2, &*bell), Role::Run);
    // Nothing is left: nobody is called.
    assert_eq!(scheduler.first(2, &*bell), Some(3));
    assert_eq!(bell.rung(), 1);
}

#[test]
fn the_first_thread_inside_calls_nobody() {
    // If its jobs are short, it will have done them all before another thread is awake.
    let (scheduler, bell) = scheduler(2);
    scheduler.role(0, &*bell);
    scheduler.polled(Some(0), [1, 2], &*bell);
    scheduler.role(0, &*bell);
    assert_eq!(scheduler.role(1, &*bell), Role::Poll);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    assert_eq!(bell.rung(), 0);
}

#[test]
fn who_finds_the_work_gone_was_never_inside() {
    let (scheduler, bell) = scheduler(3);
    scheduler.role(0, &*bell);
    scheduler.polled(Some(0), [1], &*bell);
    scheduler.role(0, &*bell);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    scheduler.role(1, &*bell);
    scheduler.polled(Some(1), [2], &*bell);
    assert_eq!(scheduler.role(1, &*bell), Role::Run);
    assert_eq!(scheduler.another(0, &*bell), Some(2));
    assert_eq!(scheduler.first(1, &*bell), None);
    scheduler.done();
    // Nobody is inside, and nobody waits.
    assert_eq!(scheduler.role(1, &*bell), Role::Poll);
    scheduler.polled(Some(1), [3, 4], &*bell);
    assert_eq!(scheduler.role(1, &*bell), Role::Run);
    assert_eq!(scheduler.role(0, &*bell), Role::Poll);
    assert_eq!(scheduler.first(1, &*bell), Some(3));
    assert_eq!(bell.rung(), 0, "the only thread inside has called another");
}

#[test]
fn what_a_relieved_sentinel_brings_reaches_the_new_leader_at_once() {
    // A runner has taken the lead while the sentinel was in its last poll.
    let (scheduler, bell) = scheduler(1);
    assert_eq!(scheduler.role(0, &*bell), Role::Poll);
    scheduler.polled(None, None, &*bell);
    assert_eq!(bell.rung(), 0);
    scheduler.polled(None, [1], &*bell);
    assert_eq!(bell.rung(), 1);
    assert!(scheduler.pressure().pressed);
    scheduler.polled(Some(0), None, &*bell);
    assert_eq!(scheduler.role(0, &*bell), Role::Run);
    // Now somebody is on the way.
    scheduler.polled(None, [2], &*bell);
    assert_eq!(bell.rung(), 1);
}

#[test]
fn after_the_stop_everybody_goes_home_and_jobs_stay() {
    let (scheduler, bell) = scheduler(2);
    scheduler.role(0, &*bell);
    scheduler.polled(Some(0), [1, 2], &*bell);
    scheduler.stop();
    scheduler.stop();
    assert_eq!(scheduler.role(0, &*bell), Role::Quit);
    assert_eq!(scheduler.role(1, &*bell), Role::Quit);
    scheduler.watch(&*bell, || -> Option<u32> { panic!("polled after the stop") });
    assert_eq!(
        [scheduler.another(0, &*bell), scheduler.another(0, &*bell), scheduler.another(0, &*bell)],
        [Some(1), Some(2), None]
    );
    assert!(scheduler.pressure().pressed, "a poll that is under way would block for ever");
}

/// A scheduler whose only runner is about to take a job, while these wait.
fn laden(jobs: impl IntoIterator<Item = u32>) -> (Arc<Scheduler<u32>>, Arc<Bell>) {
    let (scheduler, bell) = scheduler(1);
    scheduler.role(0, &*bell);
    scheduler.polled(Some(0), jobs, &*bell);
    assert_eq!(scheduler.role(0, &*bell), Role::Run);
    (scheduler, bell)
}

#[test]
fn what_is_withdrawn_does_not_run_and_the_others_keep_their_order() {
    let (scheduler, bell) = laden(1..=6);
    assert_eq!(scheduler.pressure().waiting, 6);
    assert_eq!(scheduler.withdraw(|job| job % 2 == 0), [2, 4, 6]);
    assert!(scheduler.withdraw(|_| false).is_empty());
    assert_eq!(scheduler.pressure().waiting, 3);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    assert_eq!([scheduler.another(0, &*bell), scheduler.another(0, &*bell)], [Some(3), Some(5)]);
}

#[test]
fn once_clients_give_up_the_newest_goes_first_until_nobody_waits() {
    let (scheduler, bell) = laden([1, 2, 3]);
    scheduler.serve_newest_first();
    assert_eq!(scheduler.first(0, &*bell), Some(3));
    scheduler.polled(None, [4], &*bell);
    let taken = [(); 3].map(|()| scheduler.another(0, &*bell));
    assert_eq!(taken, [Some(4), Some(2), Some(1)]);
    scheduler.polled(None, [5, 6], &*bell);
    assert_eq!([scheduler.another(0, &*bell), scheduler.another(0, &*bell)], [Some(5), Some(6)]);
    // Nobody waits: there is nothing to be done in another order.
    scheduler.serve_newest_first();
    scheduler.polled(None, [7, 8], &*bell);
    assert_eq!([scheduler.another(0, &*bell), scheduler.another(0, &*bell)], [Some(7), Some(8)]);
}
