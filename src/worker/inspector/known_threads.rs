//! The main thread and the worker threads of a worker, by the numbers that the kernel and Python
//! know them by. The threads note them themselves, so that they are known without the interpreter.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};

use pyo3::prelude::*;

use crate::sys::process::thread_id;
use crate::wsgi::{stack_depth, thread_ident};

/// A thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KnownThread {
    /// Python's number.
    pub(super) ident: u64,
    /// The kernel's number; 0 if the system does not say.
    pub(super) id: i32,
    /// Its seat in the scheduler, if it runs requests.
    pub(super) seat: Option<usize>,
}

#[derive(Debug, Default)]
struct Numbers {
    ident: AtomicU64,
    id: AtomicI32,
}

impl Numbers {
    fn set(&self, py: Python<'_>) {
        self.ident.store(thread_ident(py), Relaxed);
        self.id.store(thread_id(), Relaxed);
    }

    /// `None` before the thread has noted them.
    fn get(&self, seat: Option<usize>) -> Option<KnownThread> {
        let known =
            KnownThread { ident: self.ident.load(Relaxed), id: self.id.load(Relaxed), seat };
        (known.ident != 0).then_some(known)
    }
}

/// The threads.
#[derive(Debug)]
pub struct KnownThreads {
    main: Numbers,
    /// Frames of the main thread that belong to the server.
    main_depth: usize,
    seats: Vec<Numbers>,
}

impl KnownThreads {
    /// Notes the calling thread as the main thread.
    pub(super) fn new(py: Python<'_>, seats: usize) -> KnownThreads {
        let main = Numbers::default();
        main.set(py);
        let seats = (0..seats).map(|_| Numbers::default()).collect();
        KnownThreads { main, main_depth: stack_depth(py), seats }
    }

    /// Notes that the calling thread has this seat.
    pub(in crate::worker) fn take_seat(&self, py: Python<'_>, seat: usize) {
        if let Some(numbers) = self.seats.get(seat) {
            numbers.set(py);
        }
    }

    /// The main thread and those that have seats. One that is both is there once, with its seat.
    pub(super) fn all(&self) -> Vec<KnownThread> {
        let seats = self.seats.iter().enumerate();
        let mut all: Vec<_> = seats.filter_map(|(seat, numbers)| numbers.get(Some(seat))).collect();
        let main = self.main.get(None);
        all.extend(main.filter(|main| all.iter().all(|known| known.ident != main.ident)));
        all
    }

    /// Whether the thread runs requests.
    pub(super) fn has_seat(&self, ident: u64) -> bool {
        self.seats.iter().any(|numbers| numbers.ident.load(Relaxed) == ident)
    }

    /// The number of frames, the outermost ones, that belong to the server in this thread.
    pub(super) fn depth_of(&self, ident: u64) -> usize {
        if ident == self.main.ident.load(Relaxed) { self.main_depth } else { 0 }
    }
}
