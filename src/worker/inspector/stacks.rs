//! Reads the stacks of all threads: from the interpreter if it is free, else from a dump that a
//! thread writes in a signal handler.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::dump::DumpedThread;
use super::dumper::{Answer, DUMP_TIMEOUT, Dump, Dumper, Search};
use super::known_threads::{KnownThread, KnownThreads};
use crate::control::{Frame, RequestInfo, StacksReport, ThreadReport};
use crate::observe::WorkerSlot;
use crate::observe::shared_state::Request;
use crate::sync::ignore_poison;
use crate::sys::clock;
use crate::sys::signals::without_signals;
use crate::wsgi::{PythonFrame, PythonThread, python_stacks, python_threads};

/// How long the interpreter may take to become free.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the dumps of all threads may take.
const DUMPS_TIMEOUT: Duration = Duration::from_secs(3);

/// What a thread that attaches reads.
#[derive(Default)]
struct Read {
    threads: Vec<PythonThread>,
    /// By ident, the innermost frame first. None without a GIL.
    stacks: Vec<(u64, Vec<Frame>)>,
}

/// Reads the stacks.
pub(super) struct StackReader {
    threads: Arc<KnownThreads>,
    /// Shows which requests they run.
    slot: Arc<WorkerSlot>,
    /// Lets a thread write a dump; the reason if that is not possible.
    dumper: Result<Dumper, String>,
    /// A thread waits for the interpreter.
    is_attaching: Arc<AtomicBool>,
    /// That thread.
    attaching: Mutex<Option<JoinHandle<()>>>,
}

impl StackReader {
    pub(super) fn new(
        py: Python<'_>,
        threads: Arc<KnownThreads>,
        slot: Arc<WorkerSlot>,
    ) -> StackReader {
        let dumper = Dumper::register(py).map_err(|failure| failure.to_string());
        StackReader {
            threads,
            slot,
            dumper,
            is_attaching: Arc::default(),
            attaching: Mutex::default(),
        }
    }

    /// The stacks of all threads.
    ///
    /// # Errors
    /// A sentence, if neither way is possible.
    pub(super) fn report(&self) -> Result<StacksReport, String> {
        let read = self.attach();
        let requests = self.slot.read(clock::now()).requests;
        let (threads, note) = match read {
            Some(read) if !cfg!(Py_GIL_DISABLED) => (self.of_interpreter(read, &requests), None),
            Some(read) => (self.of_each(&read.threads, &requests)?, None),
            None => {
                let (threads, note) = self.of_search(&requests)?;
                (threads, Some(note))
            }
        };
        Ok(StacksReport { pid: std::process::id(), note, threads })
    }

    /// Reads the stacks on a thread that attaches to the interpreter. `None` if that is not free in
    /// time: the thread goes on waiting, and there is no second one until it has ended.
    fn attach(&self) -> Option<Read> {
        if self.is_attaching.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.join();
        let (sender, receiver) = channel();
        let is_attaching = self.is_attaching.clone();
        let run = move || {
            let read = Python::attach(read);
            is_attaching.store(false, Ordering::Release);
            // Fails if it was too late.
            let _ = sender.send(read);
        };
        let thread = std::thread::Builder::new().name("rustwsgi-stacks".into());
        match without_signals(|| thread.spawn(run)) {
            Ok(thread) => *ignore_poison(self.attaching.lock()) = Some(thread),
            Err(_) => self.is_attaching.store(false, Ordering::Release),
        }
        receiver.recv_timeout(ATTACH_TIMEOUT).ok()
    }

    /// Waits for the thread that attaches.
    pub(super) fn join(&self) {
        let thread = ignore_poison(self.attaching.lock()).take();
        thread.map(JoinHandle::join);
    }

    fn of_interpreter(&self, read: Read, requests: &[Request]) -> Vec<ThreadReport> {
        let known = self.threads.all();
        let name = |ident: u64| {
            let found = read.threads.iter().find(|thread| thread.ident == ident);
            found.map(|thread| thread.name.clone())
        };
        let mut threads: Vec<_> = read
            .stacks
            .iter()
            .map(|(ident, frames)| ThreadReport {
                ident: *ident,
                name: name(*ident),
                request: request_of(&known, *ident, requests),
                frames: frames.clone(),
                native: Vec::new(),
                unread: None,
            })
            .collect();
        sort(&mut threads);
        threads
    }

    /// The stacks of a dump, while a thread keeps the interpreter; and a note about it.
    fn of_search(&self, requests: &[Request]) -> Result<(Vec<ThreadReport>, String), String> {
        let dumper = self.dumper.as_ref().map_err(Clone::clone)?;
        let Search { dump, silent } = dumper.dump_all().map_err(|failure| failure.to_string())?;
        let known = self.threads.all();
        let mut note = format!(
            "the interpreter was not free for {} s, as a thread keeps it: by faulthandler",
            ATTACH_TIMEOUT.as_secs()
        );
        let name = |id: i32| {
            let thread = known.iter().find(|thread| thread.id == id);
            thread.map_or_else(|| id.to_string(), name_by_server)
        };
        if !silent.is_empty() {
            let names = silent.iter().map(|&id| name(id)).collect::<Vec<_>>().join(", ");
            note += &format!("; running threads that did not answer: {names}");
        }
        let threads = match dump {
            Some(dump) => self.of_dumps([dump], &[], requests),
            None => {
                let unread = known.iter().map(|thread| match silent.contains(&thread.id) {
                    true => (thread.ident, no_answer()),
                    false => (thread.ident, "a running thread did not answer".to_owned()),
                });
                self.of_unread(unread.collect(), &[], requests)
            }
        };
        Ok((threads, note))
    }

