//! The file that says which process is the master, for scripts that send it signals.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

use crate::observe;

/// A file that holds this process's number.
#[derive(Debug)]
pub(super) struct Pidfile {
    /// Absolute, as the directory may change.
    path: PathBuf,
}

impl Pidfile {
    /// Creates the file.
    ///
    /// # Errors
    /// If it names another process that lives, or cannot be written.
    pub(super) fn create(path: &Path) -> Result<Pidfile> {
        let path = std::path::absolute(path)?;
        refuse_anothers(&path, std::process::id())?;
        let file = Pidfile { path };
        file.write().map_err(bare).map_err(|error| {
            let advice = observe::remedy(&error);
            let path = file.path.display();
            anyhow!("--pid: cannot write {path}; {advice}: {error}")
        })?;
        Ok(file)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Written aside and renamed, so that nobody reads half a number.
    fn write(&self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let mut aside = tempfile::NamedTempFile::new_in(directory)?;
        writeln!(aside, "{}", std::process::id())?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        aside.as_file().set_permissions(mode)?;
        aside.persist(&self.path)?;
        Ok(())
    }

    /// Takes another name, as the master that had it, `old`, is gone.
    ///
    /// # Errors
    /// If that file names a third process that lives, or the system fails.
    pub(super) fn rename(&mut self, path: &Path, old: u32) -> Result<()> {
        let path = std::path::absolute(path)?;
        refuse_anothers(&path, old)?;
        fs::rename(&self.path, &path)?;
        self.path = path;
        Ok(())
    }

    /// Whether another process, that has a pid file of the second name beside this one, will rename it to
    /// this one.
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

/// The system's own error, without the name that the file had before it was renamed.
fn bare(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.source()?.downcast_ref::<io::Error>());
    inner.and_then(io::Error::raw_os_error).map_or(error, io::Error::from_raw_os_error)
}

/// `app.pid` becomes `app.pid.2`, as gunicorn has it: the pid file of a master that was started by
/// another one and has not replaced it yet.
pub(super) fn second(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".2");
    name.into()
}

/// An error if the file names a process that lives and is neither this one nor `known`.
fn refuse_anothers(path: &Path, known: u32) -> Result<()> {
    match read(path) {
        Some(pid) if ![std::process::id(), known].contains(&pid) && is_alive(pid) => bail!(
            "the pid file {} names process {pid}, which is running: stop it, or choose another --pid",
            path.display()
        ),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| {
        !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::write(&path, "99999999\n").unwrap();
        let file = Pidfile::create(&path).unwrap();
        assert_eq!(read(&path), Some(std::process::id()));
        file.remove();
        assert!(!path.exists());

        // Process 1 always lives.
        fs::write(&path, "1\n").unwrap();
        let error = Pidfile::create(&path).unwrap_err().to_string();
        assert!(error.contains("process 1, which is running"), "{error}");
        file.remove();
        assert!(path.exists(), "another's file stays");
    }

    #[test]
    fn the_second_name() {
        assert_eq!(second(Path::new("/run/a.pid")), Path::new("/run/a.pid.2"));
    }
}
