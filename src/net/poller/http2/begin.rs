//! Where HTTP/2 begins: a session takes a connection over from the parser of HTTP/1.1.

use std::sync::Arc;

use crate::config::HttpProtocols;
use crate::http1;
use crate::net::arena::ConnectionId;
use crate::net::connection::{Connection, Rejection};
use crate::net::http2::{SWITCHING_PROTOCOLS, Session, SessionWaker, Shared, Upgraded, upgraded};
use crate::net::poller::action::Action;
use crate::net::poller::connections::Phase;
use crate::net::poller::multiplexed::Multiplexed;
use crate::net::poller::state::State;

/// What begins the preface of a client, as the parser of HTTP/1.1 sees it. [RFC 9113 section 3.4]
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// True if the rejected request is the preface of a client that may begin HTTP/2 without TLS.
#[cold]
pub(in crate::net::poller) fn is_preface(
    state: &State,
    id: ConnectionId,
    rejection: &Rejection,
) -> bool {
    let Rejection::Protocol(http1::Error::Version) = rejection else { return false };
    let Some(Phase::Reading(connection)) = state.connections.get(id).map(|slot| &slot.phase) else {
        return false;
    };
    state.settings.http2.cleartext.has_prior_knowledge()
        && may_be_cleartext(state, connection)
        && !connection.has_served()
        && connection.input.starts_with(PREFACE)
}

/// True if the client may use HTTP/2 without TLS, apart from how it begins.
fn may_be_cleartext(state: &State, connection: &Connection) -> bool {
    state.settings.tls.protocols.has_http2()
        && connection.write_half.transport().plain().is_some()
        && connection.local.redirect_port.is_none()
        && state.settings.trusts(connection.peer.ip())
}

/// The complete request of a connection, if it asks for HTTP/2, and may. `--http-protocols h2`
/// leaves prior knowledge only.
#[cold]
pub(in crate::net::poller) fn asks_for_http2(state: &State, id: ConnectionId) -> Option<Upgraded> {
    if state.settings.tls.protocols == HttpProtocols::Http2 {
        return None;
    }
    let Phase::Reading(connection) = &state.connections.get(id)?.phase else { return None };
    let request = upgraded(connection.http.head())?;
    may_be_cleartext(state, connection).then_some(request)
}

/// Answers a request that asks for HTTP/2 with 101, and makes it the first stream.
#[cold]
pub(in crate::net::poller) fn upgrade(
    state: &mut State,
    id: ConnectionId,
    request: Upgraded,
) -> Action {
    if let Some(slot) = state.connections.get_mut(id)
        && let Phase::Reading(connection) = &mut slot.phase
    {
        connection.queue.gather(|out| out.extend_from_slice(SWITCHING_PROTOCOLS));
    }
    begin_with(state, id, Some(request))
}

/// The client has begun HTTP/2: from now on a session reads from the connection.
#[cold]
pub(in crate::net::poller) fn begin(state: &mut State, id: ConnectionId) -> Action {
    begin_with(state, id, None)
}

fn begin_with(state: &mut State, id: ConnectionId, upgraded: Option<Upgraded>) -> Action {
    let Some(slot) = state.connections.get_mut(id) else { return Action::Wait };
    let Phase::Reading(connection) = &mut slot.phase else { return Action::Wait };
    let mut input = std::mem::take(&mut connection.input);
    let waker = Arc::new(SessionWaker::new(id, state.link.clone()));
    let variables = connection.tls_variables().cloned();
    let shared = Arc::new(Shared::new(waker.clone().into(), variables));
    let buffers_content = state.settings.request_buffering;
    let mut session =
        Session::new(&state.settings.http2, buffers_content, shared, upgraded, state.now);
    session.receive(&mut input, state.now);
    let phase = std::mem::replace(&mut slot.phase, Phase::Http2(None));
    if let Phase::Reading(connection) = phase {
        slot.phase = Phase::Http2(Some(Box::new(Multiplexed {
            connection,
            session,
            waker,
            streams: Vec::new(),
            unread_bytes: 0,
            idle_since: state.now,
            has_served: false,
            leaving_since: None,
            ending: None,
        })));
    }
    Action::DriveHttp2
}
