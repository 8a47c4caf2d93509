//! The pid file, which names the process to send signals to.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use rustix::fs::{Mode, OFlags};

use crate::observe;

/// More bytes than a pid file has.
const MAX_PIDFILE_BYTES: u64 = 64;

/// A file that contains the pid of this process.
#[derive(Debug)]
pub(super) struct Pidfile {
    /// Absolute, because the working directory may change.
    path: PathBuf,
}

impl Pidfile {
    /// Creates the file.
    ///
    /// # Errors
    /// If it names another process that is running, or cannot be written.
    pub(super) fn create(path: &Path) -> Result<Pidfile> {
        let path = std::path::absolute(path)?;
        refuse_if_taken(&path, std::process::id())?;
        let file = Pidfile { path };
        file.write().map_err(|error| {
            let advice = observe::remedy(&error);
            let path = file.path.display();
            anyhow!("--pid: cannot write {path}; {advice}: {error}")
        })?;
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a temporary file and renames it, so that no reader sees half a number.
    fn write(&self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        // Opened here, as the crate would add the temporary name to an error.
        let open = |path: &Path| fs::OpenOptions::new().write(true).create_new(true).open(path);
        let mut temporary = tempfile::Builder::new().make_in(directory, open)?;
        writeln!(temporary, "{}", std::process::id())?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        temporary.as_file().set_permissions(mode)?;
        temporary.persist(&self.path)?;
        Ok(())
    }

    /// Renames the file to `path`, which belonged to the master `old` that has exited.
    ///
    /// # Errors
    /// If the file there names a third process that is running, or the system refuses.
    pub(super) fn rename(&mut self, path: &Path, old: u32) -> Result<()> {
        let path = std::path::absolute(path)?;
        refuse_if_taken(&path, old)?;
        fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }

    /// Whether the new master `pid` has the second pid file, which it renames to this one when this
    /// process exits.
    pub(super) fn is_awaited_by(&self, pid: u32) -> bool {
        read(&second(&self.path)) == Some(pid)
    }

    /// Removes the file, if it still names this process.
    pub(super) fn remove(&self) {
        if read(&self.path) == Some(std::process::id()) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// `app.pid.2` for `app.pid`, as in gunicorn: the pid file of a new master while the old one runs.
pub(super) fn second(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".2");
    name.into()
}

/// Fails if the file names a running process other than this one and `known`.
fn refuse_if_taken(path: &Path, known: u32) -> Result<()> {
    match read(path) {
        Some(pid) if ![std::process::id(), known].contains(&pid) && is_running(pid) => bail!(
            "the pid file {} names process {pid}, which is running: stop it, or choose another \
             --pid",
            path.display()
        ),
        _ => Ok(()),
    }
}

/// The pid in a file. A user who can write to the directory may have put something else there: so
/// links are not followed, a named pipe does not block, and the read is bounded.
fn read(path: &Path) -> Option<u32> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let file = File::from(file);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(MAX_PIDFILE_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn is_running(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| {
        !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_file_is_replaced_and_file_of_running_process_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::write(&path, "99999999\n").unwrap();
        let file = Pidfile::create(&path).unwrap();
        assert_eq!(read(&path), Some(std::process::id()));
        file.remove();
        assert!(!path.exists());

        // Process 1 always runs.
        fs::write(&path, "1\n").unwrap();
        let error = Pidfile::create(&path).unwrap_err().to_string();
        assert!(error.contains("process 1, which is running"), "{error}");
        file.remove();
        assert!(path.exists(), "the file of another process stays");
    }

    #[test]
    fn link_pipe_and_long_file_have_no_pid() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link, pipe] = ["file", "link", "pipe"].map(|name| dir.path().join(name));
        fs::write(&file, "1\n").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RWXU).unwrap();
        assert_eq!(read(&file), Some(1));
        assert_eq!(read(&link), None);
        assert_eq!(read(&pipe), None, "and it does not block");
        assert_eq!(read(Path::new("/dev/zero")), None);
        fs::write(&file, " ".repeat(100) + "1").unwrap();
        assert_eq!(read(&file), None);
    }

    #[test]
    fn error_does_not_name_the_temporary_file() {
        let error = Pidfile::create(Path::new("/nonexistent/p")).unwrap_err().to_string();
        let end = "or name another file: No such file or directory (os error 2)";
        assert!(error.starts_with("--pid: cannot write /nonexistent/p; "), "{error}");
        assert!(error.ends_with(end), "{error}");
    }

    #[test]
    fn second_name_is_that_of_gunicorn() {
        assert_eq!(second(Path::new("/run/a.pid")), Path::new("/run/a.pid.2"));
    }
}
