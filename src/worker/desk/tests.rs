//! Threads that neither poll nor run Python put the policy to the test.
//!
//! Here each transition is tried by hand, on one thread where nothing blocks. `stress` lets real
//! threads at it. Only public functions are used, and no test depends on how long something takes:
//! where one waits, it waits for an event, and [`LIMIT`] only turns a hang into a failure.

mod stress;

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

/// A desk of jobs that are numbers, and its bell.
fn desk(runners: usize) -> (Arc<Desk<u32>>, Arc<Bell>) {
    (Arc::new(Desk::new(runners)), Arc::new(Bell::default()))
}

/// Starts a sentinel whose polls find nothing and end when the bell rings. Returns what tells of
/// each poll that begins, and of the end.
fn sentinel(desk: &Arc<Desk<u32>>, bell: &Arc<Bell>) -> mpsc::Receiver<&'static str> {
    let (desk, bell, (tell, told)) = (desk.clone(), bell.clone(), mpsc::channel());
    thread::spawn(move || {
        desk.watch(&*bell, || {
            let before = bell.rung();
            tell.send("polls").ok();
            // Whoever stops the desk rings, too.
            bell.wait_beyond(before);
            None
        });
        tell.send("ends").ok();
    });
    told
}

/// Starts runner `me`, which polls without finding anything until it is sent elsewhere.
fn runner(desk: &Arc<Desk<u32>>, bell: &Arc<Bell>, me: usize) -> mpsc::Receiver<Duty> {
    let (desk, bell, (tell, told)) = (desk.clone(), bell.clone(), mpsc::channel());
    thread::spawn(move || {
        loop {
            let before = bell.rung();
            let duty = desk.duty(me, &*bell);
            tell.send(duty).ok();
            if duty != Duty::Poll {
                return;
            }
            if !desk.pressure().pressed {
                bell.wait_beyond(before);
            }
            desk.polled(Some(me), None, &*bell);
        }
    });
    told
}

/// Waits for something among what is told.
fn expect<T: PartialEq + std::fmt::Debug>(told: &mpsc::Receiver<T>, expected: &T) {
    loop {
        match told.recv_timeout(LIMIT) {
            Ok(found) if found == *expected => return,
            Ok(_) => {}
            Err(failure) => panic!("{expected:?} never came: {failure}"),
        }
    }
}

// By hand

#[test]
fn whoever_comes_first_polls_and_goes_on_polling() {
    let (desk, bell) = desk(2);
    for _ in 0..3 {
        assert_eq!(desk.duty(1, &*bell), Duty::Poll);
        assert!(!desk.pressure().pressed);
        desk.polled(Some(1), None, &*bell);
    }
    assert_eq!(bell.rung(), 0);
}

#[test]
fn who_polled_runs_what_it_found_and_nobody_is_woken() {
    let (desk, bell) = desk(2);
    assert_eq!(desk.duty(0, &*bell), Duty::Poll);
    desk.polled(Some(0), [1, 2], &*bell);
    assert!(desk.pressure().pressed);
    assert_eq!(desk.duty(0, &*bell), Duty::Run);
    assert_eq!(desk.pressure().free, 2);
    assert_eq!(desk.first(0, &*bell), Some(1));
    assert_eq!(desk.pressure().free, 1);
    assert_eq!(desk.another(0, &*bell), Some(2));
    assert_eq!(desk.another(0, &*bell), None);
    desk.done();
    assert!(!desk.pressure().pressed);
    assert_eq!(desk.duty(0, &*bell), Duty::Poll);
    assert_eq!(bell.rung(), 0);
}

#[test]
fn jobs_are_taken_in_the_order_they_came() {
    let (desk, bell) = desk(1);
    desk.duty(0, &*bell);
    desk.polled(Some(0), [1, 2], &*bell);
    desk.polled(Some(0), [3], &*bell);
    assert_eq!(desk.duty(0, &*bell), Duty::Run);
    assert_eq!(desk.first(0, &*bell), Some(1));
    assert_eq!([desk.another(0, &*bell), desk.another(0, &*bell)], [Some(2), Some(3)]);
}

