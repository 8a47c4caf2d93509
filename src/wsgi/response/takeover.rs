//! The end of a response without its thread: the poller takes the exchange of a request that has
//! run longer than `--timeout`, and needs neither the interpreter nor the thread for that.
//!
//! A thread in a C function raises no exception, and may even hold the interpreter. Its client must
//! not wait for it. What the thread sends later is discarded.

use std::sync::{Arc, Weak};

use pyo3::prelude::*;

use super::{Response, Upgrade};
use crate::http1::ResponseHead;
use crate::sync::try_lock;
use crate::wsgi::exchange::{Client, Exchange};

/// The status of a response to a request that has run too long.
pub(in crate::wsgi) const TIMED_OUT: &str = "504 Gateway Timeout";

/// How often the poller tries to lock a response that a thread uses all the time.
const LOCK_TRIES: usize = 100;

/// The response that a worker thread makes, as the poller sees it.
#[derive(Clone)]
pub struct ResponseHandle(pub(in crate::wsgi) Arc<Response>);

/// The result of [`ResponseHandle::take_exchange`].
pub enum Takeover {
    /// The exchange, with its response complete or aborted, and the head of that response.
    Taken(Box<dyn Exchange>, ResponseHead, Ending),
    /// The exchange is in use, which takes microseconds as a rule.
    Busy,
    /// The thread sends a response that is incomplete, or makes room for it. That may take long: it
    /// waits for its client, for a disk, or afterwards for the interpreter.
    Sending,
}

/// How the response of an exchange that was taken ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The application had not begun it: it is 504.
    TimedOut,
    /// The application had begun it: it is aborted.
    Aborted,
    /// It was complete; the application was busy with something else.
    Complete,
}

/// What remains of an exchange that was taken.
pub(super) struct Taken {
    /// The request, as the error log names it.
    pub(super) request: String,
    pub(super) client: Weak<dyn Client>,
    /// How many bytes of content were sent.
    pub(super) sent_bytes: u64,
    /// The thread has noticed it, in a call that failed.
    pub(super) is_noticed: bool,
}

impl ResponseHandle {
    /// Takes the exchange away from the thread that runs its request, and ends the response. To be
    /// called by a thread that is not attached to the interpreter. It hardly waits for the lock:
    /// another thread may have got it and wait for the interpreter.
    pub fn take_exchange(&self) -> Takeover {
        let try_again = || {
            std::thread::yield_now();
            try_lock(&self.0.state)
        };
        let locked = try_lock(&self.0.state);
        let Some(mut state) = locked.or_else(|| (0..LOCK_TRIES).find_map(|_| try_again())) else {
            return Takeover::Busy;
        };
        // Its connection is the application's: there is nothing to end.
        if state.upgrade != Upgrade::None {
            return Takeover::Busy;
        }
        let Some(mut exchange) = state.exchange.take() else {
            let is_sending = state.request_being_sent.is_some() && !state.is_complete;
            return if is_sending { Takeover::Sending } else { Takeover::Busy };
        };
        let http = exchange.http();
        let request = http.head().to_string();
        let ending = if http.has_ended() {
            Ending::Complete
        } else if http.has_begun() {
            http.abort();
            Ending::Aborted
        } else {
            http.close_after_response();
            state.head = queue_error_page(&mut *exchange, TIMED_OUT);
            Ending::TimedOut
        };
        let sent_bytes = exchange.http().sent_bytes();
        let client = exchange.client();
        state.taken = Some(Taken { request, client, sent_bytes, is_noticed: false });
        Takeover::Taken(exchange, state.head.clone(), ending)
    }

    /// True once, if the thread has noticed since the last call that its exchange was taken.
    pub fn take_notice(&self, py: Python<'_>) -> bool {
        let mut state = self.0.state(py);
        state.taken.as_mut().is_some_and(|taken| std::mem::take(&mut taken.is_noticed))
    }

    /// True if both handles are of the same response.
    pub fn is_same(&self, other: &ResponseHandle) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Queues an error page without details: they are in the error log.
pub(in crate::wsgi) fn queue_error_page(exchange: &mut dyn Exchange, status: &str) -> ResponseHead {
    queue_page(exchange, status, &format!("{status}\n"))
}

/// Queues an error page with this text.
pub(in crate::wsgi) fn queue_page(
    exchange: &mut dyn Exchange,
    status: &str,
    page: &str,
) -> ResponseHead {
    queue_page_with(exchange, status, None, page)
}

/// Queues a 503 with this text.
pub(super) fn queue_unavailable_page(exchange: &mut dyn Exchange, page: &str) -> ResponseHead {
    queue_page_with(exchange, "503 Service Unavailable", Some((b"Retry-After", b"5")), page)
}

fn queue_page_with(
    exchange: &mut dyn Exchange,
    status: &str,
    field: Option<(&[u8], &[u8])>,
    page: &str,
) -> ResponseHead {
    let page = page.as_bytes();
    let mut head = ResponseHead::default();
    let built = head
        .start(status.as_bytes())
        .and_then(|()| head.add_field(b"Content-Type", b"text/plain; charset=utf-8"))
        .and_then(|()| field.map_or(Ok(()), |(name, value)| head.add_field(name, value)));
    debug_assert!(built.is_ok());
    exchange.begin(&head, Some(page.len() as u64));
    let frame = exchange.http().frame(page.len());
    exchange.queue_copy(&page[..frame.take]);
    let _ = exchange.finish();
    head
}
