//! The trace of the connection's current request.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Connection;
use crate::http1::ResponseHead;
use crate::net::trace::SendingTime;
use crate::observe::{RequestId, RequestScope};
use crate::sys::clock::{self, Moment};

impl Connection {
    /// A thread begins to run the request at `now`, which gets its id.
    #[inline]
    pub fn begin_run(&mut self, now: Moment) {
        if self.trace.is_on() {
            self.trace.leave_queue(self.waiting_since, now, true);
            self.trace.identify(self.http.head());
        }
    }

    /// The request leaves the queue at `now` without having run.
    pub(in crate::net) fn end_wait(&mut self, now: Moment) {
        self.trace.leave_queue(self.waiting_since, now, false);
    }

    /// The id of the request, if it has one.
    #[inline]
    pub fn request_id(&self) -> Option<&RequestId> {
        self.trace.id()
    }

    /// Gives the request its id, if requests have ids, and lets log lines of this thread carry it
    /// until the result is dropped.
    pub(in crate::net) fn identify(&mut self) -> Option<RequestScope> {
        self.trace.identify(self.http.head()).map(RequestScope::enter)
    }

    /// Lets log lines of this thread carry the id of the request, if it has one, until the result
    /// is dropped.
    #[inline]
    pub fn enter_scope(&self) -> Option<RequestScope> {
        self.request_id().map(RequestScope::enter)
    }

    /// How long the request has waited for a thread, if requests are traced.
    pub fn queued(&self) -> Option<Duration> {
        self.trace.queued()
    }

    /// The time that the thread of the request has spent sending, if requests are traced.
    pub fn sending(&self) -> Option<&Arc<SendingTime>> {
        self.trace.sending()
    }

    /// Calls `send`, and counts the time that it takes if requests are traced.
    #[inline]
    pub fn send_timed(
        &mut self,
        send: impl FnOnce(&mut Connection) -> io::Result<()>,
    ) -> io::Result<()> {
        let Some(sending) = self.trace.sending().cloned() else { return send(self) };
        sending.begin(clock::now());
        let sent = send(self);
        sending.end(clock::now());
        sent
    }

    /// Queues the head of a response with the fields of the trace.
    #[cold]
    pub(super) fn begin_traced(&mut self, head: &ResponseHead, length: Option<u64>, date: &[u8]) {
        self.trace.identify(self.http.head());
        let trace = self.trace.take();
        let head = trace.add_fields(head, clock::now);
        self.queue_head(&head, length, date);
        self.trace = trace;
    }
}
