//! Takes the listening sockets from a process that the application forks.
//!
//! Such a child may outlive the server. As long as it holds a listening socket the kernel goes on completing
//! handshakes that nobody will ever answer, and no other server can have the address. Descriptors that an
//! exec closes are no help to a child that does not exec.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError, TryLockError};

use super::listener::Listener;

/// What forked children do not get.
// INVARIANT: each is the descriptor of a `Listener` that exists: it is entered by reference to one, and struck
// out when that is dropped.
static KEPT: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// From now on forked children do not get these.
pub fn keep_from_forks<'a>(listeners: impl IntoIterator<Item = &'a Listener>) {
    for listener in listeners {
        let fd = listener.fd().as_raw_fd();
        change(|kept| {
            kept.retain(|&other| other != fd);
            kept.push(fd);
        });
    }
}

/// From now on forked children get these again.
pub fn leave_to_forks<'a>(listeners: impl IntoIterator<Item = &'a Listener>) {
    for listener in listeners {
        let fd = listener.fd().as_raw_fd();
        change(|kept| kept.retain(|&other| other != fd));
    }
}

fn change(change: impl FnOnce(&mut Vec<RawFd>)) {
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
    for fd in kept {
        // SAFETY: by the invariant of `KEPT` the descriptor is a listener's, which nobody uses in this
        // process; dup2 replaces it in one step and touches no memory.
        unsafe { libc::dup2(null.as_raw_fd(), fd) };
    }
}
