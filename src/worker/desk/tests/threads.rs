//! A transition at a time, with threads that park and a sentinel that watches.

use super::*;

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

/// Stops the desk and waits for its sentinel to end.
fn end(desk: &Desk<u32>, bell: &Bell, sentinel: &mpsc::Receiver<&'static str>) {
    desk.stop();
    bell.wake();
    expect(sentinel, &"ends");
}

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
    end(&desk, &bell, &sentinel);
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
    end(&desk, &bell, &sentinel);
}

#[test]
fn the_sentinel_polls_while_every_runner_is_busy() {
    let (desk, bell) = laden([1]);
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
    end(&desk, &bell, &sentinel);
}

#[test]
fn what_the_sentinel_finds_is_run_by_the_next_that_is_free() {
    let (desk, bell) = laden([1]);
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
    end(&desk, &bell, &watch);
}

#[test]
fn a_sentinel_that_polls_is_told_of_each_response() {
    let (desk, bell) = laden([1, 2]);
    assert_eq!(desk.first(0, &*bell), Some(1));
    let watch = sentinel(&desk, &bell);
    expect(&watch, &"polls");
    let before = bell.rung();
    assert_eq!(desk.another(0, &*bell), Some(2));
    assert!(bell.rung() > before);
    end(&desk, &bell, &watch);
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
    end(&desk, &bell, &sentinel);
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
