//! Lets threads write stacks in a signal handler: with a GIL a thread that keeps the interpreter
//! those of all threads, so that no thread changes its frames meanwhile, else each thread its own.
//!
//! `faulthandler` reads frames as they are in memory. A thread that runs Python code, rather than
//! a function in C, may be changing its innermost one: so this is for threads that hang, and no way
//! to sample.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::dump::{self, DumpedThread};
use crate::sync::ignore_poison;
use crate::sys::nameless::nameless_file;
use crate::sys::process::running_threads;
use crate::sys::stack_signal::{Dumped, StackSignal, unused_signal};
use crate::wsgi::is_attached;

/// How long a thread may take to write a dump.
pub(super) const DUMP_TIMEOUT: Duration = Duration::from_millis(200);
/// How often the thread that has the interpreter is looked for among those that run. Python code
/// that runs on a busy machine is found this way, too.
const MAX_SEARCHES: usize = 3;
const SEARCH_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes of a dump that are read.
const MAX_DUMP: usize = 1024 * 1024;
/// How long all threads may take that are asked.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(3);

/// Lets threads write dumps.
pub(super) struct Dumper {
    signal: StackSignal,
    /// Where `faulthandler` writes.
    file: File,
    /// One dump at a time.
    lock: Mutex<()>,
}

impl Dumper {
    /// Registers `faulthandler` for a signal.
    pub(super) fn register(py: Python<'_>) -> PyResult<Dumper> {
        let number = unused_signal().ok_or_else(|| io::Error::other("no signal is free"))?;
        let file = nameless_file("rustwsgi-stacks")?;
        let options = pyo3::types::PyDict::new(py);
        options.set_item("file", file.as_raw_fd())?;
        // Without a GIL the frames of other threads may change.
        options.set_item("all_threads", cfg!(not(Py_GIL_DISABLED)))?;
        py.import("faulthandler")?.call_method("register", (number,), Some(&options))?;
        Ok(Dumper { signal: StackSignal::wrap(number, may_write)?, file, lock: Mutex::default() })
    }

    /// The dump of all threads, while one of them keeps the interpreter.
    ///
    /// # Errors
    /// If no thread can be asked.
    pub(super) fn dump_all(&self) -> io::Result<Search> {
        let running = || running_threads(self.signal.number());
        let search = search(running, |id| self.dump(id))?;
        // Frames of a thread that runs may change.
        if search.dump.is_some() || !search.silent.is_empty() {
            return Ok(search);
        }
        // The thread that keeps the interpreter waits in the kernel: a signal would end its wait.
        let _one_at_a_time = ignore_poison(self.lock.lock());
        self.clear()?;
        self.signal.write_here();
        Ok(Search { dump: Some(self.read()?), silent: Vec::new() })
    }

    /// Asks a thread for a dump, and returns its answer.
    ///
    /// # Errors
    /// If no thread can be asked.
    pub(super) fn dump(&self, id: i32) -> io::Result<Answer> {
        let _one_at_a_time = ignore_poison(self.lock.lock());
        self.clear()?;
        match self.signal.request(id, DUMP_TIMEOUT) {
            Ok(Dumped::Written) => self.read().map(Answer::Dump),
            Ok(Dumped::Refused) => Ok(Answer::Refused),
            Ok(Dumped::Silent) => Ok(Answer::Silent),
            Err(failure) if failure.raw_os_error() == Some(libc::ESRCH) => Ok(Answer::Refused),
            Err(failure) => Err(failure),
        }
    }

    fn clear(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Start(0))?;
        Ok(())
    }

    fn read(&self) -> io::Result<Dump> {
        let length = usize::try_from(self.file.metadata()?.len()).unwrap_or(MAX_DUMP);
        let mut text = vec![0; length.min(MAX_DUMP)];
        let count = self.file.read_at(&mut text, 0)?;
        let threads = dump::parse(&String::from_utf8_lossy(&text[..count]));
        if threads.is_empty() {
            let reason = "faulthandler has written nothing: has the application unregistered it?";
            return Err(io::Error::other(reason));
        }
        let mut native = self.signal.native_frames();
        // Further out are the frames of Python, which are shown as such.
        let evaluates = |frame: &String| frame.contains("_PyEval_EvalFrameDefault");
        if let Some(innermost) = native.iter().position(evaluates) {
            native.truncate(innermost);
        }
        Ok(Dump { threads, native })
    }
}

/// Asks the threads that run, one after the other, until one writes a dump. `running` are their
/// numbers.
fn search(
    running: impl Fn() -> Vec<i32>,
    ask: impl Fn(i32) -> io::Result<Answer>,
) -> io::Result<Search> {
    let end = Instant::now() + SEARCH_TIMEOUT;
    let mut silent = Vec::new();
    for _ in 0..MAX_SEARCHES {
        let running = running();
        silent.clear();
        if running.is_empty() {
            break;
        }
        for id in running {
            match ask(id)? {
                Answer::Dump(dump) => return Ok(Search { dump: Some(dump), silent }),
                Answer::Refused => {}
                // Another one may have the interpreter.
                Answer::Silent => silent.push(id),
            }
            if Instant::now() > end {
                return match silent.is_empty() {
                    true => Err(io::Error::other("no thread that has the interpreter answers")),
                    false => Ok(Search { dump: None, silent }),
                };
            }
        }
        std::thread::sleep(SEARCH_INTERVAL);
    }
    Ok(Search { dump: None, silent })
}

/// The outcome of a search for the thread that keeps the interpreter.
pub(super) struct Search {
    /// What it has written.
    pub(super) dump: Option<Dump>,
    /// The threads that run and did not answer, by the kernel's numbers.
    pub(super) silent: Vec<i32>,
}

/// The answer of a thread that was asked for a dump.
pub(super) enum Answer {
    Dump(Dump),
    /// It may not write one, or has ended.
    Refused,
    /// It has not answered within [`DUMP_TIMEOUT`].
    Silent,
}

/// What a thread has written.
pub(super) struct Dump {
    pub(super) threads: Vec<DumpedThread>,
    /// The native frames of the thread that has written it.
    pub(super) native: Vec<String>,
}

/// Whether the calling thread may write a dump: without a GIL it writes its own stack only, else it
/// must have the interpreter.
fn may_write() -> bool {
    cfg!(Py_GIL_DISABLED) || is_attached()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump() -> Answer {
        Answer::Dump(Dump { threads: Vec::new(), native: Vec::new() })
    }

    #[test]
    fn silent_thread_does_not_keep_others_from_being_asked() {
        let ask = |id| {
            Ok(match id {
                1 => Answer::Silent,
                2 => Answer::Refused,
                _ => dump(),
            })
        };
        let found = search(|| vec![1, 2, 3], ask).unwrap();
        assert!(found.dump.is_some());
        assert_eq!(found.silent, [1]);
        let found = search(|| vec![2, 1], ask).unwrap();
        assert!(found.dump.is_none());
        assert_eq!(found.silent, [1]);
        let found = search(Vec::new, ask).unwrap();
        assert!(found.dump.is_none() && found.silent.is_empty());
        assert!(search(|| vec![1], |_| Err(io::ErrorKind::Other.into())).is_err());
    }
}
