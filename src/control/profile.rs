//! `rustwsgi ctl profile`: profiles of workers, joined, as a flame graph and in other formats.

mod joined;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) use joined::Format;
use joined::Joined;

use super::client::{Failure, Server};
use super::inspection::ProfileReport;
use super::protocol::Command;
use super::table::printable;
use super::workers::{self, Timeout};

/// What to profile.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ProfileArguments {
    pub(super) length: Duration,
    /// All of them if it is `None`.
    pub(super) worker: Option<i32>,
    /// Where to write it; a table is printed otherwise.
    pub(super) output: Option<PathBuf>,
}

/// Profiles workers. Returns the text to print.
///
/// # Errors
/// If none of the workers answers, or the file cannot be written. If some do not answer, the
/// profile of the others is written.
pub(super) fn profile(
    server: &Server,
    arguments: &ProfileArguments,
    timeout: Timeout,
    json: bool,
) -> Result<String, Failure> {
    let ProfileArguments { length, worker, output } = arguments;
    let pids = workers::pids(server, *worker, timeout)?;
    // Before the profile, which takes long.
    let target = output.as_deref().map(Target::open).transpose()?;
    let seconds = length.as_secs_f64();
    let reports = workers::ask_all::<ProfileReport>(server, &pids, timeout, |worker| {
        Command::Profile { worker, seconds }
    });
    let mut joined = Joined::default();
    let mut notes = Vec::new();
    for (pid, report) in &reports {
        let Ok(report) = report else { continue };
        joined.add(report)?;
        if let Some(note) = &report.note {
            notes.push(format!("Worker {pid}: {}", printable(note)));
        }
    }
    let answered = reports.iter().any(|(_, report)| report.is_ok());
    let text = match target {
        _ if !answered => String::new(),
        Some(target) => with_notes(target.write(&joined)?, &notes),
        None if json => joined.summary(&notes).to_string(),
        None => with_notes(joined.table(), &notes),
    };
    workers::with_failures(text, &reports)
}

fn with_notes(text: String, notes: &[String]) -> String {
    notes.iter().fold(text, |text, note| text + note + "\n")
}

/// The file of a profile.
struct Target {
    path: PathBuf,
    file: File,
    format: Format,
    /// It is removed if the profile fails.
    is_new: bool,
}

impl Target {
    fn open(path: &Path) -> Result<Target, Failure> {
        let format = Format::of(path).map_err(Failure::Refused)?;
        let cannot = |error: io::Error| {
            Failure::Refused(format!("cannot write {}: {error}", path.display()))
        };
        let is_new = !path.exists();
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        Ok(Target { path: path.to_owned(), file: file.map_err(cannot)?, format, is_new })
    }

    fn write(mut self, profile: &Joined) -> Result<String, Failure> {
        let written = profile.render(self.format).and_then(|bytes| {
            // Fails for what is no file, such as /dev/stdout.
            let _ = self.file.set_len(0);
            self.file.write_all(&bytes)
        });
        written.map_err(|error| {
            Failure::Refused(format!("cannot write {}: {error}", self.path.display()))
        })?;
        self.is_new = false;
        Ok(format!("Wrote {}: {}\n", self.path.display(), profile.described()))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.is_new {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
