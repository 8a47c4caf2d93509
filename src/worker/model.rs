//! The hand-over between threads under a model checker: the desk, the reactor, the outlets and real
//! sockets, with shuttle deciding which thread makes the next step. `make model` runs it; see
//! docs/decisions/0001-thread-roles.md for what it covers and what it does not.
//!
//! Only Python is made up, by a lock and some kinds of requests, and what `runner` does with a duty is
//! repeated here without it. A thread that blocks for good shows as a deadlock: shuttle reports it once
//! nobody can go on. So does a wake-up that is lost, as the sentinel, which would look again, goes to sleep
//! when it believes that all is well.

use std::collections::HashSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use shuttle::rand::Rng as _;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::thread;

use super::desk::{Desk, Duty, Pressure, Wake};
use crate::config::{self, Settings};
use crate::http1::ResponseHead;
use crate::net::{self, Chunk, Connection, Reactor, Remote};
use crate::sync::{Condvar, Mutex, MutexGuard, kernel};

/// Bytes of one block of a large response: more than a socket and an outlet take at once, so that an empty
/// outlet is full with the first.
const BLOCK: usize = 600 * 1024;
const BLOCKS: usize = 3;

/// Made once, where there is more stack than shuttle's threads have.
static SETTINGS: OnceLock<Arc<Settings>> = OnceLock::new();

/// What the application does; the target's first letter says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Answers at once; the response goes out when the connection has come home.
    Short,
    /// Answers by blocks that may wait for the poller, and lets the interpreter go after each.
    Blocks,
    /// Answers by more than the client's socket and the outlet take.
    Large,
    /// Lets the interpreter go until the request of this number has run.
    After(usize),
    /// The same between two blocks, of which the first must be on its way meanwhile.
    Between(usize),
}

impl Kind {
    fn target(self, number: usize) -> String {
        match self {
            Kind::Short => format!("/s/{number}"),
            Kind::Blocks => format!("/b/{number}"),
            Kind::Large => format!("/l/{number}"),
            Kind::After(other) => format!("/a/{number}/{other}"),
            Kind::Between(other) => format!("/m/{number}/{other}"),
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
            "a" => Kind::After(parts[3].parse().unwrap()),
            _ => Kind::Between(parts[3].parse().unwrap()),
        };
        (kind, number)
    }
}

/// What the application sees and changes while it holds the interpreter.
#[derive(Debug, Default)]
struct World {
    /// How often each request has run.
    runs: Vec<u32>,
    /// Connections, by where they are in memory, that a thread runs a request of.
    lent: HashSet<usize>,
    inside: usize,
}

struct Site {
    desk: Desk<Box<Connection>>,
    /// More than 1: an interpreter without a GIL.
    parallel: usize,
    reactor: Mutex<Reactor>,
    remote: Arc<Remote>,
    interpreter: Mutex<World>,
    /// Told when a request has run.
    changed: Condvar,
    address: SocketAddr,
}

struct Bell<'a>(&'a Remote);

impl Wake for Bell<'_> {
    fn wake(&self) {
        self.0.wake();
    }
}

impl Site {
    /// Starts the threads; they are to be joined.
    fn open(
        runners: usize,
        parallel: usize,
        requests: usize,
    ) -> (Arc<Site>, Vec<thread::JoinHandle<()>>) {
        let (listener, address) = listen();
        let listeners = net::bind(&config::Bind::Fd(listener.as_raw_fd()), 16, 0).unwrap();
        let settings = SETTINGS.get().expect("explore made them").clone();
        let (reactor, remote) = Reactor::new(listeners, settings, None).unwrap();
        let world = World { runs: vec![0; requests], ..World::default() };
        let site = Arc::new(Site {
            desk: Desk::new(runners).running(parallel),
            parallel,
            reactor: Mutex::new(reactor),
            remote,
            interpreter: Mutex::new(world),
            changed: Condvar::new(),
            address,
        });
        let mut threads = Vec::new();
        for me in 0..runners {
            let site = site.clone();
            threads.push(thread::spawn(move || site.run(me)));
        }
        let watching = site.clone();
        threads.push(thread::spawn(move || {
            watching.desk.watch(&watching.bell(), || watching.turn(|_| false));
        }));
        (site, threads)
    }

