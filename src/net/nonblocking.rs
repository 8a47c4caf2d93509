//! Accepting without blocking, also on a listener that another process has made blocking.
//!
//! `O_NONBLOCK` belongs to the socket, not to a descriptor, and the process that has passed a
//! listener shares it. If that process makes it blocking, `accept` waits for the next client, and
//! with it the poller and all connections. So a listener has a receive timeout, which Linux applies
//! to accept(2). An `accept` that has timed out makes the listener non-blocking again.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use log::{debug, warn};
use socket2::Socket;

use crate::sys::clock;

/// How long `accept` may block once.
const MAX_ACCEPT_WAIT: Duration = Duration::from_millis(20);

/// Makes a listener non-blocking, and limits how long it may block if another process changes that.
pub(super) fn prepare(listener: &Socket) -> io::Result<()> {
    if let Err(error) = listener.set_read_timeout(Some(MAX_ACCEPT_WAIT)) {
        debug!("Cannot limit the time of accept: {error}");
    }
    listener.set_nonblocking(true)
}

/// Accepts one connection as a non-blocking socket. `url` is what the log calls the listener.
pub(super) fn accept(
    listener: &Socket,
    url: impl FnOnce() -> String,
) -> io::Result<(Socket, Option<SocketAddr>)> {
    let began = clock::now();
    let accepted = accept_one(listener);
    if accepted.is_err() && clock::now().saturating_duration_since(began) >= MAX_ACCEPT_WAIT {
        restore(listener, &url());
    }
    accepted
}

/// Makes the listener non-blocking again, if another process has made it blocking.
#[cold]
fn restore(listener: &Socket, url: &str) {
    if listener.nonblocking().is_ok_and(|is_nonblocking| !is_nonblocking) {
        let restored = match listener.set_nonblocking(true) {
            Ok(()) => "it is non-blocking again".to_owned(),
            Err(failure) => format!("it stays blocking: {failure}"),
        };
        warn!(
            target: "listener.blocking",
            "Another process has made the listener {url} blocking, which delays all connections: \
             {restored}"
        );
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn accept_one(listener: &Socket) -> io::Result<(Socket, Option<SocketAddr>)> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, address) = rustix::net::acceptfrom_with(listener, flags)?;
    Ok((Socket::from(socket), address.and_then(|address| SocketAddr::try_from(address).ok())))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn accept_one(listener: &Socket) -> io::Result<(Socket, Option<SocketAddr>)> {
    let (socket, address) = listener.accept()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address.as_socket()))
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn accept_on_a_blocking_listener_returns_and_restores_it() {
        let listener = Socket::from(TcpListener::bind(("127.0.0.1", 0)).unwrap());
        prepare(&listener).unwrap();
        listener.set_nonblocking(false).unwrap();
        let accepted = accept(&listener, String::new);
        assert_eq!(accepted.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(listener.nonblocking().unwrap());
    }
}
