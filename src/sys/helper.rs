//! A child process that runs code of this server, and no Python: a fork without an exec.
//!
//! The parent may have any number of threads. Locks that another thread held during the fork stay
//! locked in the child, so the code must not use what threads of the parent share: the log is
//! switched off for it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::confine::confine;
use super::process::exit_immediately;
use super::signals::{Blocked, ignore, set_default_action};

/// The exit code of a child whose code has panicked.
const PANICKED: i32 = 101;
/// The signals that have a number on all systems; signals above keep their default action, because
/// neither Python nor this server sets another one.
const LAST_SIGNAL: i32 = 31;
/// The signals of the master that a terminal, or an operator who names the program, sends to all
/// its processes. The master ends the child itself if they end the server.
const IGNORED: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGWINCH,
];

/// How many numbers are tried if the system does not list the open descriptors.
const MAX_DESCRIPTOR: RawFd = 4096;

/// A running child.
#[derive(Debug)]
pub(crate) struct Helper {
    /// To be reaped by the parent.
    pub(crate) pid: i32,
    /// What the child writes. It ends when the child has exited.
    pub(crate) output: File,
}

/// Forks a child that runs `code`, which writes its result to the file, and then exits. The child
/// keeps the standard streams and the descriptors `kept` open, and no other; it may change the
/// files below `writable`, and no others (see [`confine`](mod@super::confine)).
///
/// # Errors
/// As pipe(2) and fork(2).
pub(crate) fn start(
    kept: &[BorrowedFd<'_>],
    writable: &Path,
    code: impl FnOnce(&mut File),
) -> io::Result<Helper> {
    let (output, input) = io::pipe()?;
    rustix::io::ioctl_fionbio(&output, true)?;
    let parent = std::process::id();
    #[cfg(test)]
    let (_other_tests, (mut closed, closing)) = (super::fork_free::before_fork(), io::pipe()?);
    // A signal to the child before its handlers are reset would reach the parent instead.
    let blocked = Blocked::all();
    // SAFETY: the child runs only the code below, which does not return, and uses no lock that
    // another thread may hold: the allocator's are handled by the C library.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            reset_signals();
            drop(blocked);
            end_with_parent(parent);
            log::set_max_level(log::LevelFilter::Off);
            let kept = kept.iter().map(AsRawFd::as_raw_fd).chain([input.as_raw_fd()]);
            close_others(&kept.collect::<Vec<_>>());
            confine(writable);
            let mut input = File::from(OwnedFd::from(input));
            let ended = catch_unwind(AssertUnwindSafe(|| code(&mut input)));
            exit_immediately(if ended.is_ok() { 0 } else { PANICKED })
        }
        pid => {
            #[cfg(test)]
            {
                // Until the child has closed the descriptors of other tests.
                drop(closing);
                io::copy(&mut closed, &mut io::sink())?;
            }
            Ok(Helper { pid, output: File::from(OwnedFd::from(output)) })
        }
    }
}

impl AsFd for Helper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }
}

/// Python's handlers would write to a descriptor that is closed, and may belong to another file.
/// SIGPIPE stays ignored.
fn reset_signals() {
    let fixed = [libc::SIGPIPE, libc::SIGKILL, libc::SIGSTOP];
    (1..=LAST_SIGNAL).filter(|number| !fixed.contains(number)).for_each(set_default_action);
    IGNORED.into_iter().for_each(ignore);
}

/// Ends the child when the parent exits, where the system can do that.
fn end_with_parent(parent: u32) {
    #[cfg(target_os = "linux")]
    {
        let _ =
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
        if std::os::unix::process::parent_id() != parent {
            exit_immediately(0);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
}

/// Closes what belongs to the parent: a copy of a channel would hide from its other end that the
/// parent has exited, and a copy of a listening socket would keep it open.
fn close_others(kept: &[RawFd]) {
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let open: Vec<RawFd> = match std::fs::read_dir("/dev/fd") {
        Ok(directory) => directory.flatten().filter_map(number).collect(),
        // Without /proc: more than a master has.
        Err(_) => (0..MAX_DESCRIPTOR).collect(),
    };
    for fd in open.into_iter().filter(|fd| *fd > 2 && !kept.contains(fd)) {
        // SAFETY: the owners are values of the parent, which are not used nor dropped in the child.
        // That of the directory above is closed already, which close(2) reports.
        unsafe { libc::close(fd) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process::try_wait;
    use std::io::{Read as _, Write as _};
    use std::time::Duration;

    fn output_of(code: impl FnOnce(&mut File)) -> (String, Option<i32>) {
        output_below(Path::new("/nonexistent"), code)
    }

    fn output_below(writable: &Path, code: impl FnOnce(&mut File)) -> (String, Option<i32>) {
        let mut helper = start(&[], writable, code).unwrap();
        rustix::io::ioctl_fionbio(&helper.output, false).unwrap();
        let mut output = String::new();
        helper.output.read_to_string(&mut output).unwrap();
        let status = loop {
            match try_wait(helper.pid) {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        (output, status.code())
    }

    #[test]
    fn child_writes_its_result_and_holds_no_other_descriptor() {
        let file = tempfile::tempfile().unwrap();
        let fd = file.as_raw_fd();
        let (output, code) = output_of(|out| {
            let is_open = rustix::io::fcntl_getfd(&file).is_ok();
            write!(out, "{is_open}").unwrap();
            std::mem::forget(file);
        });
        assert_eq!((output.as_str(), code), ("false", Some(0)), "{fd}");
    }

    #[test]
    fn child_that_panics_exits_with_a_code_of_its_own() {
        let (output, code) = output_of(|_| std::panic::resume_unwind(Box::new(())));
        assert_eq!((output.as_str(), code), ("", Some(PANICKED)));
    }

    #[test]
    fn signals_to_all_processes_of_the_server_do_not_end_the_child() {
        let (output, code) = output_of(|out| {
            for signal in IGNORED {
                // SAFETY: raise(3) is given a valid number.
                unsafe { libc::raise(signal) };
            }
            write!(out, "alive").unwrap();
        });
        assert_eq!((output.as_str(), code), ("alive", Some(0)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn child_changes_files_only_below_its_directory() {
        use landlock::{AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
        use rustix::thread::{CapabilitySet, capabilities};

        let inside = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let known = outside.path().join("known");
        std::fs::write(&known, "kept").unwrap();
        let (output, code) = output_below(inside.path(), |out| {
            let new = tempfile::Builder::new().tempfile_in(inside.path()).unwrap();
            new.persist(inside.path().join("replaced")).unwrap();
            let kept = capabilities(None).unwrap().permitted;
            let is_confined = std::fs::write(&known, "changed").is_err()
                && std::fs::write(outside.path().join("new"), "").is_err()
                && std::fs::remove_file(&known).is_err()
                && std::process::Command::new("/bin/sh").arg("-c").arg(":").status().is_err();
            let has_no_rights = (kept - CapabilitySet::DAC_READ_SEARCH).is_empty();
            write!(out, "{is_confined} {has_no_rights}").unwrap();
        });
        let required = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let is_supported = required.handle_access(AccessFs::Execute).is_ok();
        assert_eq!((output, code), (format!("{is_supported} true"), Some(0)));
        assert!(inside.path().join("replaced").exists());
    }
}
