//! Takes the listening sockets from a process that the application forks.
//!
//! Such a child may outlive the server. As long as it holds a listening socket the kernel goes on completing
//! handshakes that no process will ever answer, and no other server can have the address. Descriptors that
//! an exec closes are no help to a child that does not exec.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, TryLockError};

use super::listener::Listener;
use crate::sync::ignore_poison;
use crate::sys::descriptors::{self, FileId};

/// The descriptors that forked children do not get, and the socket behind each.
// INVARIANT: the socket is that of a `Listener` that exists: it is entered by reference to one, and removed
// when that is dropped.
static CLOSED_IN_CHILDREN: Mutex<Vec<(RawFd, FileId)>> = Mutex::new(Vec::new());

/// From now on forked children do not get these listeners.
pub fn close_in_children<'a>(listeners: impl IntoIterator<Item = &'a Listener>) {
    for entry in listeners.into_iter().flat_map(entries) {
        let mut closed = ignore_poison(CLOSED_IN_CHILDREN.lock());
        closed.retain(|other| *other != entry);
        closed.push(entry);
    }
}

/// From now on forked children get these listeners again.
pub fn keep_in_children<'a>(listeners: impl IntoIterator<Item = &'a Listener>) {
    for entry in listeners.into_iter().flat_map(entries) {
        ignore_poison(CLOSED_IN_CHILDREN.lock()).retain(|other| *other != entry);
    }
}

/// A listener's own descriptor, and the one it was passed as.
fn entries(listener: &Listener) -> impl Iterator<Item = (RawFd, FileId)> + use<> {
    let own = listener.fd().as_raw_fd();
    let socket = descriptors::file_id(own);
    let fds = std::iter::once(own).chain(listener.passed());
    fds.filter_map(move |fd| Some((fd, socket?)))
}

/// In a process that was just forked: closes the listeners that it must not have.
pub fn close_listeners_in_child() {
    // A thread that held the lock does not exist here; the listeners of a server that was just starting or
    // stopping are not worth a deadlock.
    let closed = match CLOSED_IN_CHILDREN.try_lock() {
        Ok(mut closed) => std::mem::take(&mut *closed),
        Err(TryLockError::Poisoned(closed)) => std::mem::take(&mut *closed.into_inner()),
        Err(TryLockError::WouldBlock) => return,
    };
    // Replaced, so that code that still has a `Listener` closes what it may close.
    let Ok(null) = File::open("/dev/null") else { return };
    for (fd, socket) in closed {
        // The descriptor that the listener was passed as is not ours: it may be another file's by now.
        if descriptors::file_id(fd) == Some(socket) {
            descriptors::replace_with_null(&null, fd);
        }
    }
}
