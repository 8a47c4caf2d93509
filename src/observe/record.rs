//! The description of a request that a line of the access log is made of.

use std::time::{Duration, SystemTime};

use super::trace::Trace;
use super::user;

/// One finished request, for the access log.
///
/// All of its data may come from the client, so the format escapes it.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// The peer's address without its port; empty for a Unix socket.
    pub remote: &'a str,
    /// The method as received.
    pub method: &'a [u8],
    /// The request target as received, not decoded.
    pub target: &'a [u8],
    /// The protocol, as `HTTP/1.1`.
    pub version: &'a str,
    /// The status code of the response.
    pub status: u16,
    /// Bytes of content sent, without head and chunk framing.
    pub sent: u64,
    /// When the request's first byte arrived.
    pub started: SystemTime,
    /// The time from then to the response's last byte.
    pub elapsed: Duration,
    /// Looks up the first request field of a name, which is in lower case.
    pub request_field: &'a dyn Fn(&str) -> Option<&'a [u8]>,
    /// Looks up the first response field of a name, which is in lower case.
    pub response_field: &'a dyn Fn(&str) -> Option<&'a [u8]>,
    /// The values of the environ keys that the format names, as far as the environ has them.
    pub environ: &'a [(String, String)],
    /// The trace of the request.
    pub trace: Trace<'a>,
}

impl Record<'_> {
    /// The user name that the request claims in Basic authorization.
    pub(super) fn user(&self) -> Option<Vec<u8>> {
        (self.request_field)("authorization").and_then(user::from_authorization)
    }

    /// The target's path and query, also of the absolute form [RFC 9112 section 3.2.2].
    pub(super) fn path_and_query(&self) -> (&[u8], &[u8]) {
        let mut path = self.target;
        if !path.starts_with(b"/")
            && let Some(scheme) = memchr::memmem::find(path, b"://")
        {
            let authority = &path[scheme + 3..];
            let end = memchr::memchr2(b'/', b'?', authority);
            path = &authority[end.unwrap_or(authority.len())..];
        }
        match memchr::memchr(b'?', path) {
            Some(mark) => (&path[..mark], &path[mark + 1..]),
            None => (path, b""),
        }
    }
}
