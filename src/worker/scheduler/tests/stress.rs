//! Stress tests: concurrent threads, a poller whose jobs are numbers, a mutex for the interpreter.
//!
//! Jobs arrive in rounds, and a round ends when all of its jobs have run. So the next arrival
//! cannot hide a lost wake-up: the round never ends, and the test fails.

use super::*;

/// What a job does. A job that waits releases the interpreter, as an application does.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Short,
    /// Sleeps with the interpreter released.
    Slow,
    /// Waits until the job of this number has run.
    After(usize),
    /// Waits until every thread runs a job.
    Together,
    /// Waits until the test opens the gate.
    Gate,
}

#[derive(Debug, Clone, Copy)]
struct Job {
    number: usize,
    kind: Kind,
}

/// What jobs read and change while they hold the interpreter.
#[derive(Debug, Default)]
struct World {
    /// How often each job has run to its end.
    runs: Vec<u32>,
    finished: usize,
    inside: usize,
    most_inside: usize,
    together: usize,
    gate_open: bool,
    at_gate: bool,
    threads_ended: usize,
}

#[derive(Debug, Default)]
struct Arrivals {
    ready: VecDeque<Job>,
    woken: bool,
    closed: bool,
}

struct Site {
    scheduler: Scheduler<Job>,
    threads: usize,
    /// Held by the polling thread.
    poller: Mutex<()>,
    arrivals: Mutex<Arrivals>,
    arrived: Condvar,
    interpreter: Mutex<World>,
    changed: Condvar,
}

impl Wake for Site {
    fn wake(&self) {
        self.arrivals.lock().unwrap().woken = true;
        self.arrived.notify_all();
    }
}

impl Site {
    fn open(threads: usize) -> Arc<Site> {
        let site = Arc::new(Site {
            scheduler: Scheduler::new(threads),
            threads,
            poller: Mutex::default(),
            arrivals: Mutex::default(),
            arrived: Condvar::new(),
            interpreter: Mutex::default(),
            changed: Condvar::new(),
        });
        for thread in 0..=threads {
            let site = site.clone();
            thread::spawn(move || {
                if thread < site.threads {
                    site.run(thread);
                } else {
                    site.scheduler.run_sentinel(&*site, || site.turn(None));
                }
                site.interpreter.lock().unwrap().threads_ended += 1;
                site.changed.notify_all();
            });
        }
        site
    }

    /// One turn of the poller: blocks until there are jobs, a wake-up or the end.
    /// `worker_thread` is `None` for the sentinel.
    fn turn(&self, worker_thread: Option<usize>) -> Vec<Job> {
        let _poller = match worker_thread {
            Some(_) => self.poller.lock().unwrap(),
            // A worker thread may have become the leader, and block in its poll.
            None => match self.poller.try_lock() {
                Ok(poller) => poller,
                Err(_) => {
                    thread::sleep(SENTINEL_INTERVAL);
                    return Vec::new();
                }
            },
        };
        let load = self.scheduler.load();
        let is_relieved = worker_thread.is_none() && load.is_sentinel_relieved;
        let pressed = load.has_unclaimed_work || is_relieved;
        let mut arrivals = self.arrivals.lock().unwrap();
        while !pressed && !arrivals.woken && !arrivals.closed && arrivals.ready.is_empty() {
            arrivals = self.arrived.wait(arrivals).unwrap();
        }
        arrivals.woken = false;
        let closed = arrivals.closed;
        let jobs = arrivals.ready.drain(..).collect();
        drop(arrivals);
        if closed {
            self.scheduler.stop();
        }
        jobs
    }

    fn run(&self, thread: usize) {
        let mut role = self.scheduler.take_role(thread, self);
        loop {
            role = match role {
                Role::Poll => {
                    let jobs = self.turn(Some(thread));
                    self.scheduler.finish_poll_and_take_role(thread, jobs, self)
                }
                Role::Run => {
                    self.run_batch(thread);
                    self.scheduler.take_role(thread, self)
                }
                Role::Quit => return,
            }
        }
    }

    fn run_batch(&self, thread: usize) {
        let mut world = self.interpreter.lock().unwrap();
        let Some(mut job) = self.scheduler.begin_batch(thread, self) else { return };
        world.inside += 1;
        world.most_inside = world.most_inside.max(world.inside);
        for budget in (0..4).rev() {
            world = self.serve(world, job);
            if budget == 0 {
                break;
            }
            let Some(next) = self.scheduler.continue_or_end_batch(thread, self) else {
                world.inside -= 1;
                return;
            };
            job = next;
        }
        world.inside -= 1;
        drop(world);
        self.scheduler.end_batch();
    }

    fn serve<'a>(&'a self, mut world: MutexGuard<'a, World>, job: Job) -> MutexGuard<'a, World> {
        let wait = |world, until: &dyn Fn(&World) -> bool| {
            self.changed.wait_while(world, |world| !until(world)).unwrap()
        };
        match job.kind {
            Kind::Short => {}
            Kind::Slow => {
                drop(world);
                thread::sleep(SENTINEL_INTERVAL * 2);
                world = self.interpreter.lock().unwrap();
            }
            Kind::After(other) => {
                let has_run = |world: &World| world.runs.get(other).is_some_and(|&runs| runs > 0);
                world = wait(world, &has_run);
            }
            Kind::Together => {
                world.together += 1;
                self.changed.notify_all();
                world = wait(world, &|world| world.together >= self.threads);
            }
            Kind::Gate => {
                world.at_gate = true;
                self.changed.notify_all();
                world = wait(world, &|world| world.gate_open);
            }
        }
        world.runs[job.number] += 1;
        world.finished += 1;
        self.changed.notify_all();
        world
    }

