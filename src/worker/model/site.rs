//! A server under the model checker: the real dispatcher, scheduler, poller and write halves. In
//! place of Python there is a lock, which stands for the interpreter, and an application that knows
//! a few kinds of requests.

use std::collections::HashSet;
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use shuttle::rand::Rng as _;
use shuttle::thread;

use super::super::dispatch::{Dispatcher, Overdue, RunningRequests, Seat};
use super::super::scheduler::Role;
use crate::config::{self, Settings};
use crate::http1::ResponseHead;
use crate::net::{self, BindOptions, Chunk, Connection, HandOver, Local, Membership, Poller};
use crate::sync::{Condvar, Mutex, MutexGuard, kernel};
use crate::sys::clock;

/// Bytes of one block of a large response: more than a socket and a write half take at once, so
/// that the first block fills an empty write half.
const BLOCK: usize = 600 * 1024;
const BLOCKS: usize = 3;

/// Made once, on a thread with a larger stack than shuttle's.
static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Makes the settings; to be called before the first model runs.
pub(super) fn prepare() {
    SETTINGS.get_or_init(|| config::parse_api(&[]).unwrap());
}

/// What the application does; the first letter of the target selects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Answers at once. The poller sends the response when the connection is returned, or without a
    /// GIL the thread before that.
    Short,
    /// Streams blocks that may wait for the poller, and releases the interpreter after each.
    Blocks,
    /// Answers with more than the client's socket and the write half take.
    Large,
    /// Releases the interpreter until the request of this number has run.
    After(usize),
    /// The same between two blocks, of which the first must be sent meanwhile.
    Between(usize),
    /// Takes so long that the poller may answer instead.
    Overdue,
}

impl Kind {
    pub(super) fn target(self, number: usize) -> String {
        match self {
            Kind::Short => format!("/s/{number}"),
            Kind::Blocks => format!("/b/{number}"),
            Kind::Large => format!("/l/{number}"),
            Kind::After(other) => format!("/a/{number}/{other}"),
            Kind::Between(other) => format!("/m/{number}/{other}"),
            Kind::Overdue => format!("/o/{number}"),
        }
    }

    fn parse(target: &[u8]) -> (Kind, usize) {
        let text = std::str::from_utf8(target).unwrap();
        let parts: Vec<&str> = text.split('/').collect();
        let number = parts[2].parse().unwrap();
        let kind = match parts[1] {
            "s" => Kind::Short,
            "b" => Kind::Blocks,
            "l" => Kind::Large,
            "o" => Kind::Overdue,
            "a" => Kind::After(parts[3].parse().unwrap()),
            _ => Kind::Between(parts[3].parse().unwrap()),
        };
        (kind, number)
    }
}

/// The state of the application, which it changes while it holds the interpreter.
#[derive(Debug, Default)]
struct World {
    /// How often each request has run.
    runs: Vec<u32>,
    /// Addresses in memory of the connections whose request runs.
    lent: HashSet<usize>,
}

pub(super) struct Site {
    pub(super) dispatcher: Dispatcher,
    /// How many threads the interpreter runs at a time; more than 1 without a GIL.
    parallel: usize,
    interpreter: Arc<Mutex<World>>,
    overdue: Arc<OverdueRequests>,
    /// Notified when a request has run.
    changed: Arc<Condvar>,
    pub(super) address: SocketAddr,
}

impl Site {
    /// Starts the threads, which the caller joins.
    pub(super) fn open(
        worker_threads: usize,
        parallel: usize,
        requests: usize,
    ) -> (Arc<Site>, Vec<thread::JoinHandle<()>>) {
        let world = World { runs: vec![0; requests], ..World::default() };
        let interpreter = Arc::new(Mutex::new(world));
        Site::start(worker_threads, parallel, (interpreter, Arc::default()), None)
    }

