//! Waits for disks, so that the poller never does: a few threads open and read files that are not
//! in memory yet. They start with the first such file.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex};

use log::warn;

use super::arena::ConnectionId;
use super::output_queue::FilePart;
use super::poller_link::PollerLink;
use super::tuning::MAX_LOADERS;
use crate::static_files::{Found, Target};
use crate::sync::ignore_poison;
use crate::sys::signals::without_signals;

/// What a connection has waited for.
#[derive(Debug)]
pub(super) enum Loaded {
    /// The lookup of a file.
    Found(Target, io::Result<Found>),
    /// This part of a file is in memory, unless that has failed.
    Part(FilePart),
}

/// The threads as the poller sees them.
#[derive(Debug)]
pub(super) struct Loader {
    shared: Arc<Shared>,
    /// How many threads were started.
    threads: usize,
    /// A job was given to it.
    is_in_use: bool,
}

type Job = Box<dyn FnOnce() -> Loaded + Send>;

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<(ConnectionId, Job)>,
    /// Threads that wait for a job.
    idle: usize,
    /// The poller has ended.
    is_closed: bool,
}

struct Shared {
    jobs: Mutex<Jobs>,
    /// Notified of a job, and of the end.
    has_job: Condvar,
    done: Mutex<Vec<(ConnectionId, Loaded)>>,
    link: Arc<PollerLink>,
}

impl Loader {
    pub(super) fn new(link: Arc<PollerLink>) -> Loader {
        let shared = Shared {
            jobs: Mutex::default(),
            has_job: Condvar::new(),
            done: Mutex::default(),
            link,
        };
        Loader { shared: Arc::new(shared), threads: 0, is_in_use: false }
    }

    /// Runs `job` on another thread. [`Loader::take_done`] returns its result, and the poller is
    /// woken for it.
    pub(super) fn start(
        &mut self,
        id: ConnectionId,
        job: impl FnOnce() -> Loaded + Send + 'static,
    ) {
        self.is_in_use = true;
        let mut jobs = ignore_poison(self.shared.jobs.lock());
        jobs.waiting.push_back((id, Box::new(job)));
        let needs_thread = jobs.idle < jobs.waiting.len() && self.threads < MAX_LOADERS;
        drop(jobs);
        self.shared.has_job.notify_one();
        if needs_thread {
            self.add_thread(|shared| {
                let thread = std::thread::Builder::new().name("rustwsgi-loader".into());
                without_signals(|| thread.spawn(move || shared.run())).map(drop)
            });
        }
    }

    /// `spawn` starts a thread.
    #[cold]
    fn add_thread(&mut self, spawn: impl FnOnce(Arc<Shared>) -> io::Result<()>) {
        match spawn(self.shared.clone()) {
            Ok(()) => self.threads += 1,
            Err(failure) if self.threads == 0 => {
                warn!(
                    target: "static.no_thread",
                    "Cannot start a thread that reads files, reading them without: {failure}"
                );
                while let Some((id, job)) = self.shared.take_waiting() {
                    self.shared.finish(id, job());
                }
            }
            Err(_) => {}
        }
    }

    /// True once a job was given: there may be results.
    #[inline]
    pub(super) fn is_in_use(&self) -> bool {
        self.is_in_use
    }

    /// Takes the results.
    pub(super) fn take_done(&self) -> Vec<(ConnectionId, Loaded)> {
        std::mem::take(&mut *ignore_poison(self.shared.done.lock()))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        ignore_poison(self.shared.jobs.lock()).is_closed = true;
        self.shared.has_job.notify_all();
    }
}

impl Shared {
    fn run(&self) {
        let mut jobs = ignore_poison(self.jobs.lock());
        while !jobs.is_closed {
            match jobs.waiting.pop_front() {
                Some((id, job)) => {
                    drop(jobs);
                    self.finish(id, job());
                    jobs = ignore_poison(self.jobs.lock());
                }
                None => {
                    jobs.idle += 1;
                    jobs = ignore_poison(self.has_job.wait(jobs));
                    jobs.idle -= 1;
                }
            }
        }
    }

    fn take_waiting(&self) -> Option<(ConnectionId, Job)> {
        ignore_poison(self.jobs.lock()).waiting.pop_front()
    }

    fn finish(&self, id: ConnectionId, loaded: Loaded) {
        ignore_poison(self.done.lock()).push((id, loaded));
        self.link.wake();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use mio::{Poll, Token, Waker};

    use super::*;
    use crate::config;

    /// A regression test: the results of a system that refuses threads were never taken.
    #[test]
    fn job_without_a_thread_is_done_at_once() {
        let settings = config::parse_api(&[]).unwrap();
        let poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        let mut loader = Loader::new(Arc::new(PollerLink::new(waker, &settings)));
        assert!(!loader.is_in_use());
        // So that no thread is started.
        ignore_poison(loader.shared.jobs.lock()).idle = 1;
        let file = Arc::new(tempfile::tempfile().unwrap());
        let part = FilePart { file, offset: 0, length: 0 };
        loader.start(ConnectionId::from_token(7), || Loaded::Part(part));
        loader.add_thread(|_| Err(io::ErrorKind::WouldBlock.into()));
        assert!(loader.is_in_use());
        let done: Vec<_> = loader.take_done().into_iter().map(|(id, _)| id).collect();
        assert_eq!(done, [ConnectionId::from_token(7)]);
    }
}