#[test]
fn work_left_over_goes_before_polling() {
    // A runner whose time with the interpreter is over comes back while jobs wait.
    let (desk, bell) = desk(1);
    desk.duty(0, &*bell);
    desk.polled(Some(0), [1, 2], &*bell);
    assert_eq!(desk.duty(0, &*bell), Duty::Run);
    assert_eq!(desk.first(0, &*bell), Some(1));
    desk.done();
    assert_eq!(desk.duty(0, &*bell), Duty::Run);
    assert_eq!(desk.first(0, &*bell), Some(2));
    desk.done();
    assert_eq!(desk.duty(0, &*bell), Duty::Poll);
}

#[test]
fn the_lead_of_one_that_is_away_is_free() {
    let (desk, bell) = desk(3);
    desk.duty(0, &*bell);
    desk.polled(Some(0), [1], &*bell);
    assert_eq!(desk.duty(0, &*bell), Duty::Run);
    assert_eq!(desk.duty(1, &*bell), Duty::Poll);
    assert_eq!(desk.first(0, &*bell), Some(1));
    desk.polled(Some(1), [2], &*bell);
    assert_eq!(desk.duty(1, &*bell), Duty::Run);
    assert_eq!(desk.duty(2, &*bell), Duty::Poll);
    assert_eq!(bell.rung(), 0);
}

#[test]
fn one_at_a_time_waits_for_the_interpreter() {
    let (desk, bell) = desk(3);
    desk.duty(0, &*bell);
    desk.polled(Some(0), [1, 2], &*bell);
    assert_eq!(desk.duty(0, &*bell), Duty::Run);
    // Two jobs wait, but so does a thread: the next one polls, and may block.
    assert_eq!(desk.duty(1, &*bell), Duty::Poll);
    assert!(!desk.pressure().pressed);
    desk.polled(Some(1), [3], &*bell);
    assert_eq!(desk.duty(1, &*bell), Duty::Poll);
    // It is inside: somebody else may wait.
    assert_eq!(desk.first(0, &*bell), Some(1));
    assert!(desk.pressure().pressed);
    desk.polled(Some(1), None, &*bell);
    assert_eq!(desk.duty(1, &*bell), Duty::Run);
    assert!(!desk.pressure().pressed);
}

#[test]
fn a_second_thread_inside_calls_a_third_for_what_is_left() {
    let (desk, bell) = desk(3);
    desk.duty(0, &*bell);
    desk.polled(Some(0), [1], &*bell);
    desk.duty(0, &*bell);
    assert_eq!(desk.first(0, &*bell), Some(1));
    assert_eq!(desk.duty(1, &*bell), Duty::Poll);
    desk.polled(Some(1), [2, 3], &*bell);
    assert_eq!(desk.duty(1, &*bell), Duty::Run);
    assert_eq!(desk.duty(2, &*bell), Duty::Poll);
    assert_eq!(bell.rung(), 0);
    // That 1 got the interpreter while 0 is inside proves that 0 blocks. The third is in its poll.
    assert_eq!(desk.first(1, &*bell), Some(2));
    assert_eq!(bell.rung(), 1);
    desk.polled(Some(2), None, &*bell);
    assert_eq!(desk.duty(2, &*bell), Duty::Run);
    // Nothing is left: nobody is called.
    assert_eq!(desk.first(2, &*bell), Some(3));
    assert_eq!(bell.rung(), 1);
}

#[test]
fn the_first_thread_inside_calls_nobody() {
    // If its jobs are short, it will have done them all before another thread is awake.
    let (desk, bell) = desk(2);
    desk.duty(0, &*bell);
    desk.polled(Some(0), [1, 2], &*bell);
    desk.duty(0, &*bell);
    assert_eq!(desk.duty(1, &*bell), Duty::Poll);
    assert_eq!(desk.first(0, &*bell), Some(1));
    assert_eq!(bell.rung(), 0);
}

