//! Names the options whose limits a request exceeds: the parser knows only the limits.

use crate::http1::{self, Limits};

/// The option whose limit a request with this error exceeds, and that limit.
pub(super) fn exceeded_limit(error: http1::Error, limits: &Limits) -> Option<(&'static str, u64)> {
    match error {
        http1::Error::RequestLineTooLong => {
            Some(("--limit-request-line", limits.request_line as u64))
        }
        http1::Error::TooManyFields => Some(("--limit-request-fields", limits.fields as u64)),
        http1::Error::FieldTooLong => {
            Some(("--limit-request-field-size", limits.field_size as u64))
        }
        http1::Error::HeadTooLarge => Some(("--limit-request-head", limits.head as u64)),
        http1::Error::TrailersTooLarge => Some(("--limit-trailers", limits.trailers as u64)),
        http1::Error::ChunkExtension => {
            Some(("--limit-chunk-extension", limits.chunk_extension as u64))
        }
        http1::Error::BodyTooLarge => Some(("--limit-request-body", limits.body)),
        _ => None,
    }
}
