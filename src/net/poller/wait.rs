//! Waiting for readiness events.

use std::io;
use std::time::Duration;

use mio::{Events, Poll};

/// Blocks until an event comes or `timeout` is over.
#[cfg(not(all(test, shuttle)))]
pub(super) fn wait_for_events(
    poll: &mut Poll,
    events: &mut Events,
    timeout: Option<Duration>,
) -> io::Result<()> {
    poll.poll(events, timeout)
}

/// In a model the kernel is asked for real, but a thread that would block there blocks where the
/// checker sees it. No deadline ever comes.
#[cfg(all(test, shuttle))]
pub(super) fn wait_for_events(
    poll: &mut Poll,
    events: &mut Events,
    timeout: Option<Duration>,
) -> io::Result<()> {
    use crate::sync::kernel;
    // Other threads may wait for what this turn has sent.
    kernel::changed();
    loop {
        let seen = kernel::changes();
        poll.poll(events, Some(Duration::ZERO))?;
        if !events.is_empty() || timeout == Some(Duration::ZERO) {
            return Ok(());
        }
        kernel::wait(seen);
    }
}