    fn bell(&self) -> Bell<'_> {
        Bell(&self.remote)
    }

    // As in `runner`

    fn turn(&self, hurries: impl FnOnce(&Pressure) -> bool) -> Vec<Box<Connection>> {
        let mut ready = Vec::new();
        let mut reactor = self.reactor.lock().unwrap();
        let patience = hurries(&self.desk.pressure()).then_some(Duration::ZERO);
        reactor.turn(patience, &mut ready).unwrap();
        if reactor.is_finished() {
            self.desk.stop();
        }
        drop(reactor);
        kernel::changed();
        ready
    }

    fn run(&self, me: usize) {
        loop {
            match self.desk.duty(me, &self.bell()) {
                Duty::Poll => {
                    let ready = self.turn(|pressure| pressure.pressed);
                    self.desk.polled(Some(me), ready, &self.bell());
                }
                Duty::Run => self.run_batch(me),
                Duty::Quit => return,
            }
        }
    }

    fn run_batch(&self, me: usize) {
        let mut world = self.interpreter.lock().unwrap();
        let Some(mut job) = self.desk.first(me, &self.bell()) else { return };
        world.inside += 1;
        loop {
            world = self.give_way(world);
            world = self.serve(world, job);
            world = self.give_way(world);
            // The budget may be used up at any time.
            let next = if shuttle::rand::thread_rng().r#gen() {
                self.desk.another(me, &self.bell())
            } else {
                None
            };
            match next {
                Some(next) => job = next,
                None => break,
            }
        }
        self.desk.done();
        self.remote.nudge();
        world.inside -= 1;
    }

    /// Without a GIL others are inside at the same time.
    fn give_way<'a>(&'a self, world: MutexGuard<'a, World>) -> MutexGuard<'a, World> {
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
                    if connection.outlet.is_full()
                        && connection.outlet.wait(connection.write_timeout).is_err()
                    {
                        break;
                    }
                    block(&mut connection, BLOCK);
                    if connection.outlet.send_all(&mut connection.queue).is_err() {
                        break;
                    }
                    kernel::changed();
                }
                world = self.interpreter.lock().unwrap();
            }
        }
        if matches!(kind, Kind::Short | Kind::After(_)) {
            block(&mut connection, 2);
        }
        if connection.queue.gather(|out| connection.http.finish(out)).is_err() {
            connection.http.abort();
        }
        world.runs[number] += 1;
        world.lent.remove(&place);
        self.changed.notify_all();
        self.remote.give_back(connection);
        world
    }

    // The other side

    /// A client that makes these requests one after the other, or all at once, and reads every response
    /// to its end. Returns how many were complete when the server closed, or all were there.
    fn client(&self, requests: &[(Kind, usize)], pipelined: bool) -> usize {
        let Ok(mut stream) = UnixStream::connect_addr(&self.address) else { return 0 };
        stream.set_nonblocking(true).unwrap();
        kernel::changed();
        let mut seen = Vec::new();
        let mut complete = 0;
        let size = if pipelined { requests.len() } else { 1 };
        'all: for batch in requests.chunks(size) {
            let text: String = batch
                .iter()
                .map(|(kind, n)| format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", kind.target(*n)))
                .collect();
            if stream.write_all(text.as_bytes()).is_err() {
                break;
            }
            kernel::changed();
            for _ in batch {
                if !read_response(&mut stream, &mut seen) {
                    break 'all;
                }
                complete += 1;
            }
        }
        drop(stream);
        kernel::changed();
        complete
    }

    fn finish(&self, threads: Vec<thread::JoinHandle<()>>) {
        self.remote.stop();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

/// A socket with a name that is in no file system: there would be thousands of files.
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

/// Where the first response in `seen` ends, if it is all there.
fn end_of_response(seen: &[u8]) -> Option<usize> {
    let find = |what: &[u8]| seen.windows(what.len()).position(|window| window == what);
    let content = find(b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&seen[..content]).unwrap().to_ascii_lowercase();
    match head.split_once("content-length: ") {
        Some((_, rest)) => {
            let length: usize = rest.split_once('\r')?.0.parse().unwrap();
            (seen.len() >= content + length).then_some(content + length)
        }
        None => find(b"\r\n0\r\n\r\n").map(|at| at + 7),
    }
}

/// Reads until a response is complete and takes it out of `seen`; false if the server has closed.
fn read_response(stream: &mut UnixStream, seen: &mut Vec<u8>) -> bool {
    loop {
        if let Some(end) = end_of_response(seen) {
            seen.drain(..end);
            return true;
        }
        if !read_some(stream, seen) {
            return false;
        }
    }
}

/// Waits for some bytes; false if the server has closed.
fn read_some(stream: &mut UnixStream, seen: &mut Vec<u8>) -> bool {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let before = kernel::changes();
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => {
                seen.extend_from_slice(&buffer[..count]);
                // There is room in the socket.
                kernel::changed();
                return true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => kernel::wait(before),
            Err(_) => return false,
        }
    }
}

