//! USR2: runs the same command again as a new master on the same sockets. Both masters serve until
//! the operator stops one of them.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, ExitStatus};

use log::debug;
use rustix::io::FdFlags;

use super::sockets::{
    INHERITED_CONTROL, INHERITED_METRICS, INHERITED_SOCKETS, Sockets, inherited_files,
};
use crate::config::{self, Bind};
use crate::net::SocketFile;
use crate::sys::{descriptors, sigpipe};

/// The variable that names a descriptor, which the new master finds at its end when the old master
/// exits. Before that comes what the old one passes on.
const PREDECESSOR: &str = "RUSTWSGI_PREDECESSOR";
/// Bytes that are read of what the old master passes on.
const MAX_PASSED: usize = 60_000;
/// The variables from one master to the next, which are not for the application.
pub(super) const VARIABLES: [&str; 4] =
    [INHERITED_SOCKETS, INHERITED_METRICS, INHERITED_CONTROL, PREDECESSOR];

/// The new master that this one has started.
pub(super) struct Successor {
    process: Child,
    /// Closed when this process exits, which the new master notices.
    lifeline: File,
    /// The sockets of the application that it has got. They stay open here, also if a reload drops
    /// them, so that their files stay for the new master.
    passed: Sockets,
}

impl Successor {
    /// Starts it with sockets of the application and of the master, each set of which has its
    /// variable, and with a pipe that is closed when this process exits.
    ///
    /// # Errors
    /// As the system does.
    pub(super) fn start<'a>(
        sockets: &'a Sockets,
        of_master: impl Iterator<Item = (&'static str, &'a Sockets)>,
    ) -> std::io::Result<Successor> {
        let (reader, writer) = std::io::pipe()?;
        rustix::io::fcntl_setfd(&reader, FdFlags::empty())?;
        let mut arguments = std::env::args_os();
        let program = arguments.next().unwrap_or_else(|| "/proc/self/exe".into());
        let mut command = Command::new(program);
        command.args(arguments).env(PREDECESSOR, reader.as_raw_fd().to_string());
        if let Some(options) = config::kept_integration() {
            command.env(config::INTEGRATION_VARIABLE, options);
        }
        let mut open: Vec<OwnedFd> = Vec::new();
        for (variable, sockets) in of_master.chain([(INHERITED_SOCKETS, sockets)]) {
            let fds = sockets.inheritable_duplicates()?;
            let numbers: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
            command.env(variable, sockets.encode_for_successor(&numbers));
            open.extend(fds);
        }
        let process = command.spawn()?;
        let mut passed = Sockets::default();
        passed.keep(sockets);
        Ok(Successor { process, lifeline: File::from(OwnedFd::from(writer)), passed })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Passes something on, right before this process exits. It has to fit into a pipe, which is
    /// empty: 64 KiB on Linux. A new master that has exited takes nothing.
    pub(super) fn pass_on(&mut self, text: &str) {
        debug_assert!(text.len() < MAX_PASSED);
        let _ = sigpipe::suppressed(|| self.lifeline.write_all(text.as_bytes()));
    }

    /// Its exit status, once it has exited.
    pub(super) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// The sockets of the application that it has got.
    pub(super) fn passed(&self) -> &Sockets {
        &self.passed
    }

    /// Leaves these sockets to it, as this process ends.
    pub(super) fn leave_sockets(&self) {
        self.passed.disown();
    }

    /// The same, and closes them here: those that it does not use refuse clients as soon as no
    /// worker accepts them any more.
    pub(super) fn close_sockets(&mut self) {
        std::mem::take(&mut self.passed).disown();
    }

    /// It has exited. Its sockets are closed, and their files removed, unless this process uses
    /// them.
    pub(super) fn end(self) {
        self.passed.reclaim();
    }
}

/// The old master, which has started this one.
pub(super) struct Predecessor {
    /// Closed when it exits.
    lifeline: File,
    pid: u32,
    /// What it has passed on.
    passed: Vec<u8>,
    /// The files of its unix sockets.
    socket_files: Vec<SocketFile>,
}

impl Predecessor {
    /// `None` if this process was not started by another master.
    pub(super) fn of_this_process() -> Option<Predecessor> {
        let fd: i32 = std::env::var(PREDECESSOR).ok()?.parse().ok().filter(|&fd| fd >= 3)?;
        // No other code knows the number. It may name no open descriptor.
        let lifeline = descriptors::adopt(fd).ok()?;
        // Commands that the application runs must not inherit it.
        let kept = rustix::io::fcntl_setfd(&lifeline, FdFlags::CLOEXEC);
        let kept = kept.and_then(|()| rustix::io::ioctl_fionbio(&lifeline, true));
        let pid = std::os::unix::process::parent_id();
        let (lifeline, passed) = (File::from(lifeline), Vec::new());
        let socket_files = inherited_files();
        kept.is_ok().then_some(Predecessor { lifeline, pid, passed, socket_files })
    }

    pub(super) fn id(&self) -> u32 {
        self.pid
    }

    /// Readable once it has exited, or passes something on right before.
    pub(super) fn lifeline(&self) -> BorrowedFd<'_> {
        self.lifeline.as_fd()
    }

    pub(super) fn has_exited(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match self.lifeline.read(&mut buffer) {
                Ok(0) => return true,
                Ok(count) => {
                    let free = MAX_PASSED.saturating_sub(self.passed.len());
                    self.passed.extend_from_slice(&buffer[..count.min(free)]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    /// It has exited: removes the files of its unix sockets that this master does not use, as it
    /// has left them to this one.
    pub(super) fn remove_unused_sockets(&self, used: &Sockets) {
        let is_used = |file: &&SocketFile| used.has(&Bind::Unix(file.path().to_owned()));
        for file in self.socket_files.iter().filter(|file| !is_used(file)) {
            if let Err(error) = file.remove_if_stale() {
                debug!("Cannot remove the old socket {}: {error}", file.path().display());
            }
        }
    }

    /// What it has passed on.
    pub(super) fn into_passed(self) -> Vec<u8> {
        self.passed
    }
}
