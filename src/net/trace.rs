//! Traces of requests: their ids, and the time that they spend in each phase.
//!
//! Nothing is traced unless an option, or the format of the access log, asks for it. Then each
//! connection has a [`Trace`], which starts anew with each request. A request gets its id when that
//! is first needed: when a thread begins to run it, or when the server responds itself. The
//! response gets the fields of the trace with its head, so all responses have them.

mod request_id;
mod sending_time;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

pub use sending_time::SendingTime;

use super::address::Peer;
use crate::config::Settings;
use crate::http1::{Head, ResponseHead};
use crate::observe::{self, Format, Phases, RequestId};
use crate::sys::clock::Moment;
use request_id::{IdSource, sent_id, values_of};

/// How the requests of a worker are traced.
#[derive(Debug)]
pub(super) struct TracePolicy {
    /// `--request-id-header`, as it is written, and in lower case.
    id_field: Option<(String, String)>,
    /// Responses have the field `Server-Timing`.
    has_server_timing: bool,
    /// Makes the ids of requests that have none.
    ids: IdSource,
}

impl TracePolicy {
    /// `None` if requests are not traced. To be called in the process that serves them.
    pub(super) fn new(settings: &Settings) -> Option<Arc<TracePolicy>> {
        let observability = &settings.observability;
        let shows_trace = |format: &str| Format::parse(format).is_ok_and(|f| f.shows_trace());
        let is_logged = settings.access_log.as_ref().is_some_and(|log| shows_trace(&log.format));
        let is_needed = observability.request_id_header.is_some()
            || observability.server_timing
            || !observability.slow_request.is_zero();
        let id_field = observability.request_id_header.clone();
        let policy = || TracePolicy {
            id_field: id_field.map(|name| (name.clone(), name.to_ascii_lowercase())),
            has_server_timing: observability.server_timing,
            ids: IdSource::new(),
        };
        (is_needed || is_logged).then(|| Arc::new(policy()))
    }
}

/// The trace of a connection's current request. Empty if requests are not traced.
#[derive(Debug)]
pub(super) struct Trace(Option<Box<State>>);

#[derive(Debug)]
struct State {
    policy: Arc<TracePolicy>,
    /// Ids are taken from this peer.
    is_trusted: bool,
    /// The id of the request, once it is needed.
    id: Option<RequestId>,
    /// How long the request has waited for a thread. `None` until it has left the queue.
    queued: Option<Duration>,
    /// When a thread began to run it.
    began_at: Option<Moment>,
    /// The time that its thread has spent sending.
    sending: Arc<SendingTime>,
}

impl Trace {
    /// The trace of the requests of a peer.
    pub(super) fn new(
        policy: Option<&Arc<TracePolicy>>,
        settings: &Settings,
        peer: &Peer,
    ) -> Trace {
        let state = |policy: &Arc<TracePolicy>| State {
            policy: policy.clone(),
            is_trusted: policy.id_field.is_some() && settings.trusts(peer.ip()),
            id: None,
            queued: None,
            began_at: None,
            sending: Arc::default(),
        };
        Trace(policy.map(|policy| Box::new(state(policy))))
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> Trace {
        Trace(self.0.take())
    }

    /// True if requests are traced.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Forgets the last request.
    #[inline]
    pub(super) fn start_next(&mut self) {
        if let Some(state) = &mut self.0 {
            state.id = None;
            state.queued = None;
            state.began_at = None;
            match Arc::get_mut(&mut state.sending) {
                Some(sending) => *sending = SendingTime::default(),
                // Another thread still reads that of the last request.
                None => state.sending = Arc::default(),
            }
        }
    }

    /// Gives the request of `head` its id, unless it has one: the id that a trusted peer has sent,
    /// or a new one. Returns it; `None` without `--request-id-header`.
    pub(super) fn identify(&mut self, head: &Head) -> Option<&RequestId> {
        let State { policy, is_trusted, id, .. } = &mut **self.0.as_mut()?;
        let (_, field) = policy.id_field.as_ref()?;
        Some(id.get_or_insert_with(|| {
            let sent = if *is_trusted { sent_id(head, field.as_bytes()) } else { None };
            sent.unwrap_or_else(|| policy.ids.make())
        }))
    }

    /// The id of the request, if it has one already.
    #[inline]
    pub(super) fn id(&self) -> Option<&RequestId> {
        self.0.as_ref()?.id.as_ref()
    }

    /// The request, which was complete at `ready_at`, leaves the queue at `now`: a thread begins to
    /// run it, or it is rejected.
    #[inline]
    pub(super) fn leave_queue(&mut self, ready_at: Moment, now: Moment, is_run: bool) {
        if let Some(state) = &mut self.0 {
            state.queued = Some(now.saturating_duration_since(ready_at));
            state.began_at = is_run.then_some(now);
        }
    }

    /// How long the request has waited for a thread. `None` if it is not traced, or still waits.
    pub(super) fn queued(&self) -> Option<Duration> {
        self.0.as_ref()?.queued
    }

    /// The time that the thread of the request has spent sending. `None` if it is not traced.
    #[inline]
    pub(super) fn sending(&self) -> Option<&Arc<SendingTime>> {
        self.0.as_ref().map(|state| &state.sending)
    }

    /// What the access log shows at `now` of the request with this head.
    pub(super) fn logged<'a>(&'a self, head: &'a Head, now: Moment) -> observe::Trace<'a> {
        let Some(state) = &self.0 else { return observe::Trace::default() };
        observe::Trace {
            request_id: state.id.as_deref(),
            request_id_field: state.policy.id_field.as_ref().map(|(_, field)| field.as_str()),
            traceparent: observe::traceparent(values_of(head, b"traceparent")),
            phases: state.phases(now),
        }
    }

    /// The head of the response with the fields of the trace. A request id of the application
    /// stays. `now` reads the clock.
    pub(super) fn add_fields<'a>(
        &self,
        response: &'a ResponseHead,
        now: impl FnOnce() -> Moment,
    ) -> Cow<'a, ResponseHead> {
        let mut response = Cow::Borrowed(response);
        let Some(State { policy, id, .. }) = self.0.as_deref() else { return response };
        if let (Some((name, _)), Some(id)) = (&policy.id_field, id)
            && response.field(name.as_bytes()).is_none()
        {
            add(&mut response, name.as_bytes(), id.as_bytes());
        }
        if let Some(state) = self.0.as_deref().filter(|_| policy.has_server_timing)
            && let Some(value) = server_timing(state.phases(now()))
        {
            add(&mut response, b"Server-Timing", value.as_bytes());
        }
        response
    }
}