/// Tries many orders of steps: some by chance, some with few changes of thread at places chosen by chance,
/// which finds what needs one thread to be slow for long. [Burckhardt et al., ASPLOS 2010]
fn explore(test: impl Fn() + Send + Sync + Copy + 'static) {
    let asked = std::env::var("MODEL_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let rounds = asked.unwrap_or(1_000);
    SETTINGS.get_or_init(|| Arc::new(config::parse_api(&[]).unwrap()));
    let run = |scheduler: Box<dyn Scheduler + Send>| {
        let mut config = shuttle::Config::new();
        config.stack_size = 256 * 1024;
        config.max_steps = shuttle::MaxSteps::FailAfter(100_000);
        config.silence_warnings = true;
        // A slow machine tries fewer; the whole takes less than a minute.
        config.max_time = asked.is_none().then_some(Duration::from_secs(4));
        shuttle::Runner::new(scheduler, config).run(test);
    };
    run(Box::new(RandomScheduler::new(rounds)));
    run(Box::new(PctScheduler::new(3, rounds)));
}

/// Serves these clients to the end.
fn serve_all(runners: usize, clients: &'static [&'static [(Kind, usize)]], pipelined: bool) {
    serve_all_on(1, runners, clients, pipelined);
}

fn serve_all_on(
    parallel: usize,
    runners: usize,
    clients: &'static [&'static [(Kind, usize)]],
    pipelined: bool,
) {
    let requests = clients.iter().map(|requests| requests.len()).sum();
    let (site, threads) = Site::open(runners, parallel, requests);
    let clients: Vec<_> = clients
        .iter()
        .map(|&requests| {
            let site = site.clone();
            thread::spawn(move || {
                assert_eq!(
                    site.client(requests, pipelined),
                    requests.len(),
                    "responses are missing"
                );
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    site.finish(threads);
    let world = site.interpreter.lock().unwrap();
    assert!(world.runs.iter().all(|&runs| runs == 1), "{:?}", world.runs);
    assert_eq!(world.inside, 0);
}

#[test]
fn short_requests() {
    use Kind::Short;
    explore(|| serve_all(2, &[&[(Short, 0), (Short, 1)], &[(Short, 2)]], false));
}

#[test]
fn a_single_runner() {
    use Kind::{Blocks, Short};
    explore(|| serve_all(1, &[&[(Short, 0), (Blocks, 1)], &[(Short, 2)]], false));
}

#[test]
fn requests_that_wait_for_others() {
    use Kind::{After, Short};
    explore(|| serve_all(2, &[&[(After(1), 0)], &[(Short, 1), (Short, 2)]], false));
}

#[test]
fn all_runners_blocked() {
    // The first two wait for a third, which only a third thread can run; a fourth has to be accepted,
    // and a fifth be read, by somebody who is not inside.
    use Kind::{After, Short};
    explore(|| {
        serve_all(3, &[&[(After(2), 0)], &[(After(3), 1)], &[(Short, 2), (Short, 3)]], false)
    });
}

#[test]
fn blocks_that_wait_for_the_poller() {
    use Kind::{After, Blocks};
    explore(|| serve_all(2, &[&[(Blocks, 0), (Blocks, 1)], &[(After(0), 2)]], false));
}

#[test]
fn a_block_is_on_its_way_while_the_application_waits() {
    // The second request is made by who has read the first block. Nothing else happens that could bring it
    // on its way.
    // [PEP 3333, "Buffering and Streaming"]
    use Kind::{Between, Short};
    explore(|| {
        let (site, threads) = Site::open(2, 1, 2);
        let mut stream = UnixStream::connect_addr(&site.address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let request = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", Between(1).target(0));
        stream.write_all(request.as_bytes()).unwrap();
        kernel::changed();
        let mut seen = Vec::new();
        while !seen.ends_with(b"xx\r\n") {
            assert!(read_some(&mut stream, &mut seen));
        }
        assert_eq!(site.client(&[(Short, 1)], false), 1);
        assert!(read_response(&mut stream, &mut seen));
        drop(stream);
        kernel::changed();
        site.finish(threads);
        assert_eq!(site.interpreter.lock().unwrap().runs, [1, 1]);
    });
}

#[test]
fn pipelined_requests() {
    use Kind::{Blocks, Short};
    explore(|| serve_all(2, &[&[(Short, 0), (Blocks, 1), (Short, 2)], &[(Short, 3)]], true));
}

#[test]
fn an_interpreter_without_a_gil() {
    use Kind::{After, Blocks, Short};
    explore(|| serve_all_on(2, 3, &[&[(After(1), 0)], &[(Blocks, 1), (Short, 2)]], false));
}

#[test]
fn a_response_larger_than_the_socket() {
    use Kind::{Large, Short};
    explore(|| serve_all(2, &[&[(Large, 0)], &[(Short, 1)]], false));
}

#[test]
fn a_stop_in_the_midst_of_work() {
    // Whatever was begun is answered in full, and every thread goes home.
    use Kind::{Blocks, Short};
    explore(|| {
        let (site, threads) = Site::open(2, 1, 3);
        let clients: [&'static [(Kind, usize)]; 2] = [&[(Short, 0), (Short, 1)], &[(Blocks, 2)]];
        let clients = clients.map(|requests| {
            let site = site.clone();
            thread::spawn(move || site.client(requests, false))
        });
        site.finish(threads);
        let complete: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
        let world = site.interpreter.lock().unwrap();
        assert!(world.runs.iter().all(|&runs| runs <= 1), "{:?}", world.runs);
        assert_eq!(world.runs.iter().sum::<u32>() as usize, complete, "responses are missing");
    });
}

#[test]
fn a_client_that_leaves_in_the_midst_of_a_response() {
    // Who makes the response may wait for the client to take some of it, and must hear that it is gone.
    use Kind::{Large, Short};
    explore(|| {
        let (site, threads) = Site::open(2, 1, 2);
        let leaver = {
            let site = site.clone();
            thread::spawn(move || {
                let mut stream = UnixStream::connect_addr(&site.address).unwrap();
                let request = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", Large.target(0));
                stream.write_all(request.as_bytes()).unwrap();
                kernel::changed();
                thread::yield_now();
                drop(stream);
                kernel::changed();
            })
        };
        assert_eq!(site.client(&[(Short, 1)], false), 1);
        leaver.join().unwrap();
        site.finish(threads);
        let world = site.interpreter.lock().unwrap();
        assert!(world.runs[0] <= 1 && world.runs[1] == 1, "{:?}", world.runs);
        assert_eq!(world.inside, 0);
    });
}
