//! What a connection waits for while it is its client's turn: the eviction policy decides by it.

use crate::sys::clock::Moment;

/// What a client has to send, or to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Awaited {
    /// The first byte of another request, after an answered one.
    NextRequest,
    /// The first byte of its first request.
    FirstRequest,
    /// The client's close, after the last response.
    Close,
    /// The rest of a head.
    Head,
    /// The rest of the content.
    Content,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) awaited: Awaited,
    /// When the wait began. For content, the time of the last bytes.
    pub(super) since: Moment,
}

impl Waiting {
    /// True if the connection waits for the first byte of a request.
    pub(super) fn is_idle(self) -> bool {
        matches!(self.awaited, Awaited::NextRequest | Awaited::FirstRequest)
    }
}
