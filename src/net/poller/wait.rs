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

/// Under the model checker: polls the kernel without blocking, and blocks where the checker sees it
/// instead. Deadlines never expire.
#[cfg(all(test, shuttle))]
pub(super) fn wait_for_events(
    poll: &mut Poll,
    events: &mut Events,
    timeout: Option<Duration>,
) -> io::Result<()> {
    use crate::sync::kernel;
    // Other threads may wait for bytes that this turn has sent.
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