#[test]
fn who_finds_the_work_gone_was_never_inside() {
    let (desk, bell) = desk(3);
    desk.duty(0, &*bell);
    desk.polled(Some(0), [1], &*bell);
    desk.duty(0, &*bell);
    assert_eq!(desk.first(0, &*bell), Some(1));
    desk.duty(1, &*bell);
    desk.polled(Some(1), [2], &*bell);
    assert_eq!(desk.duty(1, &*bell), Duty::Run);
    assert_eq!(desk.another(0, &*bell), Some(2));
    assert_eq!(desk.first(1, &*bell), None);
    desk.done();
    // Nobody is inside, and nobody waits.
    assert_eq!(desk.duty(1, &*bell), Duty::Poll);
    desk.polled(Some(1), [3, 4], &*bell);
    assert_eq!(desk.duty(1, &*bell), Duty::Run);
    assert_eq!(desk.duty(0, &*bell), Duty::Poll);
    assert_eq!(desk.first(1, &*bell), Some(3));
    assert_eq!(bell.rung(), 0, "the only thread inside has called another");
}

#[test]
fn what_a_relieved_sentinel_brings_reaches_the_new_leader_at_once() {
    // A runner has taken the lead while the sentinel was in its last poll.
    let (desk, bell) = desk(1);
    assert_eq!(desk.duty(0, &*bell), Duty::Poll);
    desk.polled(None, None, &*bell);
    assert_eq!(bell.rung(), 0);
    desk.polled(None, [1], &*bell);
    assert_eq!(bell.rung(), 1);
    assert!(desk.pressure().pressed);
    desk.polled(Some(0), None, &*bell);
    assert_eq!(desk.duty(0, &*bell), Duty::Run);
    // Now somebody is on the way.
    desk.polled(None, [2], &*bell);
    assert_eq!(bell.rung(), 1);
}

#[test]
fn after_the_stop_everybody_goes_home_and_jobs_stay() {
    let (desk, bell) = desk(2);
    desk.duty(0, &*bell);
    desk.polled(Some(0), [1, 2], &*bell);
    desk.stop();
    desk.stop();
    assert_eq!(desk.duty(0, &*bell), Duty::Quit);
    assert_eq!(desk.duty(1, &*bell), Duty::Quit);
    desk.watch(&*bell, || -> Option<u32> { panic!("polled after the stop") });
    assert_eq!(
        [desk.another(0, &*bell), desk.another(0, &*bell), desk.another(0, &*bell)],
        [Some(1), Some(2), None]
    );
    assert!(desk.pressure().pressed, "a poll that is under way would block for ever");
}

/// A desk whose only runner is about to take a job, while these wait.
fn laden(jobs: impl IntoIterator<Item = u32>) -> (Arc<Desk<u32>>, Arc<Bell>) {
    let (desk, bell) = desk(1);
    desk.duty(0, &*bell);
    desk.polled(Some(0), jobs, &*bell);
    assert_eq!(desk.duty(0, &*bell), Duty::Run);
    (desk, bell)
}

#[test]
fn what_is_withdrawn_does_not_run_and_the_others_keep_their_order() {
    let (desk, bell) = laden(1..=6);
    assert_eq!(desk.pressure().waiting, 6);
    assert_eq!(desk.withdraw(|job| job % 2 == 0), [2, 4, 6]);
    assert!(desk.withdraw(|_| false).is_empty());
    assert_eq!(desk.pressure().waiting, 3);
    assert_eq!(desk.first(0, &*bell), Some(1));
    assert_eq!([desk.another(0, &*bell), desk.another(0, &*bell)], [Some(3), Some(5)]);
}

#[test]
fn once_clients_give_up_the_newest_goes_first_until_nobody_waits() {
    let (desk, bell) = laden([1, 2, 3]);
    desk.serve_newest_first();
    assert_eq!(desk.first(0, &*bell), Some(3));
    desk.polled(None, [4], &*bell);
    let taken = [(); 3].map(|()| desk.another(0, &*bell));
    assert_eq!(taken, [Some(4), Some(2), Some(1)]);
    desk.polled(None, [5, 6], &*bell);
    assert_eq!([desk.another(0, &*bell), desk.another(0, &*bell)], [Some(5), Some(6)]);
    // Nobody waits: there is nothing to be done in another order.
    desk.serve_newest_first();
    desk.polled(None, [7, 8], &*bell);
    assert_eq!([desk.another(0, &*bell), desk.another(0, &*bell)], [Some(7), Some(8)]);
}

// With a sentinel

