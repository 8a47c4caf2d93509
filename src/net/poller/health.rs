//! `--health-path`: answers health checks without Python, also while all threads are busy.

use super::action::Action;
use super::connections::Phase;
use super::state::State;
use super::write;
use crate::config::Settings;
use crate::http1::ResponseHead;
use crate::net::arena::ConnectionId;
use crate::net::connection::Connection;
use crate::net::shutdown::Shutdown;
use crate::sys::clock::wall_clock;

/// True if the request of a connection is a health check.
#[inline]
pub(super) fn is_check(settings: &Settings, phase: &Phase) -> bool {
    let Some(path) = &settings.observability.health_path else { return false };
    let Phase::Reading(connection) = phase else { return false };
    let head = connection.http.head();
    head.path() == path.as_bytes() && matches!(head.method(), b"GET" | b"HEAD")
}

/// Answers a health check: 200 while the worker serves, or is replaced; 503 while it drains.
pub(super) fn answer(state: &mut State, id: ConnectionId) -> Action {
    let Some(mut connection) = state.lend(id) else { return Action::Wait };
    let (status, body): (&[u8], &[u8]) = match state.shutdown {
        Shutdown::Draining => (b"503 Service Unavailable", b"stopping\n"),
        _ => (b"200 OK", b"ok\n"),
    };
    if state.shutdown != Shutdown::Serving || connection.http.wants_content() {
        connection.http.close_after_response();
    }
    let head = response_head(status);
    let date = state.date.at(wall_clock());
    connection.begin(&head, Some(body.len() as u64), date);
    let Connection { http, queue, .. } = &mut *connection;
    queue.gather(|out| {
        if http.frame(body.len()).take > 0 {
            out.extend_from_slice(body);
        }
        // The content has the length that the head declares.
        let _ = http.finish(out);
    });
    if let Some(log) = &state.access_log {
        connection.log_access(&head, &[], |record| log.log(record));
    }
    state.count_answered(&connection, head.status());
    let sent = connection.send();
    write::on_sent(state, connection, sent)
}

fn response_head(status: &[u8]) -> ResponseHead {
    let mut head = ResponseHead::default();
    let built = head
        .start(status)
        .and_then(|()| head.add_field(b"Content-Type", b"text/plain; charset=utf-8"))
        .and_then(|()| head.add_field(b"Cache-Control", b"no-store"));
    debug_assert!(built.is_ok());
    head
}