    /// Numbers the jobs and makes them arrive together. In `kinds`, `After(n)` waits for the job
    /// that comes `n` places later.
    fn feed(&self, kinds: &[Kind]) {
        let mut world = self.interpreter.lock().unwrap();
        let first = world.runs.len();
        world.runs.resize(first + kinds.len(), 0);
        drop(world);
        let jobs = kinds.iter().enumerate().map(|(i, kind)| {
            let number = first + i;
            let kind = match kind {
                Kind::After(distance) => Kind::After(number + distance),
                kind => *kind,
            };
            Job { number, kind }
        });
        self.arrivals.lock().unwrap().ready.extend(jobs);
        self.arrived.notify_all();
    }

    /// Waits for an event.
    fn wait_until(&self, what: &str, until: impl Fn(&World) -> bool) -> MutexGuard<'_, World> {
        let world = self.interpreter.lock().unwrap();
        let (world, waited) =
            self.changed.wait_timeout_while(world, LIMIT, |world| !until(world)).unwrap();
        assert!(!waited.timed_out(), "{what}: {world:?}, {:?}", self.scheduler);
        world
    }

    fn wait_for_all(&self) {
        let mut world = self.wait_until("a job did not run", |w| w.finished == w.runs.len());
        world.together = 0;
        (world.at_gate, world.gate_open) = (false, false);
    }

    fn close(&self) {
        self.arrivals.lock().unwrap().closed = true;
        self.arrived.notify_all();
        let world = self
            .wait_until("a thread did not end", |world| world.threads_ended == self.threads + 1);
        assert!(world.runs.iter().all(|&runs| runs == 1), "{:?}", world.runs);
        assert!(world.most_inside <= self.threads, "{}", world.most_inside);
        assert_eq!(world.inside, 0);
    }
}

#[test]
fn mixed_jobs_in_rounds_each_run_once() {
    use Kind::*;
    for threads in [1, 2, 3, 8] {
        let site = Site::open(threads);
        for round in 0..250 {
            match round % 5 {
                0 => site.feed(&[Short]),
                1 => site.feed(&[Slow, Short, Short]),
                2 if threads > 1 => site.feed(&[After(4), Short, Slow, Short, Short, Short]),
                3 if threads > 1 => {
                    // The second batch arrives while the first is being taken.
                    site.feed(&[After(2), Short]);
                    site.feed(&[Short, Slow]);
                }
                4 => site.feed(&vec![Together; threads]),
                _ => site.feed(&[Short; 9]),
            }
            site.wait_for_all();
        }
        let most = site.interpreter.lock().unwrap().most_inside;
        assert_eq!(most, threads, "the threads never ran at the same time");
        site.close();
    }
}

#[test]
fn jobs_arriving_as_a_long_one_ends_are_run() {
    // One request blocks until the sentinel has gone to sleep. As it ends, two others arrive, and
    // the first of them waits for the second.
    use Kind::*;
    for threads in [2, 3] {
        let site = Site::open(threads);
        for _ in 0..40 {
            site.feed(&[Gate]);
            drop(site.wait_until("the job at the gate did not run", |world| world.at_gate));
            thread::sleep(SENTINEL_INTERVAL * (IDLE_ROUNDS_BEFORE_SLEEP + 4));
            site.interpreter.lock().unwrap().gate_open = true;
            site.changed.notify_all();
            site.feed(&[After(1), Short]);
            site.wait_for_all();
        }
        site.close();
    }
}

#[test]
fn jobs_from_concurrent_feeders_all_run() {
    let site = Site::open(4);
    let feeders: Vec<_> = (0..3)
        .map(|feeder| {
            let site = site.clone();
            thread::spawn(move || {
                for i in 0..400 {
                    let kind = if i % 40 == feeder { Kind::Slow } else { Kind::Short };
                    site.feed(&[kind]);
                    thread::yield_now();
                }
            })
        })
        .collect();
    for feeder in feeders {
        feeder.join().unwrap();
    }
    site.wait_for_all();
    site.close();
}

#[test]
fn stop_amid_jobs_ends_all_threads_and_loses_none() {
    // Jobs that no thread has taken stay queued, those that were begun are finished, and all
    // threads end.
    for _ in 0..30 {
        let site = Site::open(3);
        site.feed(&[Kind::Slow, Kind::Short, Kind::Slow, Kind::Short, Kind::Short]);
        site.arrivals.lock().unwrap().closed = true;
        site.arrived.notify_all();
        let world = site.wait_until("a thread did not end", |world| world.threads_ended == 4);
        let mut left = 0;
        while site.scheduler.continue_batch(0, &*site).is_some() {
            left += 1;
        }
        left += site.arrivals.lock().unwrap().ready.len();
        assert!(world.runs.iter().all(|&runs| runs <= 1), "{:?}", world.runs);
        assert_eq!(world.finished + left, world.runs.len());
    }
}
