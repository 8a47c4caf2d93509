//! Watches the files of the application (`--reload`), in a thread of its own, and asks the master
//! for a reload when one has changed.
//!
//! The kernel notifies about changes in directories. A notification only causes a look at the
//! files, which is repeated once a second in any case: file systems that a container or a virtual
//! machine shares send none.

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use std::{io, thread};

use log::{info, warn};
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use pyo3::prelude::*;

use super::messages::FromWorker;
use super::sources::{Sources, Stamp};
use crate::sys::signals::without_signals;

/// How often files are looked at without a notification.
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// How long the master has to end a worker whose code is outdated before it serves.
const TIME_TO_END: Duration = Duration::from_millis(500);

/// What the thread receives.
enum Message {
    /// A notification about these paths.
    Notified(Vec<PathBuf>),
    /// Files and directories that the application has come to use.
    Found(Found),
    End,
}

/// Files as they were read, and directories.
#[derive(Debug, Default)]
struct Found {
    files: Vec<(PathBuf, Option<Stamp>)>,
    directories: Vec<PathBuf>,
}

/// What is known before the application is imported.
pub(super) struct Preparation {
    /// `rustwsgi._reload.Sources`, which knows the files of the application.
    finder: Py<PyAny>,
    sources: Sources,
}

impl Preparation {
    /// Begins to record what is imported.
    pub(super) fn new(py: Python<'_>) -> PyResult<Preparation> {
        let finder = py.import("rustwsgi._reload")?.call_method0("Sources")?.unbind();
        Ok(Preparation { finder, sources: Sources::default() })
    }

    /// Makes an application that shows why the real one failed to load. Also watches files that may
    /// correct it.
    pub(super) fn error_page(&mut self, py: Python<'_>, text: &str) -> PyResult<Py<PyAny>> {
        type Page = (Py<PyAny>, Vec<PathBuf>, Vec<PathBuf>);
        let module = py.import("rustwsgi._reload")?;
        let (app, files, patterns): Page =
            module.call_method1("error_application", (text,))?.extract()?;
        files.into_iter().for_each(|path| self.sources.add_file(path, None));
        patterns.iter().for_each(|pattern| self.sources.add_pattern(pattern));
        Ok(app)
    }

    /// Starts to watch the application, and the paths of `--reload-extra-file`.
    ///
    /// # Errors
    /// What Python raises or the system refuses.
    pub(super) fn start(
        mut self,
        py: Python<'_>,
        app: &Py<PyAny>,
        named: Vec<PathBuf>,
        to_master: &UnixStream,
    ) -> PyResult<SourceWatch> {
        let directory = std::env::current_dir()?;
        named.into_iter().for_each(|path| self.sources.add_named(directory.join(path)));
        let finder = self.finder.bind(py);
        finder.call_method1("set_app", (app,))?;
        find(finder)?.add_to(&mut self.sources);
        if let Some(path) = self.sources.take_change() {
            report(to_master, &path);
            // The master ends a worker that has not served yet with SIGTERM.
            py.detach(|| thread::sleep(TIME_TO_END));
        }
        Ok(SourceWatch::start(self.finder, self.sources, to_master)?)
    }
}

/// The watch as the worker's loop sees it. The thread ends when it is dropped.
pub(super) struct SourceWatch {
    finder: Py<PyAny>,
    thread: Sender<Message>,
}

impl SourceWatch {
    fn start(
        finder: Py<PyAny>,
        sources: Sources,
        to_master: &UnixStream,
    ) -> io::Result<SourceWatch> {
        let to_master = to_master.try_clone()?;
        let (thread, messages) = channel();
        let notifications = thread.clone();
        let builder = thread::Builder::new().name("rustwsgi-reload".into());
        // The thread of `notify` inherits the mask.
        without_signals(|| {
            builder.spawn(move || Watch::new(sources, to_master, notifications).run(&messages))
        })?;
        Ok(SourceWatch { finder, thread })
    }

    /// Also watches what the application has imported meanwhile.
    pub(super) fn update(&self, py: Python<'_>) -> PyResult<()> {
        let found = find(self.finder.bind(py))?;
        if !found.files.is_empty() || !found.directories.is_empty() {
            // Fails only if the thread has ended.
            let _ = self.thread.send(Message::Found(found));
        }
        Ok(())
    }
}

impl Drop for SourceWatch {
    fn drop(&mut self) {
        let _ = self.thread.send(Message::End);
    }
}

