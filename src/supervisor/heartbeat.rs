//! A worker's heartbeat: a file without a name whose time of change it sets every second, as gunicorn does.
//! The master looks at it rarely, and nobody wakes anybody.
//!
//! It is the main thread that beats, and only with the interpreter in hand. So it stops when any thread
//! keeps the interpreter to itself, in a C function that never returns: what no exception can end.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant, SystemTime};

/// The file, and when time began.
#[derive(Debug)]
pub(super) struct Heartbeat {
    file: File,
    /// The file's times count from here, by the clock that nobody sets. A fork keeps it.
    start: Instant,
}

impl Heartbeat {
    pub(super) fn new() -> io::Result<Heartbeat> {
        let heartbeat = Heartbeat { file: nameless()?, start: Instant::now() };
        heartbeat.beat();
        Ok(heartbeat)
    }

    /// The worker lives.
    pub(super) fn beat(&self) {
        // A failure shows as silence, which is how it is dealt with.
        let _ = self.file.set_modified(SystemTime::UNIX_EPOCH + self.start.elapsed());
    }

    /// When it last said so.
    pub(super) fn last(&self) -> Instant {
        let modified = self.file.metadata().and_then(|meta| meta.modified());
        let since = modified.ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        self.start + since.unwrap_or_default()
    }

    pub(super) fn age(&self) -> Duration {
        self.last().elapsed()
    }
}

#[cfg(target_os = "linux")]
fn nameless() -> io::Result<File> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    Ok(rustix::fs::memfd_create(c"rustwsgi-heartbeat", flags).map(File::from)?)
}

#[cfg(not(target_os = "linux"))]
fn nameless() -> io::Result<File> {
    tempfile::tempfile()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_seen() {
        let mut heartbeat = Heartbeat::new().unwrap();
        heartbeat.start -= Duration::from_secs(100);
        assert!(heartbeat.age() >= Duration::from_secs(99));
        heartbeat.beat();
        assert!(heartbeat.age() < Duration::from_secs(50));
    }
}
