//! Responses that the server gives by itself, without the application.

use log::info;

use super::super::connection::{Connection, Refusal};
use super::super::date::wall_clock;
use super::super::timers::Key;
use super::{Phase, Reactor};
use crate::http1::ResponseHead;

impl Reactor {
    pub(super) fn refuse(&mut self, key: Key, refusal: &Refusal, ready: &mut Vec<Box<Connection>>) {
        let (status, reason, detail) = match refusal {
            Refusal::Protocol(error) => {
                let (status, reason) = error.status();
                (status, reason, error.to_string())
            }
            Refusal::Spool(error) => {
                log::error!("cannot store a request body in a temporary file: {error}");
                (507, "Insufficient Storage", "the request content cannot be stored".to_owned())
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
        info!("refused a request from {:?}: {status} {detail}", connection.peer.address());
        connection.http.refuse();
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

/// The head of a response that the server gives by itself.
fn error_response(status: u16, reason: &str) -> ResponseHead {
    let mut head = ResponseHead::default();
    let built = head
        .start(format!("{status} {reason}").as_bytes())
        .and_then(|()| head.field(b"Content-Type", b"text/plain; charset=utf-8"));
    debug_assert!(built.is_ok());
    head
}
