//! A transition at a time, with threads that park and a sentinel that watches.

use super::*;

/// Starts a sentinel whose polls find nothing and end when the bell rings. Returns what tells of
/// each poll that begins, and of the end.
fn sentinel(scheduler: &Arc<Scheduler<u32>>, bell: &Arc<Bell>) -> mpsc::Receiver<&'static str> {
    let (scheduler, bell, (tell, told)) = (scheduler.clone(), bell.clone(), mpsc::channel());
    thread::spawn(move || {
        scheduler.watch(&*bell, || {
            let before = bell.rung();
            tell.send("polls").ok();
            // Whoever stops the scheduler rings, too.
            bell.wait_beyond(before);
            None
        });
        tell.send("ends").ok();
    });
    told
}

/// Starts runner `me`, which polls without finding anything until it is sent elsewhere.
fn runner(scheduler: &Arc<Scheduler<u32>>, bell: &Arc<Bell>, me: usize) -> mpsc::Receiver<Role> {
    let (scheduler, bell, (tell, told)) = (scheduler.clone(), bell.clone(), mpsc::channel());
    thread::spawn(move || {
        loop {
            let before = bell.rung();
            let role = scheduler.role(me, &*bell);
            tell.send(role).ok();
            if role != Role::Poll {
                return;
            }
            if !scheduler.pressure().pressed {
                bell.wait_beyond(before);
            }
            scheduler.polled(Some(me), None, &*bell);
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

/// Stops the scheduler and waits for its sentinel to end.
fn end(scheduler: &Scheduler<u32>, bell: &Bell, sentinel: &mpsc::Receiver<&'static str>) {
    scheduler.stop();
    bell.wake();
    expect(sentinel, &"ends");
}

#[test]
fn a_leader_that_stays_away_is_replaced() {
    let (scheduler, bell) = scheduler(2);
    scheduler.role(0, &*bell);
    let other = runner(&scheduler, &bell, 1);
    let sentinel = sentinel(&scheduler, &bell);
    thread::sleep(QUIET);
    scheduler.polled(Some(0), [1], &*bell);
    // If this thread is so slow that it has been replaced already, the other one has the work.
    if scheduler.role(0, &*bell) == Role::Run {
        assert_eq!(scheduler.first(0, &*bell), Some(1));
        expect(&other, &Role::Poll);
    } else {
        expect(&other, &Role::Run);
    }
    end(&scheduler, &bell, &sentinel);
}

#[test]
fn a_parked_runner_is_called_when_jobs_wait_behind_one_that_blocks() {
    let (scheduler, bell) = scheduler(2);
    scheduler.role(0, &*bell);
    let other = runner(&scheduler, &bell, 1);
    let sentinel = sentinel(&scheduler, &bell);
    thread::sleep(QUIET);
    scheduler.polled(Some(0), [1, 2], &*bell);
    if scheduler.role(0, &*bell) == Role::Run {
        assert_eq!(scheduler.first(0, &*bell), Some(1));
        // Runner 0 never comes back.
        expect(&other, &Role::Run);
        assert_eq!(scheduler.first(1, &*bell), Some(2));
    } else {
        expect(&other, &Role::Run);
    }
    end(&scheduler, &bell, &sentinel);
}

#[test]
fn the_sentinel_polls_while_every_runner_is_busy() {
    let (scheduler, bell) = laden([1]);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    let sentinel = sentinel(&scheduler, &bell);
    expect(&sentinel, &"polls");
    // It is relieved by the first that comes back, whose own poll begins when the sentinel's ends.
    scheduler.done();
    assert_eq!(scheduler.role(0, &*bell), Role::Poll);
    assert!(bell.rung() > 0);
    scheduler.polled(Some(0), [2], &*bell);
    assert_eq!(scheduler.role(0, &*bell), Role::Run);
    assert_eq!(scheduler.first(0, &*bell), Some(2));
    expect(&sentinel, &"polls");
    end(&scheduler, &bell, &sentinel);
}

#[test]
fn what_the_sentinel_finds_is_run_by_the_next_that_is_free() {
    let (scheduler, bell) = laden([1]);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    let (tell, told) = mpsc::channel();
    let watched = scheduler.clone();
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
    scheduler.done();
    // The sentinel is relieved first; its poll ends.
    let before = bell.rung();
    assert_eq!(scheduler.role(0, &*bell), Role::Poll);
    assert!(bell.rung() > before);
    scheduler.polled(Some(0), None, &*bell);
    assert_eq!(scheduler.role(0, &*bell), Role::Run);
    assert_eq!(scheduler.first(0, &*bell), Some(2));
    assert_eq!(scheduler.another(0, &*bell), Some(3));
    scheduler.stop();
    bell.wake();
    thread.join().unwrap();
}

#[test]
fn a_response_is_not_held_up_by_a_request_that_blocks_behind_it() {
    let (scheduler, bell) = scheduler(2);
    scheduler.role(0, &*bell);
    scheduler.polled(Some(0), [1, 2], &*bell);
    assert_eq!(scheduler.role(0, &*bell), Role::Run);
    assert_eq!(scheduler.role(1, &*bell), Role::Poll);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    let watch = sentinel(&scheduler, &bell);
    thread::sleep(QUIET);
    let before = bell.rung();
    // Job 1 is answered, job 2 does not come back, and runner 1 is blocked in its poll.
    assert_eq!(scheduler.another(0, &*bell), Some(2));
    bell.wait_beyond(before);
    end(&scheduler, &bell, &watch);
}

#[test]
fn a_sentinel_that_polls_is_told_of_each_response() {
    let (scheduler, bell) = laden([1, 2]);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    let watch = sentinel(&scheduler, &bell);
    expect(&watch, &"polls");
    let before = bell.rung();
    assert_eq!(scheduler.another(0, &*bell), Some(2));
    assert!(bell.rung() > before);
    end(&scheduler, &bell, &watch);
}

#[test]
fn a_stop_reaches_the_parked_and_the_sleeping() {
    let (scheduler, bell) = scheduler(4);
    assert_eq!(scheduler.role(0, &*bell), Role::Poll);
    let others: Vec<_> = (1..4).map(|me| runner(&scheduler, &bell, me)).collect();
    let sentinel = sentinel(&scheduler, &bell);
    thread::sleep(QUIET);
    scheduler.stop();
    for other in &others {
        expect(other, &Role::Quit);
    }
    expect(&sentinel, &"ends");
}

#[test]
fn a_job_behind_one_that_blocks_is_not_forgotten_by_a_sleeping_sentinel() {
    // Now and then the sentinel is quicker than this thread, and the story is another one.
    while !the_sleeping_sentinel_wakes_up() {}
}

/// Runner 1 comes back just when the leader has handed in two jobs but has not yet asked for its
/// next role. It goes to run, so the leader polls again and blocks: somebody is on the way. If
/// the first job then blocks, only the sentinel can see that the second waits.
fn the_sleeping_sentinel_wakes_up() -> bool {
    let (scheduler, bell) = scheduler(2);
    assert_eq!(scheduler.role(0, &*bell), Role::Poll);
    let sentinel = sentinel(&scheduler, &bell);
    thread::sleep(QUIET);
    scheduler.polled(Some(0), [1, 2], &*bell);
    let as_planned =
        scheduler.role(1, &*bell) == Role::Run && scheduler.role(0, &*bell) == Role::Poll;
    if as_planned {
        assert!(!scheduler.pressure().pressed);
        let before = bell.rung();
        assert_eq!(scheduler.first(1, &*bell), Some(1));
        bell.wait_beyond(before);
        scheduler.polled(Some(0), None, &*bell);
        assert_eq!(scheduler.role(0, &*bell), Role::Run);
        assert_eq!(scheduler.first(0, &*bell), Some(2));
    }
    end(&scheduler, &bell, &sentinel);
    as_planned
}

#[test]
fn without_a_gil_all_cores_are_called() {
    let scheduler = Scheduler::new(4).running(3);
    let bell = Arc::new(Bell::default());
    // Runners 1 to 3 park while runner 0 polls.
    let scheduler = Arc::new(scheduler);
    assert_eq!(scheduler.role(0, &*bell), Role::Poll);
    let (tell, told) = mpsc::channel();
    let threads: Vec<_> = (1..4)
        .map(|me| {
            let (scheduler, bell, tell) = (scheduler.clone(), bell.clone(), tell.clone());
            thread::spawn(move || {
                while scheduler.role(me, &*bell) == Role::Run {
                    if let Some(job) = scheduler.first(me, &*bell) {
                        // It stays inside: nobody but the scheduler can have called the next.
                        tell.send(job).unwrap();
                    }
                }
            })
        })
        .collect();
    thread::sleep(QUIET);
    scheduler.polled(Some(0), [1, 2, 3, 4], &*bell);
    assert_eq!(scheduler.role(0, &*bell), Role::Run);
    assert_eq!(scheduler.first(0, &*bell), Some(1));
    // The third is called because the others are inside, which proves that they let go of something; and
    // who tells first does not follow from who was called first.
    let mut begun = [(); 3].map(|()| told.recv_timeout(LIMIT).unwrap());
    begun.sort_unstable();
    assert_eq!(begun, [2, 3, 4]);
    scheduler.stop();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
