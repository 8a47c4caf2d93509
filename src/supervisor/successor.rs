//! USR2: the same command again as a second master on the same sockets. The two serve side by side until
//! the operator stops one of them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;

use super::sockets::{HANDOVER, Sockets};
use crate::sys::descriptors;

/// The descriptor by which a new master learns that the old one is gone.
const PREDECESSOR: &str = "RUSTWSGI_PREDECESSOR";
/// What one master tells another; no business of the application's.
pub(super) const VARIABLES: [&str; 2] = [HANDOVER, PREDECESSOR];

/// A master that this one has started.
pub(super) struct Successor {
    process: Child,
    /// Closed when this process ends, which tells the other.
    _lifeline: OwnedFd,
}

impl Successor {
    /// Starts it, with the sockets and a pipe that ends when this process does.
    ///
    /// # Errors
    /// As the system does.
    pub(super) fn start(sockets: &Sockets) -> std::io::Result<Successor> {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::fcntl_setfd(&reader, FdFlags::empty())?;
        let fds = sockets.duplicates()?;
        let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let mut arguments = std::env::args_os();
        let program = arguments.next().unwrap_or_else(|| "/proc/self/exe".into());
        let process = Command::new(program)
            .args(arguments)
            .env(HANDOVER, sockets.handover(&numbers))
            .env(PREDECESSOR, reader.as_raw_fd().to_string())
            .spawn()?;
        Ok(Successor { process, _lifeline: writer })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// How it has ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }
}

/// The master that has started this one.
pub(super) struct Predecessor {
    /// Ends when it does.
    lifeline: OwnedFd,
    pid: u32,
}

impl Predecessor {
    /// None, if this process was not started by another master.
    pub(super) fn of_this_process() -> Option<Predecessor> {
        let fd: i32 = std::env::var(PREDECESSOR).ok()?.parse().ok().filter(|&fd| fd >= 3)?;
        // Only the variable that names it makes it known. A number that is no descriptor is an error.
        let lifeline = descriptors::adopt(fd).ok()?;
        // Not for the workers' children.
        let kept = rustix::io::fcntl_setfd(&lifeline, FdFlags::CLOEXEC);
        let pid = std::os::unix::process::parent_id();
        kept.is_ok().then_some(Predecessor { lifeline, pid })
    }

    pub(super) fn id(&self) -> u32 {
        self.pid
    }

    /// Readable once it is gone.
    pub(super) fn lifeline(&self) -> BorrowedFd<'_> {
        self.lifeline.as_fd()
    }

    pub(super) fn has_ended(&self) -> bool {
        let mut watched = [PollFd::new(&self.lifeline, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut watched, Some(&now)).is_ok_and(|count| count > 0)
    }
}