    /// Two workers that hand requests over to each other, with a thread each. They take turns in
    /// the application, because a request of one may wait for a request of the other.
    pub(super) fn open_two(requests: usize) -> [(Arc<Site>, Vec<thread::JoinHandle<()>>); 2] {
        let local = Local {
            index: 0,
            name: "localhost".into(),
            port: "80".into(),
            is_https: false,
            redirect_port: None,
        };
        let hand_over = Arc::new(HandOver::new(vec![local]).unwrap());
        let world = World { runs: vec![0; requests], ..World::default() };
        let (interpreter, changed) = (Arc::new(Mutex::new(world)), Arc::<Condvar>::default());
        [(); 2].map(|()| {
            let application = (interpreter.clone(), changed.clone());
            Site::start(1, 1, application, hand_over.add_worker())
        })
    }

    fn start(
        worker_threads: usize,
        parallel: usize,
        (interpreter, changed): (Arc<Mutex<World>>, Arc<Condvar>),
        membership: Option<Membership>,
    ) -> (Arc<Site>, Vec<thread::JoinHandle<()>>) {
        let (listener, address) = listen();
        let listeners =
            net::bind(&config::Bind::Fd(listener.as_raw_fd()), BindOptions::with_backlog(16))
                .unwrap();
        let settings = SETTINGS.get().expect("prepare made them");
        let settings = Arc::new(Settings { threads: worker_threads, ..settings.clone() });
        let mut network = Poller::new(listeners, settings.clone(), None).unwrap();
        network.0.join_hand_over(membership).unwrap();
        let overdue = Arc::new(OverdueRequests::default());
        let site = Arc::new(Site {
            dispatcher: Dispatcher::new(network, parallel, &settings, Arc::default(), &overdue),
            parallel,
            interpreter,
            overdue,
            changed,
            address,
        });
        let mut threads = Vec::new();
        for me in 0..worker_threads {
            let site = site.clone();
            threads.push(thread::spawn(move || site.run(me)));
        }
        let watching = site.clone();
        threads.push(thread::spawn(move || watching.dispatcher.watch()));
        (site, threads)
    }

    /// Stops it and waits for its threads.
    pub(super) fn finish(&self, threads: Vec<thread::JoinHandle<()>>) {
        self.dispatcher.handle.stop();
        for thread in threads {
            thread.join().unwrap();
        }
    }

    /// How often each request has run.
    pub(super) fn runs(&self) -> Vec<u32> {
        self.interpreter.lock().unwrap().runs.clone()
    }

    fn run(&self, me: usize) {
        loop {
            // The thread may need the interpreter for a moment at any time.
            let wants = || shuttle::rand::thread_rng().r#gen();
            match self.dispatcher.role(me, &mut Vec::new(), wants, || false) {
                Role::Run => self.run_batch(me),
                Role::Poll => drop(self.interpreter.lock().unwrap()),
                Role::Quit => return,
            }
        }
    }

    fn run_batch(&self, me: usize) {
        let mut held = Some(self.interpreter.lock().unwrap());
        self.dispatcher.run_batch(&Seat::new(me), |connection| {
            let world = self.let_others_run(held.take().unwrap());
            let world = self.serve(world, connection);
            held = Some(self.let_others_run(world));
            // The time of the batch may be over at any moment.
            shuttle::rand::thread_rng().r#gen()
        });
    }

    /// Without a GIL, lets another thread run inside the application.
    fn let_others_run<'a>(&'a self, world: MutexGuard<'a, World>) -> MutexGuard<'a, World> {
        if self.parallel == 1 {
            return world;
        }
        drop(world);
        thread::yield_now();
        self.interpreter.lock().unwrap()
    }

