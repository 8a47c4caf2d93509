//! Samples the stacks of all threads for some time.
//!
//! A thread attaches to the interpreter 100 times a second, for some microseconds. A second one
//! waits for it, and answers the client in time whatever happens to the first.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use rustix::event::PollFlags;

use super::known_threads::KnownThreads;
use super::reply;
use super::samples::{Names, REQUESTS, Samples};
use super::stacks::StackReader;
use super::wait::{Waited, wait};
use crate::control::ProfileReport;
use crate::sync::ignore_poison;
use crate::sys::signals::without_signals;
use crate::wsgi::{CodeTable, SwitchInterval};

/// Time between two samples.
const INTERVAL: Duration = Duration::from_millis(10);
/// The same without a GIL, where each thread writes its stack in a signal handler.
const DUMP_INTERVAL: Duration = Duration::from_millis(50);
/// How long the sampling thread waits for the interpreter before the thread that has it must give
/// it up. With Python's 5 ms, a thread mostly gives it up by itself, at the end of a request: all
/// samples would be taken there, and show no request.
const SWITCH_INTERVAL: Duration = Duration::from_micros(50);
/// How long the last sample may take.
const END_MARGIN: Duration = Duration::from_secs(1);
/// Threads of earlier profiles that may still wait for the interpreter.
const MAX_WAITING: usize = 4;
/// How often it is checked whether the last sample was taken.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Profiles the worker, one profile at a time.
pub(super) struct Profiler {
    threads: Arc<KnownThreads>,
    reader: Arc<StackReader>,
    /// That to the master, which ends with the worker.
    channel: Arc<UnixStream>,
    /// There is a profile.
    is_running: AtomicBool,
    running: Mutex<Vec<JoinHandle<()>>>,
}

/// A profile in progress.
struct Profile {
    began: Instant,
    end: Instant,
    samples: Mutex<Samples>,
    /// No further sample is wanted.
    is_over: AtomicBool,
    /// The thread that samples has ended.
    is_complete: AtomicBool,
}

impl Profiler {
    pub(super) fn new(
        threads: Arc<KnownThreads>,
        reader: Arc<StackReader>,
        channel: Arc<UnixStream>,
    ) -> Profiler {
        Profiler {
            threads,
            reader,
            channel,
            is_running: AtomicBool::new(false),
            running: Mutex::default(),
        }
    }

    /// Begins a profile, whose outcome is sent to the client.
    pub(super) fn start(self: &Arc<Self>, client: UnixStream, length: Duration) {
        if self.is_running.swap(true, Ordering::AcqRel) {
            let pid = std::process::id();
            let reason = format!("a profile of worker {pid} is running already");
            return reply::send(&client, &self.channel, &Err(reason));
        }
        let waiting = {
            let mut running = ignore_poison(self.running.lock());
            running.retain(|thread| !thread.is_finished());
            running.len()
        };
        if waiting > MAX_WAITING {
            self.is_running.store(false, Ordering::Release);
            let reason = "earlier profiles still wait for the interpreter, which a thread keeps";
            return reply::send(&client, &self.channel, &Err(reason.to_owned()));
        }
        let profiler = self.clone();
        let run = move || {
            let outcome = profiler.run(&client, length);
            profiler.is_running.store(false, Ordering::Release);
            if let Some(outcome) = outcome {
                reply::send(&client, &profiler.channel, &outcome.map(reply::document));
            }
        };
        if let Err(failure) = self.spawn("rustwsgi-profile", run) {
            self.is_running.store(false, Ordering::Release);
            // The client finds its connection closed.
            log::debug!("Cannot start a profile: {failure}");
        }
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = without_signals(|| thread.spawn(run))?;
        ignore_poison(self.running.lock()).push(thread);
        Ok(())
    }

