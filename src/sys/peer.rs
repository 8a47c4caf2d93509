//! The process at the other end of a connection on a unix socket.

use std::os::fd::AsFd;

/// A process, as the kernel knew it when it connected. [unix(7), SO_PEERCRED]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerProcess {
    /// 0 if it is in another namespace of processes.
    pub(crate) pid: i32,
    pub(crate) uid: u32,
}

/// The peer of this socket; `None` if the system does not say.
///
/// Not by `rustix`, whose process ids are never 0.
#[cfg(target_os = "linux")]
pub(crate) fn peer_of(socket: impl AsFd) -> Option<PeerProcess> {
    use std::os::fd::AsRawFd;
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes to `peer`, a
    // plain C struct of that length.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    let is_whole = length as usize == size_of::<libc::ucred>();
    (failed == 0 && is_whole).then_some(PeerProcess { pid: peer.pid, uid: peer.uid })
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn peer_of(_: impl AsFd) -> Option<PeerProcess> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn peer_of_a_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(peer_of(&one), Some(PeerProcess { pid, uid }));
        assert_eq!(peer_of(tempfile::tempfile().unwrap()), None);
    }
}