    fn serve<'a>(
        &'a self,
        mut world: MutexGuard<'a, World>,
        mut connection: Box<Connection>,
    ) -> MutexGuard<'a, World> {
        let (kind, number) = Kind::parse(connection.http.head().raw_target());
        let place = std::ptr::from_ref(&*connection).addr();
        assert!(world.lent.insert(place), "two threads have the same connection");
        match kind {
            Kind::Short => begin(&mut connection, Some(2)),
            Kind::After(other) => {
                world = self.changed.wait_while(world, |world| world.runs[other] == 0).unwrap();
                begin(&mut connection, Some(2));
            }
            Kind::Between(other) => {
                begin(&mut connection, None);
                block(&mut connection, 2);
                let _ = connection.send_soon();
                kernel::changed();
                world = self.changed.wait_while(world, |world| world.runs[other] == 0).unwrap();
                block(&mut connection, 2);
            }
            Kind::Overdue => {
                world.lent.remove(&place);
                drop(world);
                self.overdue.0.lock().unwrap().push(connection);
                // Time passes, which a model does not have.
                self.dispatcher.handle.wake();
                thread::yield_now();
                let taken_back = self.overdue.take_back(place);
                world = self.interpreter.lock().unwrap();
                match taken_back {
                    Some(back) => connection = back,
                    None => {
                        world.runs[number] += 1;
                        self.changed.notify_all();
                        return world;
                    }
                }
                begin(&mut connection, Some(2));
            }
            Kind::Blocks => {
                begin(&mut connection, None);
                for _ in 0..3 {
                    block(&mut connection, 2);
                    let _ = connection.send_soon();
                    kernel::changed();
                    drop(world);
                    thread::yield_now();
                    world = self.interpreter.lock().unwrap();
                }
            }
            Kind::Large => {
                begin(&mut connection, Some((BLOCK * BLOCKS) as u64));
                drop(world);
                for _ in 0..BLOCKS {
                    if connection.write_half.is_full() && connection.make_room().is_err() {
                        break;
                    }
                    block(&mut connection, BLOCK);
                    if connection.send_now().is_err() {
                        break;
                    }
                    kernel::changed();
                }
                world = self.interpreter.lock().unwrap();
            }
        }
        if matches!(kind, Kind::Short | Kind::After(_) | Kind::Overdue) {
            block(&mut connection, 2);
        }
        if connection.queue.gather(|out| connection.http.finish(out)).is_err() {
            connection.http.abort();
        }
        world.runs[number] += 1;
        world.lent.remove(&place);
        self.changed.notify_all();
        if self.parallel > 1 {
            drop(world);
            connection.send_before_return();
            kernel::changed();
            world = self.interpreter.lock().unwrap();
        }
        self.dispatcher.handle.return_connection(connection);
        world
    }
}

/// The connections of requests that take too long. Its lock decides whether the thread or the
/// poller responds, as that of `wsgi::Response` does.
#[derive(Default)]
struct OverdueRequests(Mutex<Vec<Box<Connection>>>);

impl OverdueRequests {
    /// Takes a connection back, if the poller has not taken it.
    fn take_back(&self, place: usize) -> Option<Box<Connection>> {
        let mut connections = self.0.lock().unwrap();
        let at = connections.iter().position(|held| std::ptr::from_ref(&**held).addr() == place)?;
        Some(connections.remove(at))
    }
}

impl RunningRequests for OverdueRequests {
    fn take_overdue(&self) -> Overdue {
        let mut connections = std::mem::take(&mut *self.0.lock().unwrap());
        for connection in &mut connections {
            begin(connection, Some(2));
            block(connection, 2);
            connection.queue.gather(|out| connection.http.finish(out)).unwrap();
        }
        // Every turn checks.
        Overdue { connections, next_check: Some(clock::now()), ..Overdue::default() }
    }
}

/// A socket with an abstract name: there would be thousands of files otherwise.
fn listen() -> (UnixListener, SocketAddr) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("rustwsgi-model-{}-{number}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    (UnixListener::bind_addr(&address).unwrap(), address)
}

fn begin(connection: &mut Connection, length: Option<u64>) {
    let mut head = ResponseHead::default();
    head.start(b"200 OK").unwrap();
    let date = b"Thu, 01 Jan 1970 00:00:00 GMT";
    let Connection { http, queue, .. } = connection;
    queue.gather(|out| http.begin(&head, length, date, out));
}

fn block(connection: &mut Connection, size: usize) {
    let frame = connection.http.frame(size);
    connection.queue.gather(|out| out.extend_from_slice(frame.prefix()));
    if size < BLOCK {
        connection.queue.gather(|out| out.extend_from_slice(&b"xxxxxxxx"[..frame.take]));
    } else {
        connection.queue.push(Chunk::Shared(vec![b'x'; frame.take].into()));
    }
    connection.queue.gather(|out| out.extend_from_slice(frame.suffix));
}
