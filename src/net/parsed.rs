//! What follows from received bytes: more are needed, the request is complete, or it is rejected.

use std::io;

use crate::http1;
use crate::proxies;

/// The result of parsing received bytes.
#[derive(Debug)]
pub(super) enum Parsed {
    /// The request needs more bytes.
    NeedMore,
    /// The request is complete, or as much of it as a thread needs to run it.
    Complete,
    /// The request is rejected. Boxed, because it is rare and would enlarge every other variant.
    Rejected(Box<Rejection>),
}

impl From<Rejection> for Parsed {
    #[cold]
    fn from(rejection: Rejection) -> Parsed {
        Parsed::Rejected(Box::new(rejection))
    }
}

/// Why a request is rejected.
#[derive(Debug)]
pub(super) enum Rejection {
    /// It violates the protocol, or exceeds a limit for single requests.
    Protocol(http1::Error),
    /// A forwarded field of a trusted proxy is malformed.
    Forwarded(proxies::Error),
    /// Its content could not be written to a temporary file.
    Spool(io::Error),
    /// The temporary files of all connections exceed `--limit-spool`.
    SpoolLimit,
    /// Its content alone is larger than `--limit-spool`.
    NeverSpooled,
    /// The buffers of all connections exceed `--limit-memory`.
    Memory,
    /// It is plain HTTP, and the listener speaks HTTPS.
    PlainHttp,
}
