//! `--redirect-bind`: answers every request with a redirect to HTTPS, without Python. Requests by
//! which an authority of ACME validates a name get its response instead.

use super::action::Action;
use super::respond::{ErrorResponse, respond};
use super::state::State;
use crate::http1::Head;
use crate::net::arena::ConnectionId;

/// The default port of HTTPS, which a URL leaves out.
const HTTPS_PORT: u16 = 443;

/// Redirects a request to HTTPS at `port` of the same host. A request without a host is rejected.
#[cold]
pub(super) fn redirect(state: &mut State, id: ConnectionId, port: u16) -> Action {
    let Some(connection) = state.lend(id) else { return Action::Wait };
    let challenges = state.challenges.as_ref();
    let key_authorization =
        challenges.and_then(|challenges| challenges.http_response(connection.http.head().path()));
    if let Some(text) = key_authorization {
        return respond(state, connection, &ErrorResponse::challenge(text));
    }
    let response = match location(connection.http.head(), port) {
        Some(location) => ErrorResponse::redirect(location),
        None => ErrorResponse::bad_request("a redirect needs a valid Host"),
    };
    respond(state, connection, &response)
}

/// The URL of the same target. The parser has checked the target and the host.
fn location(head: &Head, port: u16) -> Option<String> {
    let host = head.authority().or_else(|| head.field(b"host"))?;
    let host = std::str::from_utf8(host).ok().filter(|host| !host.is_empty())?;
    // Without the authority of `http://host/path`, and with the path that it may lack. `*` has
    // none.
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let (path, query) = (text(head.path())?, text(head.query())?);
    let path = if path.is_empty() { "/" } else { path };
    let mark = if head.raw_target().contains(&b'?') { "?" } else { "" };
    let port = if port == HTTPS_PORT { String::new() } else { format!(":{port}") };
    Some(format!("https://{}{port}{path}{mark}{query}", without_port(host)))
}

/// The host of `host:port`, or of `[IPv6]:port`.
fn without_port(host: &str) -> &str {
    match host.rfind(']') {
        Some(end) => &host[..=end],
        None => host.split_once(':').map_or(host, |(host, _)| host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Connection, Limits};

    #[test]
    fn request_is_redirected_to_the_same_host_and_target() {
        for (request, port, expected) in [
            ("GET / HTTP/1.1\r\nHost: a.example\r\n", 443, Some("https://a.example/")),
            ("GET /x?y=%20 HTTP/1.1\r\nHost: a:80\r\n", 8443, Some("https://a:8443/x?y=%20")),
            ("POST /x HTTP/1.1\r\nHost: [::1]:80\r\n", 443, Some("https://[::1]/x")),
            ("GET //b/ HTTP/1.1\r\nHost: a\r\n", 443, Some("https://a//b/")),
            ("GET http://b:1/x HTTP/1.1\r\nHost: b:1\r\n", 443, Some("https://b/x")),
            ("GET http://b?q HTTP/1.1\r\nHost: b\r\n", 443, Some("https://b/?q")),
            ("GET http://b HTTP/1.1\r\nHost: b\r\n", 8443, Some("https://b:8443/")),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n", 443, Some("https://a/")),
            ("GET / HTTP/1.0\r\n", 443, None),
        ] {
            let mut http = Connection::new(Limits::default());
            http.receive(format!("{request}\r\n").as_bytes()).unwrap();
            assert_eq!(location(http.head(), port).as_deref(), expected, "{request}");
        }
    }
}