#[test]
fn a_leader_that_stays_away_is_replaced() {
    let (desk, bell) = desk(2);
    desk.duty(0, &*bell);
    let other = runner(&desk, &bell, 1);
    let sentinel = sentinel(&desk, &bell);
    thread::sleep(QUIET);
    desk.polled(Some(0), [1], &*bell);
    // If this thread is so slow that it has been replaced already, the other one has the work.
    if desk.duty(0, &*bell) == Duty::Run {
        assert_eq!(desk.first(0, &*bell), Some(1));
        expect(&other, &Duty::Poll);
    } else {
        expect(&other, &Duty::Run);
    }
    desk.stop();
    bell.wake();
    expect(&sentinel, &"ends");
}

#[test]
fn a_parked_runner_is_called_when_jobs_wait_behind_one_that_blocks() {
    let (desk, bell) = desk(2);
    desk.duty(0, &*bell);
    let other = runner(&desk, &bell, 1);
    let sentinel = sentinel(&desk, &bell);
    thread::sleep(QUIET);
    desk.polled(Some(0), [1, 2], &*bell);
    if desk.duty(0, &*bell) == Duty::Run {
        assert_eq!(desk.first(0, &*bell), Some(1));
        // Runner 0 never comes back.
        expect(&other, &Duty::Run);
        assert_eq!(desk.first(1, &*bell), Some(2));
    } else {
        expect(&other, &Duty::Run);
    }
    desk.stop();
    bell.wake();
    expect(&sentinel, &"ends");
}

#[test]
fn the_sentinel_polls_while_every_runner_is_busy() {
    let (desk, bell) = desk(1);
    desk.duty(0, &*bell);
    desk.polled(Some(0), [1], &*bell);
    desk.duty(0, &*bell);
    assert_eq!(desk.first(0, &*bell), Some(1));
    let sentinel = sentinel(&desk, &bell);
    expect(&sentinel, &"polls");
    // It is relieved by the first that comes back, whose own poll begins when the sentinel's ends.
    desk.done();
    assert_eq!(desk.duty(0, &*bell), Duty::Poll);
    assert!(bell.rung() > 0);
    desk.polled(Some(0), [2], &*bell);
    assert_eq!(desk.duty(0, &*bell), Duty::Run);
    assert_eq!(desk.first(0, &*bell), Some(2));
    expect(&sentinel, &"polls");
    desk.stop();
    bell.wake();
    expect(&sentinel, &"ends");
}

#[test]
fn what_the_sentinel_finds_is_run_by_the_next_that_is_free() {
    let (desk, bell) = desk(1);
    desk.duty(0, &*bell);
    desk.polled(Some(0), [1], &*bell);
    desk.duty(0, &*bell);
    assert_eq!(desk.first(0, &*bell), Some(1));
    let (tell, told) = mpsc::channel();
    let watched = desk.clone();
    let rings = bell.clone();
    let thread = thread::spawn(move || {
        let mut jobs = vec![2, 3].into_iter();
        watched.watch(&*rings, || {
            let before = rings.rung();
            let job = jobs.next();
            tell.send(job).ok();
            if job.is_none() {
                rings.wait_beyond(before);
            }
            job
        });
    });
    // The poll that finds nothing comes behind those whose jobs were handed in.
    expect(&told, &None);
    desk.done();
    // The sentinel is relieved first; its poll ends.
    let before = bell.rung();
    assert_eq!(desk.duty(0, &*bell), Duty::Poll);
    assert!(bell.rung() > before);
    desk.polled(Some(0), None, &*bell);
    assert_eq!(desk.duty(0, &*bell), Duty::Run);
    assert_eq!(desk.first(0, &*bell), Some(2));
    assert_eq!(desk.another(0, &*bell), Some(3));
    desk.stop();
    bell.wake();
    thread.join().unwrap();
}

#[test]
fn a_response_is_not_held_up_by_a_request_that_blocks_behind_it() {
    let (desk, bell) = desk(2);
    desk.duty(0, &*bell);
    desk.polled(Some(0), [1, 2], &*bell);
    assert_eq!(desk.duty(0, &*bell), Duty::Run);
    assert_eq!(desk.duty(1, &*bell), Duty::Poll);
    assert_eq!(desk.first(0, &*bell), Some(1));
    let watch = sentinel(&desk, &bell);
    thread::sleep(QUIET);
    let before = bell.rung();
    // Job 1 is answered, job 2 does not come back, and runner 1 is blocked in its poll.
    assert_eq!(desk.another(0, &*bell), Some(2));
    bell.wait_beyond(before);
    desk.stop();
    bell.wake();
    expect(&watch, &"ends");
}

