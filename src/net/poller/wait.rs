//! Waiting for readiness events.

use std::io;
use std::time::Duration;

use mio::{Events, Poll};

use super::state::State;
use crate::net::tuning::LOG_RETRY_INTERVAL;
use crate::observe;
use crate::sys::clock::{self, Moment};

/// How long the poller may wait, unless it has work already: until a deadline, `check_at` among
/// them, for `limit`, or until a log is written again.
pub(super) fn time_to_wait(
    state: &State,
    check_at: Option<Moment>,
    limit: Option<Duration>,
) -> Option<Duration> {
    // A deadline counts from the begin of the turn: to read the clock again costs more than to act
    // later by the time that the returned connections took. Rounded up: otherwise the loop would
    // spin in the last millisecond before a deadline.
    let deadline = clock::earliest([
        state.timers.next(),
        state.admission.wakes_at(),
        state.large.wakes_at(),
        check_at,
    ]);
    let until =
        deadline.map(|at| at.saturating_duration_since(state.now) + Duration::from_millis(1));
    match (until, log_retry(state)) {
        (Some(until), None) => Some(limit.map_or(until, |limit| limit.min(until))),
        (until, retry) => [until, retry, limit].into_iter().flatten().min(),
    }
}

/// When to write logs again that their readers have not taken: no event reports that they read.
fn log_retry(state: &State) -> Option<Duration> {
    let access_log = state.access_log.as_ref();
    let has_backlog = observe::has_backlog() || access_log.is_some_and(|log| log.has_backlog());
    has_backlog.then_some(LOG_RETRY_INTERVAL)
}

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
/// instead. Deadlines never expire, but an interval of a millisecond may be over at any moment.
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
        if timeout.is_some_and(|timeout| timeout <= Duration::from_millis(1)) {
            shuttle::thread::yield_now();
            return Ok(());
        }
        kernel::wait(seen);
    }
}
