//! Real threads, a poller that hands out numbers, an interpreter that is a mutex.
//!
//! The work comes in rounds, and a round ends when all of its jobs have run. So a wake-up that is
//! lost is not made good by the next arrival: the round never ends, and the test says so.

use super::*;

/// What running a job means. Every wait lets the interpreter go, as an application that waits does.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Short,
    /// Takes some time outside of the interpreter.
    Slow,
    /// Waits until the job of this number has run.
    After(usize),
    /// Waits until as many jobs are inside as there are runners.
    Together,
    /// Waits until the test opens the gate.
    Gate,
}

#[derive(Debug, Clone, Copy)]
struct Job {
    number: usize,
    kind: Kind,
}

/// What jobs see and change while they hold the interpreter.
#[derive(Debug, Default)]
struct World {
    /// How often each job was run to its end.
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
    runners: usize,
    /// Enqueued by whoever polls.
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
    fn open(runners: usize) -> Arc<Site> {
        let site = Arc::new(Site {
            scheduler: Scheduler::new(runners),
            runners,
            poller: Mutex::default(),
            arrivals: Mutex::default(),
            arrived: Condvar::new(),
            interpreter: Mutex::default(),
            changed: Condvar::new(),
        });
        for me in 0..=runners {
            let site = site.clone();
            thread::spawn(move || {
                if me < site.runners {
                    site.run(me);
                } else {
                    site.scheduler.watch(&*site, || site.turn());
                }
                site.interpreter.lock().unwrap().threads_ended += 1;
                site.changed.notify_all();
            });
        }
        site
    }

    /// What a poller does: blocks until there are jobs, a wake-up or the end.
    fn turn(&self) -> Vec<Job> {
        let _reactor = self.poller.lock().unwrap();
        let pressed = self.scheduler.pressure().pressed;
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

    fn run(&self, me: usize) {
        loop {
            match self.scheduler.role(me, self) {
                Role::Poll => self.scheduler.polled(Some(me), self.turn(), self),
                Role::Run => self.run_batch(me),
                Role::Quit => return,
            }
        }
    }

    fn run_batch(&self, me: usize) {
        let mut world = self.interpreter.lock().unwrap();
        let Some(mut job) = self.scheduler.first(me, self) else { return };
        world.inside += 1;
        world.most_inside = world.most_inside.max(world.inside);
        for budget in (0..4).rev() {
            world = self.serve(world, job);
            match (budget > 0).then(|| self.scheduler.another(me, self)).flatten() {
                Some(next) => job = next,
                None => break,
            }
        }
        world.inside -= 1;
        drop(world);
        self.scheduler.done();
    }

    fn serve<'a>(&'a self, mut world: MutexGuard<'a, World>, job: Job) -> MutexGuard<'a, World> {
        let wait = |world, until: &dyn Fn(&World) -> bool| {
            self.changed.wait_while(world, |world| !until(world)).unwrap()
        };
        match job.kind {
            Kind::Short => {}
            Kind::Slow => {
                drop(world);
                thread::sleep(TICK * 2);
                world = self.interpreter.lock().unwrap();
            }
            Kind::After(other) => {
                let has_run = |world: &World| world.runs.get(other).is_some_and(|&runs| runs > 0);
                world = wait(world, &has_run);
            }
            Kind::Together => {
                world.together += 1;
                self.changed.notify_all();
                world = wait(world, &|world| world.together >= self.runners);
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

    /// Numbers the jobs and lets them arrive at once. A job of the kind `After` waits for the one
    /// that is so many behind it.
    fn feed(&self, kinds: &[Kind]) {
        let mut world = self.interpreter.lock().unwrap();
        let first = world.runs.len();
        world.runs.resize(first + kinds.len(), 0);
        drop(world);
        let jobs = kinds.iter().enumerate().map(|(i, kind)| {
            let number = first + i;
            let kind = match kind {
                Kind::After(behind) => Kind::After(number + behind),
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
        let mut world = self.wait_until("a job was forgotten", |w| w.finished == w.runs.len());
        world.together = 0;
        (world.at_gate, world.gate_open) = (false, false);
    }

    fn close(&self) {
        self.arrivals.lock().unwrap().closed = true;
        self.arrived.notify_all();
        let world = self.wait_until("a thread did not go home", |world| {
            world.threads_ended == self.runners + 1
        });
        assert!(world.runs.iter().all(|&runs| runs == 1), "{:?}", world.runs);
        assert!(world.most_inside <= self.runners, "{}", world.most_inside);
        assert_eq!(world.inside, 0);
    }
}

#[test]
fn every_job_runs_once_and_nobody_is_forgotten() {
    use Kind::*;
    for runners in [1, 2, 3, 8] {
        let site = Site::open(runners);
        for round in 0..250 {
            match round % 5 {
                0 => site.feed(&[Short]),
                1 => site.feed(&[Slow, Short, Short]),
                2 if runners > 1 => site.feed(&[After(4), Short, Slow, Short, Short, Short]),
                3 if runners > 1 => {
                    // From two sides: the second batch comes while the first is on its way.
                    site.feed(&[After(2), Short]);
                    site.feed(&[Short, Slow]);
                }
                4 => site.feed(&vec![Together; runners]),
                _ => site.feed(&[Short; 9]),
            }
            site.wait_for_all();
        }
        let most = site.interpreter.lock().unwrap().most_inside;
        assert_eq!(most, runners, "not all runners were ever inside together");
        site.close();
    }
}

#[test]
fn a_runner_that_comes_back_when_jobs_arrive() {
    // One request blocks for so long that the sentinel goes to sleep. The moment it ends, two
    // others arrive, of which the first waits for the second.
    use Kind::*;
    for runners in [2, 3] {
        let site = Site::open(runners);
        for _ in 0..40 {
            site.feed(&[Gate]);
            drop(site.wait_until("the job at the gate was forgotten", |world| world.at_gate));
            thread::sleep(TICK * (DROWSY + 4));
            site.interpreter.lock().unwrap().gate_open = true;
            site.changed.notify_all();
            site.feed(&[After(1), Short]);
            site.wait_for_all();
        }
        site.close();
    }
}

#[test]
fn jobs_from_many_sides() {
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
fn a_stop_in_the_midst_of_work() {
    // Jobs that nobody took stay at the scheduler; those that were begun are finished, and all leave.
    for _ in 0..30 {
        let site = Site::open(3);
        site.feed(&[Kind::Slow, Kind::Short, Kind::Slow, Kind::Short, Kind::Short]);
        site.arrivals.lock().unwrap().closed = true;
        site.arrived.notify_all();
        let world = site.wait_until("a thread did not go home", |world| world.threads_ended == 4);
        let mut left = 0;
        while site.scheduler.another(0, &*site).is_some() {
            left += 1;
        }
        left += site.arrivals.lock().unwrap().ready.len();
        assert!(world.runs.iter().all(|&runs| runs <= 1), "{:?}", world.runs);
        assert_eq!(world.finished + left, world.runs.len());
    }
}
