//! One transition at a time, with parked threads and a running sentinel.

use super::*;

/// A poll of the sentinel that finds nothing: blocks until there were more than `before` wake-up
/// calls, unless it was relieved before the poll, or the scheduler was stopped.
fn block_as_sentinel(scheduler: &Scheduler<u32>, wakes: &WakeCounter, before: u32) {
    let state = scheduler.lock();
    let is_over = state.is_stopped || state.leader != Leader::Sentinel;
    drop(state);
    if !is_over {
        wakes.wait_beyond(before);
    }
}

/// Starts a sentinel whose polls find nothing and end at the next wake-up. It reports the start of
/// each poll, and its own end.
fn sentinel(
    scheduler: &Arc<Scheduler<u32>>,
    wakes: &Arc<WakeCounter>,
) -> mpsc::Receiver<&'static str> {
    let (scheduler, wakes, (report, reports)) = (scheduler.clone(), wakes.clone(), mpsc::channel());
    thread::spawn(move || {
        scheduler.run_sentinel(&*wakes, || {
            let before = wakes.count();
            report.send("polls").ok();
            // A test that stops the scheduler makes a wake-up call, too.
            block_as_sentinel(&scheduler, &wakes, before);
            None
        });
        report.send("ends").ok();
    });
    reports
}

/// Starts worker thread `thread`, whose polls find nothing. It reports its roles and ends with the
/// first other than [`Role::Poll`].
fn polling_thread(
    scheduler: &Arc<Scheduler<u32>>,
    wakes: &Arc<WakeCounter>,
    thread: usize,
) -> mpsc::Receiver<Role> {
    let (scheduler, wakes, (report, reports)) = (scheduler.clone(), wakes.clone(), mpsc::channel());
    thread::spawn(move || {
        loop {
            let before = wakes.count();
            let role = scheduler.take_role(thread, &*wakes);
            report.send(role).ok();
            if role != Role::Poll {
                return;
            }
            if !scheduler.load().has_unclaimed_work {
                wakes.wait_beyond(before);
            }
            scheduler.finish_poll(Some(thread), None, &*wakes);
        }
    });
    reports
}

/// Waits until `expected` is reported.
fn expect<T: PartialEq + std::fmt::Debug>(reports: &mpsc::Receiver<T>, expected: &T) {
    loop {
        match reports.recv_timeout(LIMIT) {
            Ok(found) if found == *expected => return,
            Ok(_) => {}
            Err(failure) => panic!("{expected:?} was not reported: {failure}"),
        }
    }
}

/// Stops the scheduler and waits for its sentinel to end.
fn end(scheduler: &Scheduler<u32>, wakes: &WakeCounter, sentinel: &mpsc::Receiver<&'static str>) {
    scheduler.stop();
    wakes.wake();
    expect(sentinel, &"ends");
}

#[test]
fn leader_that_stays_away_is_replaced() {
    let (scheduler, wakes) = scheduler(2);
    scheduler.take_role(0, &*wakes);
    let other = polling_thread(&scheduler, &wakes, 1);
    let sentinel = sentinel(&scheduler, &wakes);
    scheduler.wait_for_parked(1);
    scheduler.wait_for_sleeping_sentinel();
    scheduler.finish_poll(Some(0), [1], &*wakes);
    // If this thread was slow and has been replaced already, the other one runs the job.
    if scheduler.take_role(0, &*wakes) == Role::Run {
        assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
        expect(&other, &Role::Poll);
    } else {
        expect(&other, &Role::Run);
    }
    end(&scheduler, &wakes, &sentinel);
}

#[test]
fn lost_polling_thread_is_replaced_by_a_parked_one() {
    let (scheduler, wakes) = scheduler(2);
    let reports = sentinel(&scheduler, &wakes);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Poll);
    let parked = polling_thread(&scheduler, &wakes, 1);
    scheduler.wait_for_parked(1);
    scheduler.wait_for_sleeping_sentinel();
    scheduler.remove_thread(Some(0));
    expect(&parked, &Role::Poll);
    end(&scheduler, &wakes, &reports);
}

