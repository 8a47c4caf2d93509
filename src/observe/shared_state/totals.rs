//! What a server has counted since its start: the sum over its workers, those that have ended
//! included.

use super::LIMITS;
use super::histogram::Histogram;

/// The methods that are counted by name. [RFC 9110 section 9.1, RFC 5789] The last one stands for
/// all others: a client may send any name, and each would be a series of its own.
pub const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "other"];

/// The classes of status codes. The first one is a request that has taken its connection: its 101
/// (Switching Protocols) is the only final response of this class. The last one is a request
/// without a response, because its client has disconnected.
pub const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// The place of a method in [`METHODS`].
#[inline]
pub(super) fn method_of(method: &[u8]) -> usize {
    if method == b"GET" { 0 } else { search_method(method) }
}

fn search_method(method: &[u8]) -> usize {
    let named = &METHODS[..METHODS.len() - 1];
    named.iter().position(|name| name.as_bytes() == method).unwrap_or(named.len())
}

/// The place of a status code in [`CLASSES`].
#[inline]
pub(super) fn class_of(status: u16) -> usize {
    match status {
        // Most of them.
        200..=299 => 1,
        100..=199 => 0,
        300..=399 => 2,
        400..=499 => 3,
        500..=599 => 4,
        _ => 5,
    }
}

/// Bytes of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Body {
    /// Of requests.
    pub received: u64,
    /// Of responses.
    pub sent: u64,
}

/// What workers have counted. None of it ever decreases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Totals {
    /// Requests that were answered, by method and class.
    pub requests: [[u64; CLASSES.len()]; METHODS.len()],
    /// From the first byte of a request to the end of its response.
    pub duration: Histogram,
    /// From the last byte of a request to the call of the application.
    pub queue: Histogram,
    /// From the call of the application to the end of its response.
    pub app: Histogram,
    /// Bytes of the bodies of these requests and their responses.
    pub body_bytes: Body,
    /// Connections that were accepted.
    pub accepted: u64,
    /// How often each limit was reached.
    pub limits: [u64; LIMITS],
}

impl Default for Totals {
    fn default() -> Totals {
        let (requests, duration, queue, app, body_bytes, accepted) = Default::default();
        let limits = [0; LIMITS];
        Totals { requests, duration, queue, app, body_bytes, accepted, limits }
    }
}

impl Totals {
    /// The number of requests that were answered.
    pub fn answered(&self) -> u64 {
        self.requests.iter().flatten().fold(0, |sum, count| sum.wrapping_add(*count))
    }
}

#[cfg(test)]
#[cfg(not(shuttle))]
mod tests {
    use super::*;

    #[test]
    fn methods_and_status_codes_have_their_places() {
        for (index, method) in METHODS.iter().enumerate() {
            assert_eq!(method_of(method.as_bytes()), index);
        }
        for method in ["get", "", "BREW", "GETS"] {
            assert_eq!(METHODS[method_of(method.as_bytes())], "other");
        }
        for (status, class) in [
            (101, "1xx"),
            (200, "2xx"),
            (304, "3xx"),
            (404, "4xx"),
            (599, "5xx"),
            (0, "none"),
            (600, "none"),
        ] {
            assert_eq!(CLASSES[class_of(status)], class);
        }
    }
}