#[test]
fn a_sentinel_that_polls_is_told_of_each_response() {
    let (desk, bell) = desk(1);
    desk.duty(0, &*bell);
    desk.polled(Some(0), [1, 2], &*bell);
    assert_eq!(desk.duty(0, &*bell), Duty::Run);
    assert_eq!(desk.first(0, &*bell), Some(1));
    let watch = sentinel(&desk, &bell);
    expect(&watch, &"polls");
    let before = bell.rung();
    assert_eq!(desk.another(0, &*bell), Some(2));
    assert!(bell.rung() > before);
    desk.stop();
    bell.wake();
    while watch.recv_timeout(LIMIT).unwrap() != "ends" {}
}

#[test]
fn a_stop_reaches_the_parked_and_the_sleeping() {
    let (desk, bell) = desk(4);
    assert_eq!(desk.duty(0, &*bell), Duty::Poll);
    let others: Vec<_> = (1..4).map(|me| runner(&desk, &bell, me)).collect();
    let sentinel = sentinel(&desk, &bell);
    thread::sleep(QUIET);
    desk.stop();
    for other in &others {
        expect(other, &Duty::Quit);
    }
    expect(&sentinel, &"ends");
}

#[test]
fn a_job_behind_one_that_blocks_is_not_forgotten_by_a_sleeping_sentinel() {
    // Now and then the sentinel is quicker than this thread, and the story is another one.
    while !the_sleeping_sentinel_wakes_up() {}
}

/// Runner 1 comes back just when the leader has handed in two jobs but has not yet asked for its
/// next duty. It goes to run, so the leader polls again and blocks: somebody is on the way. If
/// the first job then blocks, only the sentinel can see that the second waits.
fn the_sleeping_sentinel_wakes_up() -> bool {
    let (desk, bell) = desk(2);
    assert_eq!(desk.duty(0, &*bell), Duty::Poll);
    let sentinel = sentinel(&desk, &bell);
    thread::sleep(QUIET);
    desk.polled(Some(0), [1, 2], &*bell);
    let as_planned = desk.duty(1, &*bell) == Duty::Run && desk.duty(0, &*bell) == Duty::Poll;
    if as_planned {
        assert!(!desk.pressure().pressed);
        let before = bell.rung();
        assert_eq!(desk.first(1, &*bell), Some(1));
        bell.wait_beyond(before);
        desk.polled(Some(0), None, &*bell);
        assert_eq!(desk.duty(0, &*bell), Duty::Run);
        assert_eq!(desk.first(0, &*bell), Some(2));
    }
    desk.stop();
    bell.wake();
    while sentinel.recv_timeout(LIMIT).unwrap() != "ends" {}
    as_planned
}

#[test]
fn without_a_gil_all_cores_are_called() {
    let desk = Desk::new(4).running(3);
    let bell = Arc::new(Bell::default());
    // Runners 1 to 3 park while runner 0 polls.
    let desk = Arc::new(desk);
    assert_eq!(desk.duty(0, &*bell), Duty::Poll);
    let (tell, told) = mpsc::channel();
    let threads: Vec<_> = (1..4)
        .map(|me| {
            let (desk, bell, tell) = (desk.clone(), bell.clone(), tell.clone());
            thread::spawn(move || {
                while desk.duty(me, &*bell) == Duty::Run {
                    if let Some(job) = desk.first(me, &*bell) {
                        // It stays inside: nobody but the desk can have called the next.
                        tell.send(job).unwrap();
                    }
                }
            })
        })
        .collect();
    thread::sleep(QUIET);
    desk.polled(Some(0), [1, 2, 3, 4], &*bell);
    assert_eq!(desk.duty(0, &*bell), Duty::Run);
    assert_eq!(desk.first(0, &*bell), Some(1));
    // The third is called because the others are inside, which proves that they let go of something; and
    // who tells first does not follow from who was called first.
    let mut begun = [(); 3].map(|()| told.recv_timeout(LIMIT).unwrap());
    begun.sort_unstable();
    assert_eq!(begun, [2, 3, 4]);
    desk.stop();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
