//! What the access log shows of a request.

use super::address::Peer;
use super::proxied::Proxied;
use super::trace::Trace;
use crate::http1::{self, ResponseHead};
use crate::observe::Record;
use crate::sys::clock::{self, Moment};

/// The parts of a connection that a line of the access log is made of.
pub(super) struct LoggedExchange<'a> {
    pub(super) http: &'a http1::Connection,
    pub(super) peer: &'a Peer,
    pub(super) proxied: &'a Proxied,
    pub(super) trace: &'a Trace,
    /// When the request's first byte arrived.
    pub(super) started_at: Moment,
}

impl LoggedExchange<'_> {
    /// Calls `log` with the record of the request, which ends now.
    pub(super) fn log(
        &self,
        response: &ResponseHead,
        environ: &[(String, String)],
        log: impl FnOnce(&Record<'_>),
    ) {
        let head = self.http.head();
        let (method, target) = (head.method(), head.raw_target());
        let now = clock::now();
        let elapsed = now.saturating_duration_since(self.started_at);
        let trace = self.trace.logged(head, now);
        // The field has the id that was taken or made, as in the environ and in the response.
        let id = |name: &str| trace.request_id.filter(|_| trace.request_id_field == Some(name));
        log(&Record {
            remote: &self.proxied.client_address(self.peer),
            method,
            target,
            version: head.version().as_str(),
            status: response.status(),
            sent: self.http.sent_bytes(),
            started: clock::wall_clock() - elapsed,
            elapsed,
            request_field: &|name| {
                id(name).map(str::as_bytes).or_else(|| head.field(name.as_bytes()))
            },
            response_field: &|name| {
                response.field(name.as_bytes()).or_else(|| id(name).map(str::as_bytes))
            },
            environ,
            trace,
        });
    }
}
