//! Takes the listening sockets away from a process that the application forks.
//!
//! Such a child may outlive the server. As long as it holds a listening socket, the kernel
//! completes handshakes that no process answers, and no other server can bind the address.
//! Close-on-exec does not help: the child may never call exec.

use std::fs::File;
use std::os::fd::RawFd;
use std::sync::{Mutex, TryLockError};

use crate::sync::ignore_poison;
use crate::sys::descriptors::{self, FileId};

/// The descriptors that forked children do not get, and the socket behind each.
// INVARIANT: the socket is that of a `Listener` that exists, which removes it when it is dropped.
static CLOSED_IN_CHILDREN: Mutex<Vec<(RawFd, FileId)>> = Mutex::new(Vec::new());

/// The descriptors of a listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descriptors {
    /// Its own.
    pub(super) own: RawFd,
    /// The inherited descriptor that it was duplicated from, which may name another file by now.
    pub(super) passed: Option<RawFd>,
}

impl Descriptors {
    /// Both with the socket behind them.
    fn entries(self) -> impl Iterator<Item = (RawFd, FileId)> {
        let socket = descriptors::file_id(self.own);
        let fds = std::iter::once(self.own).chain(self.passed);
        fds.filter_map(move |fd| Some((fd, socket?)))
    }
}

/// Closes these descriptors in children that are forked from now on.
pub(super) fn close_in_children(listener: Descriptors) {
    for entry in listener.entries() {
        let mut closed = ignore_poison(CLOSED_IN_CHILDREN.lock());
        closed.retain(|other| *other != entry);
        closed.push(entry);
    }
}

/// Leaves these descriptors open in children that are forked from now on.
pub(super) fn keep_in_children(listener: Descriptors) {
    for entry in listener.entries() {
        ignore_poison(CLOSED_IN_CHILDREN.lock()).retain(|other| *other != entry);
    }
}

/// In a process that was just forked: closes the registered listeners.
pub fn close_listeners_in_child() {
    // A thread that held the lock does not exist here, and waiting for it would be a deadlock. Then
    // a server was just starting or stopping, and the child keeps its listeners.
    let closed = match CLOSED_IN_CHILDREN.try_lock() {
        Ok(mut closed) => std::mem::take(&mut *closed),
        Err(TryLockError::Poisoned(closed)) => std::mem::take(&mut *closed.into_inner()),
        Err(TryLockError::WouldBlock) => return,
    };
    // Replaced rather than closed, so that a `Listener` that is dropped here closes the
    // replacement.
    let Ok(null) = File::open("/dev/null") else { return };
    for (fd, socket) in closed {
        // The inherited descriptor may name another file by now.
        if descriptors::file_id(fd) == Some(socket) {
            descriptors::replace_with_null(&null, fd);
        }
    }
}
