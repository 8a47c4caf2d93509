//! What the poller shows to the master: its connections by state, the queue, and the requests that
//! it answers itself.

use std::sync::Arc;
use std::time::Duration;

use crate::net::connection::Connection;
use crate::observe::shared_state::CONNECTION_STATES;
use crate::observe::{ThreadRow, WorkerSlot};
use crate::sys::clock::{self, Moment};

/// How often the connections are counted at most.
const CENSUS_INTERVAL: Duration = Duration::from_millis(500);
/// With very many connections, counting takes at most this part of the time.
const CENSUS_SHARE: u32 = 100;

/// The poller's part of the worker's slot.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) slot: Arc<WorkerSlot>,
    row: ThreadRow,
    /// When to count the connections again.
    next_census: Moment,
}

impl Observed {
    pub(super) fn new(slot: &Arc<WorkerSlot>) -> Observed {
        Observed { slot: slot.clone(), row: slot.poller_row(), next_census: clock::now() }
    }

    /// Counts a request that the poller has answered.
    pub(super) fn count_answered(&self, connection: &Connection, status: u16) {
        connection.count_answered(&self.row, status, None, clock::now());
    }

    /// True if it is time to count the connections.
    pub(super) fn is_census_due(&self, now: Moment) -> bool {
        now >= self.next_census
    }

    /// Shows how many connections are in each state; counting them began at `began`.
    pub(super) fn show_connections(
        &mut self,
        counts: [usize; CONNECTION_STATES.len()],
        began: Moment,
    ) {
        self.slot.show_connections(counts);
        let end = clock::now();
        let took = end.saturating_duration_since(began);
        self.next_census = end + CENSUS_INTERVAL.max(took * CENSUS_SHARE);
    }
}
