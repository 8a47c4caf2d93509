//! Takes the listening sockets from a process that the application forks.
//!
//! Such a child may outlive the server. As long as it holds a listening socket the kernel goes on completing
//! handshakes that nobody will ever answer, and no other server can have the address. Descriptors that an
//! exec closes are no help to a child that does not exec.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError, TryLockError};

use super::listener::Listener;

/// What forked children do not get: descriptors, and the socket (device and inode) behind each.
// INVARIANT: the socket is that of a `Listener` that exists: it is entered by reference to one, and struck
// out when that is dropped.
static KEPT: Mutex<Vec<(RawFd, Socket)>> = Mutex::new(Vec::new());

type Socket = (libc::dev_t, libc::ino_t);

/// From now on forked children do not get these.
pub fn keep_from_forks<'a>(listeners: impl IntoIterator<Item = &'a Listener>) {
    for listener in listeners {
        for entry in entries(listener) {
            change(|kept| {
                kept.retain(|other| *other != entry);
                kept.push(entry);
            });
        }
    }
}

/// From now on forked children get these again.
pub fn leave_to_forks<'a>(listeners: impl IntoIterator<Item = &'a Listener>) {
    for listener in listeners {
        for entry in entries(listener) {
            change(|kept| kept.retain(|other| *other != entry));
        }
    }
}

/// Its own descriptor, and the one it was passed as.
fn entries(listener: &Listener) -> impl Iterator<Item = (RawFd, Socket)> {
    let own = listener.fd().as_raw_fd();
    let socket = socket_behind(own);
    let fds = std::iter::once(own).chain(listener.passed());
    fds.filter_map(move |fd| Some((fd, socket?)))
}

fn socket_behind(fd: RawFd) -> Option<Socket> {
    let mut found = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat takes any descriptor, and fills `found` if it returns 0.
    let found = unsafe { (libc::fstat(fd, found.as_mut_ptr()) == 0).then(|| found.assume_init()) };
    found.map(|found| (found.st_dev, found.st_ino))
}

fn change(change: impl FnOnce(&mut Vec<(RawFd, Socket)>)) {
    change(&mut KEPT.lock().unwrap_or_else(PoisonError::into_inner));
}

/// What a process does that was just forked.
pub fn let_go_of_listeners() {
    // A thread that held the lock does not exist here; the listeners of a server that was just starting or
    // stopping are not worth a deadlock.
    let kept = match KEPT.try_lock() {
        Ok(mut kept) => std::mem::take(&mut *kept),
        Err(TryLockError::Poisoned(kept)) => std::mem::take(&mut *kept.into_inner()),
        Err(TryLockError::WouldBlock) => return,
    };
    // Put in their place, so that whoever still has a `Listener` closes what is his to close.
    let Ok(null) = File::open("/dev/null") else { return };
    for (fd, socket) in kept {
        // The descriptor that the listener was passed as is not ours: it may be another file's by now.
        if socket_behind(fd) != Some(socket) {
            continue;
        }
        // SAFETY: by the invariant of `KEPT` the descriptor is of a listener's socket, which nobody uses in
        // this process; dup2 replaces it in one step and touches no memory.
        unsafe { libc::dup2(null.as_raw_fd(), fd) };
    }
}