impl State {
    /// How long each phase has taken until `now`.
    fn phases(&self, now: Moment) -> Phases {
        let running = self.began_at.map(|began| now.saturating_duration_since(began));
        let send = running.map(|_| self.sending.until(now));
        let app = running.map(|running| running.saturating_sub(send.unwrap_or_default()));
        Phases { queue: self.queued, app, send }
    }
}

fn add(response: &mut Cow<'_, ResponseHead>, name: &[u8], value: &[u8]) {
    let added = response.to_mut().add_field(name, value);
    debug_assert!(added.is_ok(), "the option takes names of fields, and ids are visible ASCII");
}

/// The value of `Server-Timing`, in milliseconds. `None` if the request has had no such phase. [W3C
/// Server Timing, section 3]
fn server_timing(Phases { queue, app, .. }: Phases) -> Option<String> {
    let metric = |(name, time): (&str, Option<Duration>)| {
        time.map(|time| format!("{name};dur={:.3}", time.as_secs_f64() * 1e3))
    };
    let metrics: Vec<_> = [("queue", queue), ("app", app)].into_iter().filter_map(metric).collect();
    (!metrics.is_empty()).then(|| metrics.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::http1::{Connection, Limits};

    const HEAD: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-ID: sent\r\n\r\n";

    fn settings(options: &[(&str, &str)]) -> Settings {
        let mut settings = config::parse_api(&[]).unwrap();
        for (name, value) in options {
            match *name {
                "id" => settings.observability.request_id_header = Some((*value).to_owned()),
                _ => settings.observability.server_timing = true,
            }
        }
        settings
    }

    fn trace(settings: &Settings, peer: &str) -> Trace {
        let peer = Peer(Some(peer.parse().unwrap()));
        Trace::new(TracePolicy::new(settings).as_ref(), settings, &peer)
    }

    fn http() -> Connection {
        let mut http = Connection::new(Limits::default());
        http.receive(HEAD).unwrap();
        http
    }

    fn fields(head: &ResponseHead) -> Vec<String> {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        head.fields().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect()
    }

    #[test]
    fn nothing_is_traced_by_default() {
        assert!(!trace(&settings(&[]), "127.0.0.1:1").is_on());
    }

    #[test]
    fn id_is_taken_from_trusted_peers_and_made_for_others() {
        let (settings, http) = (settings(&[("id", "X-Request-ID")]), http());
        let mut trusted = trace(&settings, "127.0.0.1:1");
        assert_eq!(trusted.identify(http.head()).map(|id| &**id), Some("sent"));
        let mut other = trace(&settings, "203.0.113.7:1");
        let made = other.identify(http.head()).unwrap().clone();
        assert_eq!(made.len(), 32);
        assert_eq!(other.identify(http.head()), Some(&made), "it stays");
        other.start_next();
        assert_ne!(other.identify(http.head()), Some(&made));
    }

    #[test]
    fn response_has_the_id_unless_the_application_has_set_one() {
        let (settings, http) = (settings(&[("id", "X-Request-ID")]), http());
        let mut trace = trace(&settings, "127.0.0.1:1");
        trace.identify(http.head());
        let now = Moment::from_nanos(1);
        let mut head = ResponseHead::default();
        head.start(b"200 OK").unwrap();
        assert_eq!(fields(&trace.add_fields(&head, || now)), ["X-Request-ID: sent"]);
        head.add_field(b"x-request-id", b"own").unwrap();
        assert_eq!(fields(&trace.add_fields(&head, || now)), ["x-request-id: own"]);
    }

    #[test]
    fn server_timing_has_the_phases_that_the_request_has_had() {
        let at = |us: u64| Moment::from_nanos(us * 1000);
        let settings = settings(&[("timing", "")]);
        let mut trace = trace(&settings, "127.0.0.1:1");
        let mut head = ResponseHead::default();
        head.start(b"200 OK").unwrap();
        assert!(fields(&trace.add_fields(&head, || at(9))).is_empty());
        trace.leave_queue(at(1000), at(3500), false);
        let queue_only = ["Server-Timing: queue;dur=2.500"];
        assert_eq!(fields(&trace.add_fields(&head, || at(9000))), queue_only);
        trace.leave_queue(at(1000), at(1052), true);
        trace.sending().unwrap().begin(at(2000));
        trace.sending().unwrap().end(at(3000));
        head.add_field(b"Server-Timing", b"db;dur=1").unwrap();
        assert_eq!(
            fields(&trace.add_fields(&head, || at(5052))),
            ["Server-Timing: db;dur=1", "Server-Timing: queue;dur=0.052, app;dur=3.000"]
        );
    }
}
