//! Reads the state of a server at intervals. A server that answers late delays no key.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::super::client::{Failure, Server};
use super::super::status::Status;

/// How long the server may take to answer.
pub(super) const LIMIT: Duration = Duration::from_secs(3);

/// A state with the time at which it came, or why there is none.
pub(super) type State = (Instant, Result<Status, Failure>);

/// The states of a server.
pub(super) struct Feed(Receiver<State>);

impl Feed {
    /// Reads the state of this server every `interval` until the feed is dropped.
    pub(super) fn start(server: Server, interval: Duration) -> Feed {
        let (sender, receiver) = sync_channel(1);
        thread::spawn(move || {
            loop {
                thread::sleep(interval);
                let state = server.status(LIMIT);
                if sender.send((Instant::now(), state)).is_err() {
                    return;
                }
            }
        });
        Feed(receiver)
    }

    /// The next state, if one has come.
    pub(super) fn next(&self) -> Option<State> {
        self.0.try_recv().ok()
    }
}