    /// Samples until the end. `None` if the client has gone.
    fn run(
        self: &Arc<Self>,
        client: &UnixStream,
        length: Duration,
    ) -> Option<Result<ProfileReport, String>> {
        let began = Instant::now();
        let profile = Arc::new(Profile {
            began,
            end: began + length,
            samples: Mutex::default(),
            is_over: AtomicBool::new(false),
            is_complete: AtomicBool::new(false),
        });
        let (sampled, profiler) = (profile.clone(), self.clone());
        let sample = move || {
            match cfg!(Py_GIL_DISABLED) {
                true => profiler.sample_dumps(&sampled),
                false => Python::attach(|py| profiler.sample(py, &sampled)),
            }
            sampled.is_complete.store(true, Ordering::Release);
        };
        if let Err(failure) = self.spawn("rustwsgi-sampler", sample) {
            return Some(Err(format!("cannot start a thread: {failure}")));
        }
        while !profile.is_complete.load(Ordering::Acquire)
            && Instant::now() < profile.end + END_MARGIN
        {
            let waited = wait(client, PollFlags::empty(), &self.channel, CHECK_INTERVAL);
            if waited != Waited::Other {
                profile.is_over.store(true, Ordering::Release);
                let pid = std::process::id();
                let ends = waited == Waited::WorkerEnds;
                return ends.then(|| Err(format!("worker {pid} ends before its profile")));
            }
        }
        profile.is_over.store(true, Ordering::Release);
        Some(report(&profile))
    }

    /// On a thread that is attached: takes samples until the end.
    fn sample(&self, py: Python<'_>, profile: &Profile) {
        let _often = SwitchInterval::shorten(py, SWITCH_INTERVAL);
        let mut codes = CodeTable::default();
        let mut names = Names::default();
        let mut due = profile.began;
        while due < profile.end {
            let pause = due.saturating_duration_since(Instant::now());
            // The end of `detach` waits for the interpreter.
            py.detach(|| std::thread::sleep(pause));
            if profile.is_over.load(Ordering::Acquire) {
                break;
            }
            // A thread that has kept the interpreter has done so all the time since.
            let late = Instant::now().min(profile.end).saturating_duration_since(due);
            let ticks = 1 + u32::try_from(late.as_millis() / INTERVAL.as_millis()).unwrap_or(0);
            let mut samples = ignore_poison(profile.samples.lock());
            let mut unknown = false;
            let sampled = codes.sample(py, |ident, stack, frames| {
                let base = self.threads.depth_of(ident);
                let stack = &stack[..stack.len().saturating_sub(base)];
                match names.of(ident, &self.threads) {
                    Some(name) => samples.add(name, stack, frames, u64::from(ticks)),
                    None => unknown = true,
                }
            });
            samples.end_sample(u64::from(ticks));
            drop(samples);
            if unknown || names.are_old() {
                names.read(py);
            }
            if sampled.is_err() {
                break;
            }
            due += INTERVAL * ticks;
        }
        drop(codes);
    }

    /// Without a GIL: lets each thread write its stack, again and again.
    fn sample_dumps(&self, profile: &Profile) {
        while Instant::now() < profile.end && !profile.is_over.load(Ordering::Acquire) {
            let began = Instant::now();
            if let Ok(report) = self.reader.report() {
                let mut samples = ignore_poison(profile.samples.lock());
                for thread in report.threads.iter().filter(|thread| thread.request.is_some()) {
                    samples.add_frames(REQUESTS, &thread.frames, 1);
                }
                samples.end_sample(1);
            }
            std::thread::sleep(DUMP_INTERVAL.saturating_sub(began.elapsed()));
        }
    }

    /// Waits for all threads.
    pub(super) fn join(&self) {
        let threads = std::mem::take(&mut *ignore_poison(self.running.lock()));
        // One of them may start another one.
        for thread in threads {
            let _ = thread.join();
        }
        let threads = std::mem::take(&mut *ignore_poison(self.running.lock()));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

fn report(profile: &Profile) -> Result<ProfileReport, String> {
    let samples = std::mem::take(&mut *ignore_poison(profile.samples.lock()));
    let pid = std::process::id();
    if samples.taken == 0 {
        return Err(format!(
            "the interpreter of worker {pid} was not free during the whole profile, as a thread \
             keeps it in native code: see rustwsgi ctl stacks {pid}"
        ));
    }
    let is_complete = profile.is_complete.load(Ordering::Acquire);
    let note = samples.note(is_complete);
    let seconds = Instant::now().min(profile.end).saturating_duration_since(profile.began);
    Ok(samples.into_report(pid, seconds.as_secs_f64(), note))
}
