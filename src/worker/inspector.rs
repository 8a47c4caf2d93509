//! Shows the stacks of a worker's threads, and profiles them, for clients of the control socket.
//!
//! The master passes the connection of a client to the worker, which answers on it. A thread of its
//! own receives these requests. It never attaches to the interpreter, so that it answers also while
//! a thread keeps the interpreter in native code. What needs the interpreter is done by further
//! threads, for which it waits a bounded time.
//!
//! - [`request`] is what the master sends,
//! - [`known_threads`] are the threads of the worker, by their numbers,
//! - [`stacks`] reads the stacks, from the interpreter or from a [`dump`] of `faulthandler`, which
//!   a [`dumper`] lets threads write,
//! - [`profile`] samples them, and counts them as [`samples`],
//! - [`reply`] sends to the client, for which it [`wait`]s.

mod dump;
mod dumper;
mod known_threads;
mod profile;
mod reply;
mod request;
mod samples;
mod stacks;
mod wait;

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use log::warn;
use pyo3::prelude::*;

pub use known_threads::KnownThreads;
use profile::Profiler;
pub use request::Inspection;
use stacks::StackReader;

use crate::observe::WorkerSlot;
use crate::sys::signals::without_signals;

/// The inspector of a worker. It ends when it is dropped.
pub struct Inspector {
    channel: Arc<UnixStream>,
    threads: Arc<KnownThreads>,
    thread: Option<JoinHandle<()>>,
    profiler: Arc<Profiler>,
    reader: Arc<StackReader>,
}

impl Inspector {
    /// Starts it, on the main thread. `channel` is the worker's end of the channel to the master,
    /// `slot` shows the requests of its threads.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn start(
        py: Python<'_>,
        channel: UnixStream,
        slot: Arc<WorkerSlot>,
        seats: usize,
    ) -> io::Result<Inspector> {
        channel.set_nonblocking(false)?;
        let channel = Arc::new(channel);
        let threads = Arc::new(KnownThreads::new(py, seats));
        let reader = Arc::new(StackReader::new(py, threads.clone(), slot));
        let profiler = Profiler::new(threads.clone(), reader.clone(), channel.clone());
        let profiler = Arc::new(profiler);
        let (receiver, reading, profiling) = (channel.clone(), reader.clone(), profiler.clone());
        let run = move || serve(&receiver, &reading, &profiling);
        let thread = std::thread::Builder::new().name("rustwsgi-inspector".into());
        let thread = without_signals(|| thread.spawn(run))?;
        Ok(Inspector { channel, threads, thread: Some(thread), profiler, reader })
    }

    /// The threads that it knows. The worker threads add themselves.
    pub fn threads(&self) -> Arc<KnownThreads> {
        self.threads.clone()
    }
}

/// Answers requests until the channel ends.
fn serve(channel: &UnixStream, reader: &Arc<StackReader>, profiler: &Arc<Profiler>) {
    loop {
        match Inspection::receive(channel) {
            Ok(Some((Inspection::Stacks, client))) => {
                reply::send(&client, channel, &reader.report().map(reply::document));
            }
            Ok(Some((Inspection::Profile(length), client))) => profiler.start(client, length),
            Ok(None) => return,
            Err(failure) if failure.kind() == io::ErrorKind::Interrupted => {}
            Err(failure) => {
                warn!(
                    target: "control.inspector_failed",
                    "Worker {} cannot receive requests for stacks any more: {failure}",
                    std::process::id()
                );
                return;
            }
        }
    }
}

impl Drop for Inspector {
    /// Waits for its threads, so that none attaches to an interpreter that is finalized. The end of
    /// the channel ends a profile, and a reply that its client does not read.
    fn drop(&mut self) {
        let _ = self.channel.shutdown(std::net::Shutdown::Both);
        let thread = self.thread.take();
        Python::attach(|py| {
            py.detach(|| {
                thread.map(JoinHandle::join);
                self.profiler.join();
                self.reader.join();
            });
        });
    }
}
