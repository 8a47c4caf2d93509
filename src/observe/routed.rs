//! Lines on their way through Python's loggers (`--log-python`).
//!
//! A thread that logs a line may hold the interpreter, wait for it, or be without it, and handlers
//! of the application can do anything. So no line of the server takes the interpreter: it is
//! queued, and a thread of Python, the router, passes it to its logger. The queue is bounded. A
//! line that does not fit is written to the log as without Python, and so are lines of the router
//! itself, of forked processes, and those that are left at the end, apart from lines of the access
//! log, which are lost then, and counted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, Once};
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::entry::Entry;
use crate::sync::ignore_poison;
use crate::sys::at_fork;

/// Lines that wait for the router at most.
const MAX_LINES: usize = 1000;
/// Bytes of their messages and tracebacks at most.
const MAX_BYTES: usize = 1024 * 1024;

/// A line for a logger.
#[derive(Debug, Clone)]
pub struct Routed {
    /// Whether it belongs to the access log.
    pub is_access: bool,
    /// The name of its level.
    pub level: String,
    /// The process that it is about.
    pub pid: u32,
    /// Its event id.
    pub event: Option<String>,
    /// The message.
    pub message: String,
    /// The traceback, without the message.
    pub traceback: Option<String>,
    /// The id of the request that it is about.
    pub request_id: Option<String>,
    /// Seconds since 1970.
    pub time: f64,
}

impl Routed {
    fn bytes(&self) -> usize {
        self.message.len() + self.traceback.as_deref().unwrap_or_default().len()
    }
}

#[derive(Debug)]
struct Queue {
    lines: VecDeque<Routed>,
    bytes: usize,
    /// The router has taken a line that it has not passed on yet.
    is_busy: bool,
    /// The router is to end.
    has_ended: bool,
}

static QUEUE: Mutex<Queue> =
    Mutex::new(Queue { lines: VecDeque::new(), bytes: 0, is_busy: false, has_ended: true });
static CHANGED: Condvar = Condvar::new();
/// Held by a test that uses the log of the process.
#[cfg(test)]
pub(super) static LOG_OF_TESTS: Mutex<()> = Mutex::new(());
/// Whether there is a router in this process. Read without a lock for each line.
static IS_ON: AtomicBool = AtomicBool::new(false);

thread_local! {
    static IS_ROUTER: Cell<bool> = const { Cell::new(false) };
    /// What the thread that forks holds meanwhile.
    static HELD: RefCell<Option<MutexGuard<'static, Queue>>> = const { RefCell::new(None) };
}

fn lock() -> MutexGuard<'static, Queue> {
    ignore_poison(QUEUE.lock())
}

/// Queues lines from now on, for a router that is about to call [`take_routed`]. Returns false if
/// there is one.
pub fn begin_routing() -> bool {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| at_fork::register(hold, release, reset));
    let mut queue = lock();
    let is_first = std::mem::take(&mut queue.has_ended);
    IS_ON.store(true, Ordering::Relaxed);
    is_first
}

/// For the router: waits for a line, and takes it. `None` when it is to end. The line that it took
/// before counts as passed on. One at a time: those behind a handler that does not return are not
/// lost with it.
pub fn take_routed() -> Option<Routed> {
    IS_ROUTER.set(true);
    let mut queue = lock();
    queue.is_busy = false;
    CHANGED.notify_all();
    loop {
        if let Some(line) = queue.lines.pop_front() {
            queue.is_busy = true;
            queue.bytes -= line.bytes();
            return Some(line);
        }
        if queue.has_ended {
            return None;
        }
        queue = ignore_poison(CHANGED.wait(queue));
    }
}

/// Ends the router: gives it some time to pass on what is queued. The caller does not hold the
/// interpreter. Returns the lines that are left.
pub(super) fn end_within(limit: Duration) -> Vec<Routed> {
    if !IS_ON.load(Ordering::Relaxed) {
        return Vec::new();
    }
    let end = Instant::now() + limit;
    let mut queue = lock();
    while (queue.is_busy || !queue.lines.is_empty())
        && let Some(left) = end.checked_duration_since(Instant::now())
    {
        queue = ignore_poison(CHANGED.wait_timeout(queue, left)).0;
    }
    drop(queue);
    self::end()
}