#[test]
fn parked_thread_is_called_for_jobs_behind_a_blocked_one() {
    let (scheduler, wakes) = scheduler(2);
    scheduler.take_role(0, &*wakes);
    let other = polling_thread(&scheduler, &wakes, 1);
    let sentinel = sentinel(&scheduler, &wakes);
    scheduler.wait_for_parked(1);
    scheduler.wait_for_sleeping_sentinel();
    scheduler.finish_poll(Some(0), [1, 2], &*wakes);
    if scheduler.take_role(0, &*wakes) == Role::Run {
        assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
        // Thread 0 never comes back.
        expect(&other, &Role::Run);
        assert_eq!(scheduler.begin_batch(1, &*wakes), Some(2));
    } else {
        expect(&other, &Role::Run);
    }
    end(&scheduler, &wakes, &sentinel);
}

#[test]
fn sentinel_with_all_threads_in_app_polls() {
    let (scheduler, wakes) = with_queued([1]);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    let sentinel = sentinel(&scheduler, &wakes);
    expect(&sentinel, &"polls");
    // The first thread to return relieves it: its own poll begins when the sentinel's ends.
    scheduler.end_batch();
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Poll);
    assert!(wakes.count() > 0);
    scheduler.finish_poll(Some(0), [2], &*wakes);
    scheduler.take_run_role(0, &*wakes);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(2));
    expect(&sentinel, &"polls");
    end(&scheduler, &wakes, &sentinel);
}

#[test]
fn jobs_that_the_sentinel_found_are_run_by_the_next_free_thread() {
    let (scheduler, wakes) = with_queued([1]);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    let (report, reports) = mpsc::channel();
    let watched = scheduler.clone();
    let watched_wakes = wakes.clone();
    let thread = thread::spawn(move || {
        let mut jobs = vec![2, 3].into_iter();
        watched.run_sentinel(&*watched_wakes, || {
            let before = watched_wakes.count();
            let job = jobs.next();
            report.send(job).ok();
            if job.is_none() {
                block_as_sentinel(&watched, &watched_wakes, before);
            }
            job
        });
    });
    // When a poll finds nothing, the jobs of the polls before it are queued.
    expect(&reports, &None);
    scheduler.end_batch();
    // The sentinel is relieved first; its poll ends.
    let before = wakes.count();
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Poll);
    assert!(wakes.count() > before);
    scheduler.finish_poll(Some(0), None, &*wakes);
    scheduler.take_run_role(0, &*wakes);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(2));
    assert_eq!(scheduler.continue_batch(0, &*wakes), Some(3));
    scheduler.stop();
    wakes.wake();
    thread.join().unwrap();
}

#[test]
fn response_before_a_blocked_job_wakes_the_poller() {
    let (scheduler, wakes) = scheduler(2);
    scheduler.take_role(0, &*wakes);
    scheduler.finish_poll(Some(0), [1, 2], &*wakes);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Run);
    assert_eq!(scheduler.take_role(1, &*wakes), Role::Poll);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    let watch = sentinel(&scheduler, &wakes);
    // The sentinel wakes the poller for job 2.
    wakes.wait_beyond(0);
    let before = wakes.count();
    // Job 1 is answered, job 2 blocks, and thread 1 is blocked in its poll.
    assert_eq!(scheduler.continue_batch(0, &*wakes), Some(2));
    wakes.wait_beyond(before);
    end(&scheduler, &wakes, &watch);
}

#[test]
fn polling_sentinel_is_woken_for_each_response() {
    let (scheduler, wakes) = with_queued([1, 2]);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    let watch = sentinel(&scheduler, &wakes);
    expect(&watch, &"polls");
    let before = wakes.count();
    assert_eq!(scheduler.continue_batch(0, &*wakes), Some(2));
    assert!(wakes.count() > before);
    end(&scheduler, &wakes, &watch);
}

#[test]
fn stop_ends_parked_threads_and_a_sleeping_sentinel() {
    let (scheduler, wakes) = scheduler(4);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Poll);
    let others: Vec<_> = (1..4).map(|thread| polling_thread(&scheduler, &wakes, thread)).collect();
    let sentinel = sentinel(&scheduler, &wakes);
    scheduler.wait_for_parked(3);
    scheduler.wait_for_sleeping_sentinel();
    scheduler.stop();
    for other in &others {
        expect(other, &Role::Quit);
    }
    expect(&sentinel, &"ends");
}

