//! Waits for the client of a request, but not beyond the end of the worker.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

/// What ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// The worker ends: the inspector has shut down its channel, or the master has exited.
    WorkerEnds,
    /// The client has closed its connection.
    ClientLeft,
    /// The connection has the event, or the time is over.
    Other,
}

/// Waits until the connection of the client has one of these events, for `limit` at most. `channel`
/// is that to the master.
pub(super) fn wait(
    client: &UnixStream,
    events: PollFlags,
    channel: &UnixStream,
    limit: Duration,
) -> Waited {
    let mut watched = [PollFd::new(client, events), PollFd::new(channel, PollFlags::empty())];
    let limit = Timespec::try_from(limit).ok();
    // EINTR is a wait that was short.
    let _ = rustix::event::poll(&mut watched, limit.as_ref());
    let [client, channel] =
        watched.map(|watched| watched.revents().intersects(PollFlags::HUP | PollFlags::ERR));
    match (channel, client) {
        (true, _) => Waited::WorkerEnds,
        (false, true) => Waited::ClientLeft,
        (false, false) => Waited::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Shutdown;

    #[test]
    fn wait_ends_with_the_client_and_with_the_worker() {
        let hour = Duration::from_secs(3600);
        let (client, other_end) = UnixStream::pair().unwrap();
        let (channel, _master) = UnixStream::pair().unwrap();
        let waited = |events, limit| wait(&client, events, &channel, limit);
        assert_eq!(waited(PollFlags::empty(), Duration::ZERO), Waited::Other);
        assert_eq!(waited(PollFlags::OUT, hour), Waited::Other);
        // A client may shut its sending side, and still wait.
        other_end.shutdown(Shutdown::Write).unwrap();
        assert_eq!(waited(PollFlags::empty(), Duration::ZERO), Waited::Other);
        drop(other_end);
        assert_eq!(waited(PollFlags::empty(), hour), Waited::ClientLeft);
        channel.shutdown(Shutdown::Both).unwrap();
        assert_eq!(waited(PollFlags::empty(), hour), Waited::WorkerEnds);
    }
}
