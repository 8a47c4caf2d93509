//! The response to a request at the metrics address.

/// What a browser may do on the live page: nothing from elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// A response.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// The status code and the reason phrase.
    pub(super) status: String,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    /// Events follow until the client disconnects.
    pub(super) is_stream: bool,
    /// The method is one that the path does not have.
    is_wrong_method: bool,
}

impl Answer {
    /// A response with this status.
    pub(super) fn new(
        status: &str,
        content_type: &'static str,
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        Answer {
            status: status.to_owned(),
            content_type,
            body: body.into(),
            is_stream: false,
            is_wrong_method: false,
        }
    }

    /// An endless stream of server-sent events, which begins with `first`.
    pub(super) fn stream(first: Vec<u8>) -> Answer {
        Answer { is_stream: true, ..Answer::new("200 OK", "text/event-stream", first) }
    }

    /// A request that is refused.
    pub(super) fn refusal(status: u16, reason: &str, detail: &str) -> Answer {
        let body = format!("{status} {reason}: {detail}\n");
        let content_type = "text/plain; charset=utf-8";
        Answer {
            is_wrong_method: status == 405,
            ..Answer::new(&format!("{status} {reason}"), content_type, body)
        }
    }

    /// The header fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let page = self.content_type.starts_with("text/html");
        [
            Some(("Content-Type", self.content_type)),
            Some(("Cache-Control", "no-store")),
            Some(("X-Content-Type-Options", "nosniff")),
            Some(("Cross-Origin-Resource-Policy", "same-origin")),
            page.then_some(("Content-Security-Policy", CONTENT_SECURITY_POLICY)),
            page.then_some(("Referrer-Policy", "no-referrer")),
            self.is_wrong_method.then_some(("Allow", "GET, HEAD")),
        ]
        .into_iter()
        .flatten()
    }
}