/// The files and directories that the finder has not returned before.
fn find(finder: &Bound<'_, PyAny>) -> PyResult<Found> {
    type Files = Vec<(PathBuf, Option<(i128, u64)>)>;
    let (files, directories): (Files, Vec<PathBuf>) = finder.call_method0("new")?.extract()?;
    let stamp = |(modified_ns, size)| Stamp { modified_ns, size };
    let files = files.into_iter().map(|(path, read)| (path, read.map(stamp))).collect();
    Ok(Found { files, directories })
}

impl Found {
    fn add_to(self, sources: &mut Sources) {
        for (path, read) in self.files {
            sources.add_file(path, read);
        }
        self.directories.into_iter().for_each(|directory| sources.add_directory(directory));
    }
}

/// The state of the thread.
struct Watch {
    sources: Sources,
    to_master: UnixStream,
    /// `None` if the system refuses notifications.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
    has_warned: bool,
}

impl Watch {
    fn new(sources: Sources, to_master: UnixStream, notifications: Sender<Message>) -> Watch {
        let notify = move |event: notify::Result<notify::Event>| {
            // Without an event, the kernel's queue has overflowed.
            let paths = event.map_or_else(
                |_| Vec::new(),
                |event| match event.kind {
                    EventKind::Access(AccessKind::Close(AccessMode::Write)) => event.paths,
                    EventKind::Access(_) => Vec::new(),
                    _ => event.paths,
                },
            );
            if !paths.is_empty() {
                let _ = notifications.send(Message::Notified(paths));
            }
        };
        let mut watch = Watch {
            sources,
            to_master,
            watcher: None,
            watched: BTreeSet::new(),
            has_warned: false,
        };
        match notify::recommended_watcher(notify) {
            Ok(watcher) => watch.watcher = Some(watcher),
            Err(failure) => watch.warn(&"changes", &failure),
        }
        watch
    }

    fn run(mut self, messages: &Receiver<Message>) {
        loop {
            self.watch_directories();
            // After the directories: a change before is not notified.
            if let Some(path) = self.sources.take_change() {
                report(&self.to_master, &path);
            }
            if !self.wait(messages) {
                return;
            }
        }
    }

    /// Waits until it is time to look at the files; false if the watch ends.
    fn wait(&mut self, messages: &Receiver<Message>) -> bool {
        let due = Instant::now() + SCAN_INTERVAL;
        loop {
            match messages.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Message::Found(found)) => {
                    found.add_to(&mut self.sources);
                    return true;
                }
                Ok(Message::Notified(paths)) => {
                    if paths.iter().any(|path| self.sources.concern(path)) {
                        return true;
                    }
                }
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    /// Asks for notifications of new directories.
    fn watch_directories(&mut self) {
        let directories = self.sources.directories();
        let new = directories.into_iter().filter(|path| !self.watched.contains(*path));
        let new: Vec<PathBuf> = new.map(Path::to_path_buf).collect();
        for path in new {
            let Some(watcher) = &mut self.watcher else { return };
            if let Err(failure) = watcher.watch(&path, RecursiveMode::NonRecursive)
                && path.exists()
            {
                self.warn(&path.display(), &failure);
            }
            self.watched.insert(path);
        }
    }

    fn warn(&mut self, what: &dyn std::fmt::Display, failure: &notify::Error) {
        if !std::mem::replace(&mut self.has_warned, true) {
            warn!(
                target: "reload.not_notified",
                "The system does not notify about {what}, looking for changes once a second \
                 instead: {failure}"
            );
        }
    }
}

/// Asks the master for a reload.
fn report(to_master: &UnixStream, path: &Path) {
    info!(
        target: "reload.source_changed",
        "{} has changed: requesting a reload",
        path.display()
    );
    // Fails only if the master has exited, which the worker's loop handles.
    let _ = FromWorker::SourceChanged.send(to_master);
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Changes a file that is watched, and waits until the master gets the report.
    fn change_is_reported(has_notifications: bool) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.py");
        std::fs::write(&path, "one").unwrap();
        let mut sources = Sources::default();
        sources.add_file(path.clone(), None);
        let (mut master, worker) = UnixStream::pair().unwrap();
        let (sender, messages) = channel();
        let mut watch = Watch::new(sources, worker, sender.clone());
        watch.watcher.take_if(|_| !has_notifications);
        let thread = thread::spawn(move || watch.run(&messages));
        std::fs::write(&path, "changed").unwrap();
        let mut report = [0];
        master.read_exact(&mut report).unwrap();
        assert_eq!(&report, b"~");
        sender.send(Message::End).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn change_is_reported_to_the_master() {
        change_is_reported(true);
    }

    #[test]
    fn change_without_notification_is_reported_too() {
        change_is_reported(false);
    }
}
