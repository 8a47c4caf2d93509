//! USR2: runs the same command again as a new master on the same sockets. Both masters serve until
//! the operator stops one of them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;

use super::sockets::{INHERITED_SOCKETS, Sockets};
use crate::sys::descriptors;

/// The variable that names a descriptor, which the new master finds at its end when the old master
/// exits.
const PREDECESSOR: &str = "RUSTWSGI_PREDECESSOR";
/// The variables from one master to the next, which are not for the application.
pub(super) const VARIABLES: [&str; 2] = [INHERITED_SOCKETS, PREDECESSOR];

/// The new master that this one has started.
pub(super) struct Successor {
    process: Child,
    /// Closed when this process exits, which the new master notices.
    _lifeline: OwnedFd,
}

impl Successor {
    /// Starts it with the sockets, and with a pipe that is closed when this process exits.
    ///
    /// # Errors
    /// As the system does.
    pub(super) fn start(sockets: &Sockets) -> std::io::Result<Successor> {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::fcntl_setfd(&reader, FdFlags::empty())?;
        let fds = sockets.inheritable_duplicates()?;
        let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let mut arguments = std::env::args_os();
        let program = arguments.next().unwrap_or_else(|| "/proc/self/exe".into());
        let process = Command::new(program)
            .args(arguments)
            .env(INHERITED_SOCKETS, sockets.encode_for_successor(&numbers))
            .env(PREDECESSOR, reader.as_raw_fd().to_string())
            .spawn()?;
        Ok(Successor { process, _lifeline: writer })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its exit status, once it has exited.
    pub(super) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }
}

/// The old master, which has started this one.
pub(super) struct Predecessor {
    /// Closed when it exits.
    lifeline: OwnedFd,
    pid: u32,
}

impl Predecessor {
    /// `None` if this process was not started by another master.
    pub(super) fn of_this_process() -> Option<Predecessor> {
        let fd: i32 = std::env::var(PREDECESSOR).ok()?.parse().ok().filter(|&fd| fd >= 3)?;
        // No other code knows the number. It may name no open descriptor.
        let lifeline = descriptors::adopt(fd).ok()?;
        // Commands that the application runs must not inherit it.
        let kept = rustix::io::fcntl_setfd(&lifeline, FdFlags::CLOEXEC);
        let pid = std::os::unix::process::parent_id();
        kept.is_ok().then_some(Predecessor { lifeline, pid })
    }

    pub(super) fn id(&self) -> u32 {
        self.pid
    }

    /// Readable once it has exited.
    pub(super) fn lifeline(&self) -> BorrowedFd<'_> {
        self.lifeline.as_fd()
    }

    pub(super) fn has_exited(&self) -> bool {
        let mut watched = [PollFd::new(&self.lifeline, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut watched, Some(&now)).is_ok_and(|count| count > 0)
    }
}