#[test]
fn job_behind_a_blocked_one_wakes_a_sleeping_sentinel() {
    // If the sentinel is quicker than this thread, the order of steps is another one: try again.
    while !try_to_wake_a_sleeping_sentinel() {}
}

/// Thread 1 returns when the leader has queued two jobs but has not yet taken its next role. Thread
/// 1 runs the first job, so the leader polls again and blocks. If that job blocks, too, only the
/// sentinel can notice that the second is queued.
fn try_to_wake_a_sleeping_sentinel() -> bool {
    let (scheduler, wakes) = scheduler(2);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Poll);
    let sentinel = sentinel(&scheduler, &wakes);
    scheduler.wait_for_sleeping_sentinel();
    scheduler.finish_poll(Some(0), [1, 2], &*wakes);
    let as_planned = scheduler.take_role(1, &*wakes) == Role::Run
        && scheduler.take_role(0, &*wakes) == Role::Poll;
    if as_planned {
        assert!(!scheduler.load().has_unclaimed_work);
        let before = wakes.count();
        assert_eq!(scheduler.begin_batch(1, &*wakes), Some(1));
        wakes.wait_beyond(before);
        scheduler.finish_poll(Some(0), None, &*wakes);
        scheduler.take_run_role(0, &*wakes);
        assert_eq!(scheduler.begin_batch(0, &*wakes), Some(2));
    }
    end(&scheduler, &wakes, &sentinel);
    as_planned
}

#[test]
fn free_threaded_interpreter_gets_a_thread_per_core() {
    let scheduler = Scheduler::new(4).with_parallelism(3);
    let wakes = Arc::new(WakeCounter::default());
    // Threads 1 to 3 park while thread 0 polls.
    let scheduler = Arc::new(scheduler);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Poll);
    let (report, reports) = mpsc::channel();
    let threads: Vec<_> = (1..4)
        .map(|thread| {
            let (scheduler, wakes, report) = (scheduler.clone(), wakes.clone(), report.clone());
            thread::spawn(move || {
                while scheduler.take_role(thread, &*wakes) == Role::Run {
                    if let Some(job) = scheduler.begin_batch(thread, &*wakes) {
                        // It stays inside: only the scheduler can have called the next one.
                        report.send(job).unwrap();
                    }
                }
            })
        })
        .collect();
    scheduler.wait_for_parked(3);
    scheduler.finish_poll(Some(0), [1, 2, 3, 4], &*wakes);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Run);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    // The third is called because the others are inside and therefore block. Reports need not come
    // in the order of the calls.
    let mut begun = [(); 3].map(|()| reports.recv_timeout(LIMIT).unwrap());
    begun.sort_unstable();
    assert_eq!(begun, [2, 3, 4]);
    scheduler.stop();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn sentinel_that_was_relieved_before_it_polls_does_not_block() {
    // Else the relieving thread, which polls first, could use up the wake-up call.
    let (scheduler, wakes) = scheduler(1);
    scheduler.take_role(0, &*wakes);
    scheduler.finish_poll(Some(0), [1], &*wakes);
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Run);
    assert_eq!(scheduler.begin_batch(0, &*wakes), Some(1));
    let (polls, begun) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let sentinel = thread::spawn({
        let (scheduler, wakes) = (scheduler.clone(), wakes.clone());
        move || {
            let mut loads = Vec::new();
            scheduler.run_sentinel(&*wakes, || {
                loads.push(scheduler.load().is_sentinel_relieved);
                polls.send(()).unwrap();
                may_go_on.recv_timeout(LIMIT).unwrap();
                loads.push(scheduler.load().is_sentinel_relieved);
                None
            });
            loads
        }
    });
    begun.recv_timeout(LIMIT).unwrap();
    scheduler.end_batch();
    assert_eq!(scheduler.take_role(0, &*wakes), Role::Poll);
    assert_eq!(wakes.count(), 1);
    scheduler.stop();
    go_on.send(()).unwrap();
    assert_eq!(sentinel.join().unwrap(), [false, true]);
}
