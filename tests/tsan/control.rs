//! Small programs of which the thread sanitizer must report all but one: to trust its silence one has to
//! know that it can speak. `run` tries them before it tries the server.
//!
//! `ordered` uses each of the ways that `hooks.c` reports to the sanitizer, and must not be reported. The others
//! come close to one of them each without being ordered by it, so a hook that reports too much
//! would hide them. What has to come later waits for a relaxed flag, which is an order in time and none in
//! the memory model.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// What is fought over. It is touched once more when it is dropped.
#[derive(Default)]
struct Value(UnsafeCell<u64>);

// SAFETY: it is not safe, which is what it is for.
unsafe impl Sync for Value {}

impl Value {
    fn touch(&self) {
        // SAFETY: as above.
        unsafe { *self.0.get() += 1 };
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.touch();
    }
}

#[derive(Default)]
struct Stage {
    value: Value,
    lock: Mutex<bool>,
    other_lock: Mutex<()>,
    notified: Condvar,
    flag: AtomicBool,
}

impl Stage {
    fn go_on(&self) {
        self.flag.store(true, Relaxed);
    }

    fn wait(&self) {
        while !self.flag.load(Relaxed) {
            thread::yield_now();
        }
    }
}

/// Runs both on threads, with the same stage.
fn two(first: impl Fn(&Stage) + Sync, second: impl Fn(&Stage) + Sync) {
    let stage = Stage::default();
    thread::scope(|scope| {
        let threads = [scope.spawn(|| first(&stage)), scope.spawn(|| second(&stage))];
        threads.map(|thread| thread.join().expect("it does not panic"))
    });
}

/// Long enough for the other thread to have to wait for the lock. If it has not, less was tried.
const A_WHILE: Duration = Duration::from_millis(2);

fn a_lock_that_is_waited_for() {
    let hold = |stage: &Stage| {
        let _held = stage.lock.lock().unwrap();
        stage.go_on();
        thread::sleep(A_WHILE);
        stage.value.touch();
    };
    two(hold, |stage| {
        stage.wait();
        let _held = stage.lock.lock().unwrap();
        stage.value.touch();
    });
}

type Guard<'a> = MutexGuard<'a, bool>;

fn a_condition(wait_once: for<'a> fn(&Condvar, Guard<'a>) -> Guard<'a>) {
    let wait = |stage: &Stage| {
        let mut ready = stage.lock.lock().unwrap();
        stage.value.touch();
        stage.go_on();
        while !*ready {
            ready = wait_once(&stage.notified, ready);
        }
        stage.value.touch();
    };
    two(wait, |stage| {
        stage.wait();
        let mut ready = stage.lock.lock().unwrap();
        stage.value.touch();
        *ready = true;
        stage.notified.notify_one();
        thread::sleep(A_WHILE);
    });
}

/// The first thread touches, then gives up its share; the second gives up its own after that.
fn shares(at_the_end: impl Fn(&Value)) {
    let value = Arc::new(Value::default());
    let flag = AtomicBool::new(false);
    let (one, two) = (value.clone(), value.clone());
    let mut kept = Some(value);
    thread::scope(|scope| {
        let flag = &flag;
        let thread = scope.spawn(move || {
            one.touch();
            drop(one);
            flag.store(true, Relaxed);
        });
        let seen: *const Value = &*two;
        while !flag.load(Relaxed) {
            thread::yield_now();
        }
        drop(two);
        // SAFETY: `kept` has it still.
        at_the_end(unsafe { &*seen });
        drop(kept.take());
        thread.join().expect("it does not panic");
    });
}

fn ordered() {
    for _ in 0..20 {
        a_lock_that_is_waited_for();
        a_condition(|notified, ready| notified.wait(ready).unwrap());
        a_condition(|notified, ready| notified.wait_timeout(ready, Duration::from_secs(60)).unwrap().0);
        // Only the destructor touches it after the other thread did.
        shares(|_| {});
    }
}

fn no_lock() {
    two(|stage| stage.value.touch(), |stage| stage.value.touch());
}

fn another_lock() {
    let hold = |stage: &Stage| {
        let _held = stage.lock.lock().unwrap();
        stage.go_on();
        thread::sleep(A_WHILE);
        stage.value.touch();
    };
    two(hold, |stage| {
        stage.wait();
        let _held = stage.other_lock.lock().unwrap();
        thread::sleep(A_WHILE * 2);
        stage.value.touch();
    });
}

fn after_the_lock() {
    let hold = |stage: &Stage| {
        let held = stage.lock.lock().unwrap();
        stage.go_on();
        thread::sleep(A_WHILE);
        drop(held);
        stage.value.touch();
    };
    two(hold, |stage| {
        stage.wait();
        let _held = stage.lock.lock().unwrap();
        stage.value.touch();
    });
}

/// A notification orders nothing: the lock does, and the notifying thread has not taken it.
fn notified_without_the_lock() {
    let wait = |stage: &Stage| {
        let mut notified = stage.lock.lock().unwrap();
        stage.go_on();
        for _ in 0..20 {
            notified = stage.notified.wait_timeout(notified, A_WHILE).unwrap().0;
        }
        drop(notified);
        stage.value.touch();
    };
    two(wait, |stage| {
        stage.wait();
        stage.value.touch();
        stage.notified.notify_one();
    });
}

/// Only who drops the last has seen what the others did.
fn not_the_last() {
    shares(|value| value.touch());
}

fn main() {
    let cases: [(&str, fn()); 6] = [
        ("ordered", ordered),
        ("no_lock", no_lock),
        ("another_lock", another_lock),
        ("after_the_lock", after_the_lock),
        ("notified_without_the_lock", notified_without_the_lock),
        ("not_the_last", not_the_last),
    ];
    match std::env::args().nth(1) {
        None => cases.iter().for_each(|(name, _)| println!("{name}")),
        Some(wanted) => {
            let case = cases.iter().find(|(name, _)| *name == wanted);
            case.expect("a case, as listed without arguments").1();
        }
    }
}
