//! What the worker threads show to the master, with `--metrics`.

use std::sync::Arc;

use crate::net::{Connection, UpgradedRequest};
use crate::observe::shared_state::ShownUpgrade;
use crate::observe::{ThreadRow, WorkerSlot};
use crate::sys::clock::{self, Moment};

/// The rows of the worker threads. A row belongs to the thread that has the seat of its number.
pub(super) struct ShownThreads {
    slot: Arc<WorkerSlot>,
    rows: Vec<ThreadRow>,
}

impl ShownThreads {
    pub(super) fn new(slot: Arc<WorkerSlot>) -> ShownThreads {
        let rows = slot.thread_rows();
        ShownThreads { slot, rows }
    }

    /// The row of a seat.
    pub(super) fn row(&self, seat: usize) -> ThreadRow {
        self.rows[seat]
    }

    /// The request of a seat has taken its connection, and leaves the seat now.
    pub(super) fn upgrade(&self, seat: usize, request: &UpgradedRequest) -> ShownUpgrade {
        self.slot.show_upgrade(&self.row(seat), request.http.received_bytes(), clock::now())
    }
}

/// Shows that the thread of `row` has ended its request, which it ran from `began` to `ended`.
/// Counts it if its connection is still here.
#[inline]
pub(super) fn show_end(
    row: &ThreadRow,
    connection: Option<&Connection>,
    status: u16,
    [began, ended]: [Moment; 2],
) {
    row.end();
    if let Some(connection) = connection {
        connection.count_answered(row, status, Some(began), ended);
    }
}