    /// Without a GIL: lets each thread write its own stack.
    fn of_each(
        &self,
        named: &[PythonThread],
        requests: &[Request],
    ) -> Result<Vec<ThreadReport>, String> {
        let dumper = self.dumper.as_ref().map_err(Clone::clone)?;
        let known = self.threads.all();
        let others = named.iter().filter(|named| known.iter().all(|it| it.ident != named.ident));
        let others = others.filter_map(|thread| Some((thread.native_id?, thread.ident)));
        let all = known.iter().map(|thread| (thread.id, thread.ident)).chain(others);
        let end = Instant::now() + DUMPS_TIMEOUT;
        let (mut dumps, mut unread) = (Vec::new(), Vec::new());
        let mut failure = None;
        for (id, ident) in all.take_while(|_| Instant::now() < end) {
            match dumper.dump(id) {
                Ok(Answer::Dump(mut dump)) => {
                    dump.threads.iter_mut().for_each(|thread| thread.ident = ident);
                    dumps.push(dump);
                }
                Ok(Answer::Refused) => {}
                Ok(Answer::Silent) => unread.push((ident, no_answer())),
                Err(reason) => failure = Some(reason.to_string()),
            }
        }
        if dumps.is_empty() && unread.is_empty() {
            return Err(failure.unwrap_or_else(|| "no thread has answered".to_owned()));
        }
        let mut threads = self.of_dumps(dumps, named, requests);
        threads.extend(self.of_unread(unread, named, requests));
        sort(&mut threads);
        Ok(threads)
    }

    /// Threads whose stacks are not known, and why.
    fn of_unread(
        &self,
        unread: Vec<(u64, String)>,
        named: &[PythonThread],
        requests: &[Request],
    ) -> Vec<ThreadReport> {
        let known = self.threads.all();
        let report = |(ident, reason)| ThreadReport {
            ident,
            name: name_of(named, &known, ident),
            request: request_of(&known, ident, requests),
            frames: Vec::new(),
            native: Vec::new(),
            unread: Some(reason),
        };
        let mut threads: Vec<_> = unread.into_iter().map(report).collect();
        sort(&mut threads);
        threads
    }

    fn of_dumps(
        &self,
        dumps: impl IntoIterator<Item = Dump>,
        named: &[PythonThread],
        requests: &[Request],
    ) -> Vec<ThreadReport> {
        let known = self.threads.all();
        let report = |thread: DumpedThread, native: &[String]| ThreadReport {
            ident: thread.ident,
            name: name_of(named, &known, thread.ident),
            request: request_of(&known, thread.ident, requests),
            frames: thread.frames,
            native: if thread.is_current { native.to_vec() } else { Vec::new() },
            unread: None,
        };
        let mut threads = Vec::new();
        for Dump { threads: dumped, native } in dumps {
            threads.extend(dumped.into_iter().map(|thread| report(thread, &native)));
        }
        sort(&mut threads);
        threads
    }
}

/// The name of a thread, by Python, else that which the server has given it.
fn name_of(named: &[PythonThread], known: &[KnownThread], ident: u64) -> Option<String> {
    let by_python = named.iter().find(|thread| thread.ident == ident);
    let by_server = || known.iter().find(|thread| thread.ident == ident).map(name_by_server);
    by_python.map(|thread| thread.name.clone()).or_else(by_server)
}

fn name_by_server(thread: &KnownThread) -> String {
    thread.seat.map_or_else(|| "MainThread".to_owned(), |seat| format!("rustwsgi-{seat}"))
}

/// Why the stack of a thread is not known that runs, or waits in a call that no signal ends.
fn no_answer() -> String {
    format!("it did not answer within {} ms", DUMP_TIMEOUT.as_millis())
}

/// The request of a thread, if it runs one.
fn request_of(known: &[KnownThread], ident: u64, requests: &[Request]) -> Option<RequestInfo> {
    let seat = known.iter().find(|thread| thread.ident == ident)?.seat?;
    requests.iter().find(|request| request.thread == Some(seat)).map(RequestInfo::from)
}

/// Threads with requests first.
fn sort(threads: &mut [ThreadReport]) {
    let rank = |thread: &ThreadReport| match &thread.request {
        Some(request) => (0, request.thread, None),
        None => (1, None, thread.name.clone()),
    };
    threads.sort_by_key(rank);
}

fn read(py: Python<'_>) -> Read {
    let threads = python_threads(py);
    if cfg!(Py_GIL_DISABLED) {
        return Read { threads, stacks: Vec::new() };
    }
    let as_frame =
        |frame: PythonFrame| Frame { function: frame.function, file: frame.file, line: frame.line };
    let stacks = python_stacks(py).unwrap_or_default().into_iter();
    let stacks = stacks.map(|(ident, frames)| (ident, frames.into_iter().map(as_frame).collect()));
    Read { threads, stacks: stacks.collect() }
}
