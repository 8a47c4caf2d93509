//! Responses that the server gives by itself, without the application.

use log::{Level, error, log, warn};

use super::super::connection::{Connection, Refusal};
use super::super::timers::Key;
use super::{Phase, Poller};
use crate::http1::{Head, ResponseHead};
use crate::observe::Count;
use crate::sys::clock::wall_clock;

const UNAVAILABLE: &str = "Service Unavailable";
/// When a client that was turned away may try again, in seconds.
const RETRY_AFTER: &[u8] = b"5";

impl Poller {
    #[cold]
    pub(super) fn refuse(&mut self, key: Key, refusal: &Refusal, ready: &mut Vec<Box<Connection>>) {
        let counters = &self.handle.counters;
        let (status, reason, detail) = match refusal {
            Refusal::Protocol(error) => {
                let (status, reason) = error.status();
                let over = matches!(status, 413 | 414 | 431);
                counters.increment_and_take_report(if over {
                    Count::OverLimit
                } else {
                    Count::Malformed
                });
                (status, reason, error.to_string())
            }
            Refusal::Spool(error) => {
                if let Some(count) = counters.increment_and_take_report(Count::SpoolFailed) {
                    error!(
                        "cannot store a request body in a temporary file: {error} ({count} times)"
                    );
                }
                (507, "Insufficient Storage", "the request content cannot be stored".to_owned())
            }
            Refusal::SpoolLimit => {
                if let Some(count) = counters.increment_and_take_report(Count::SpoolLimit) {
                    warn!("--limit-spool is reached: {count} request(s) refused");
                }
                (503, UNAVAILABLE, "there is no space for the request content now".to_owned())
            }
            Refusal::Memory => {
                if let Some(count) = counters.increment_and_take_report(Count::MemoryLimit) {
                    warn!("--limit-memory is reached: {count} request(s) refused");
                }
                (503, UNAVAILABLE, "the server is short of memory".to_owned())
            }
        };
        self.answer(key, status, reason, &detail, ready);
    }

    /// Sends a complete, small response and closes.
    pub(super) fn answer(
        &mut self,
        key: Key,
        status: u16,
        reason: &str,
        detail: &str,
        ready: &mut Vec<Box<Connection>>,
    ) {
        let slot = &mut self.slots[key.0];
        let Some(connection) = &mut slot.connection else { return };
        // There may be very many of these, and what is wrong is not the client's doing.
        let level = if status == 503 { Level::Debug } else { Level::Info };
        connection.http.refuse();
        connection.discard();
        log!(
            level,
            "refused a request from {:?}: {status} {detail}{}",
            connection.peer.address(),
            named(connection.http.head())
        );
        let response = error_response(status, reason);
        let page = format!("{status} {reason}: {detail}\n");
        let date = self.date.at(wall_clock());
        let Connection { http, queue, .. } = &mut **connection;
        queue.gather(|out| {
            http.begin(&response, Some(page.len() as u64), date, out);
            if http.frame(page.len()).take > 0 {
                out.extend_from_slice(page.as_bytes());
            }
            let _ = http.finish(out);
        });
        if let Some(log) = &self.access_log {
            connection.log_access(log, &response, &[]);
            log.flush();
        }
        let sent = connection.send();
        slot.phase = Phase::Sending;
        self.follow_up(key, sent, ready);
    }
}

/// Which request it was, if so much of it was understood.
fn named(head: &Head) -> String {
    if head.method().is_empty() { String::new() } else { format!(": {head}") }
}

/// The head of a response that the server gives by itself.
fn error_response(status: u16, reason: &str) -> ResponseHead {
    let mut head = ResponseHead::default();
    let built = head
        .start(format!("{status} {reason}").as_bytes())
        .and_then(|()| head.add_field(b"Content-Type", b"text/plain; charset=utf-8"))
        .and_then(|()| match status {
            503 => head.add_field(b"Retry-After", RETRY_AFTER),
            _ => Ok(()),
        });
    debug_assert!(built.is_ok());
    head
}