/// Ends the router at once. Returns the lines that it has not taken.
pub(super) fn end() -> Vec<Routed> {
    if !IS_ON.swap(false, Ordering::Relaxed) {
        return Vec::new();
    }
    let mut queue = lock();
    queue.has_ended = true;
    queue.bytes = 0;
    CHANGED.notify_all();
    queue.lines.drain(..).collect()
}

/// Queues a message for its logger. False if it cannot be, so that the caller writes it.
pub(super) fn push(entry: &Entry<'_>) -> bool {
    is_possible()
        && add(Routed {
            is_access: false,
            level: entry.level.to_owned(),
            pid: entry.pid,
            event: entry.event.map(str::to_owned),
            message: entry.message.to_owned(),
            traceback: entry.traceback().map(str::to_owned),
            request_id: entry.request_id.as_deref().map(str::to_owned),
            time: entry.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        })
}

/// The same for a line of the access log.
pub(super) fn push_access(request_id: Option<&str>, line: impl FnOnce() -> String) -> bool {
    is_possible()
        && add(Routed {
            is_access: true,
            level: "INFO".to_owned(),
            pid: std::process::id(),
            event: None,
            message: line(),
            traceback: None,
            request_id: request_id.map(str::to_owned),
            time: UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64(),
        })
}

/// A handler that makes the server log a line must not get that line, and so on.
fn is_possible() -> bool {
    IS_ON.load(Ordering::Relaxed) && !IS_ROUTER.try_with(Cell::get).unwrap_or(true)
}

fn add(line: Routed) -> bool {
    let mut queue = lock();
    if queue.has_ended || queue.lines.len() >= MAX_LINES || queue.bytes >= MAX_BYTES {
        return false;
    }
    queue.bytes += line.bytes();
    queue.lines.push_back(line);
    CHANGED.notify_all();
    true
}

fn hold() {
    let _ = HELD.try_with(|held| held.replace(Some(lock())));
}

fn release() {
    let _ = HELD.try_with(RefCell::take);
}

/// In a forked child, which has no router: the parent passes on what is queued.
fn reset() {
    if let Some(mut queue) = HELD.try_with(RefCell::take).ok().flatten() {
        *queue = Queue { lines: VecDeque::new(), bytes: 0, is_busy: false, has_ended: true };
    }
    IS_ON.store(false, Ordering::Relaxed);
    // The thread that forks may be the router.
    let _ = IS_ROUTER.try_with(|is_router| is_router.set(false));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(message: &str) -> Entry<'_> {
        let (pid, at) = (1, std::time::SystemTime::now());
        let (request_id, fields) = (None, Vec::new());
        Entry { at, pid, event: Some("a.b"), level: "INFO", message, request_id, fields }
    }

    /// A process has one queue, so all is in one test.
    #[test]
    fn lines_are_queued_up_to_the_bound_until_the_router_ends() {
        let _log = ignore_poison(LOG_OF_TESTS.lock());
        assert!(!push(&entry("no router")));
        assert!(begin_routing());
        assert!(!begin_routing());
        assert!(push(&entry("one")));
        assert!(push_access(None, || "two".to_owned()));
        let router = std::thread::spawn(|| {
            let taken = [take_routed().unwrap(), take_routed().unwrap()];
            assert!(!push(&entry("of the router")));
            (taken, take_routed().is_none())
        });
        // Returns when the router has passed on both lines, and waits for more.
        assert!(end_within(Duration::from_secs(20)).is_empty());
        let (taken, has_ended) = router.join().unwrap();
        let texts: Vec<_> = taken.iter().map(|line| (line.is_access, &*line.message)).collect();
        assert_eq!((texts, has_ended), (vec![(false, "one"), (true, "two")], true));
        assert!(!push(&entry("after the end")));

        assert!(begin_routing());
        let pushed = (0..2 * MAX_LINES).filter(|_| push(&entry("x"))).count();
        assert_eq!(pushed, MAX_LINES);
        // A handler that does not return keeps the line that it was given.
        std::thread::spawn(take_routed).join().unwrap().unwrap();
        assert_eq!(end_within(Duration::ZERO).len(), MAX_LINES - 1);
    }
}
