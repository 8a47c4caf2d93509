//! What the master may know of a request: the table of requests, and the counts of those that were
//! answered.

use super::Connection;
use crate::observe::ThreadRow;
use crate::observe::shared_state::{Answered, Shown};
use crate::sys::clock::Moment;

impl Connection {
    /// Shows that a worker thread begins the request at `now`.
    #[cfg_attr(not(feature = "python"), allow(dead_code, reason = "its caller runs Python"))]
    #[inline]
    pub(crate) fn show_begin(&self, row: &ThreadRow, now: Moment) {
        row.begin(self.shown_at(now));
    }

    /// The request as the table of the queue shows it.
    pub(in crate::net) fn shown(&self) -> Shown<'_> {
        self.shown_at(self.waiting_since)
    }

    #[inline]
    fn shown_at(&self, now: Moment) -> Shown<'_> {
        let head = self.http.head();
        let numbers = [self.started_at.as_nanos(), self.waiting_since.as_nanos(), now.as_nanos()];
        Shown { line: head.method_and_target(), method_bytes: head.method().len(), numbers }
    }

    /// Counts the request, which was answered at `now` with this status. A worker thread has run it
    /// since `began_at`, unless the poller has answered.
    #[inline(always)]
    pub(crate) fn count_answered(
        &self,
        row: &ThreadRow,
        status: u16,
        began_at: Option<Moment>,
        now: Moment,
    ) {
        let head = self.http.head();
        let answered = Answered {
            method: head.method(),
            status,
            received_bytes: self.http.received_bytes(),
            sent_bytes: self.http.sent_bytes(),
            started_at: self.started_at,
            ready_at: self.waiting_since,
            began_at,
            ended_at: now,
        };
        row.count(answered, || head.method_and_target());
    }
}
