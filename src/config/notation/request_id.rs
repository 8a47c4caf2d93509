//! The notation of the option for request ids.

use clap::builder::ValueParser;
use toml::Value;

use super::Notation;
use crate::http1::has_server_meaning;

/// The name of the field of request ids.
pub(in crate::config) const REQUEST_ID_HEADER: &Notation<String> =
    &Notation::new(|| ValueParser::new(field_name), |name| Value::from(name.as_str()));

/// The name of the field that holds the id of a request. The server must give no other meaning to
/// it, in requests or responses.
fn field_name(text: &str) -> Result<String, String> {
    const MAX_BYTES: usize = 64;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.is_empty() || text.len() > MAX_BYTES || !text.bytes().all(is_name) {
        return Err("not a field name of at most 64 letters, digits and hyphens, such as \
                    X-Request-ID"
            .to_owned());
    }
    if has_server_meaning(text.as_bytes()) {
        return Err("a field that has another meaning; use one such as X-Request-ID".to_owned());
    }
    Ok(text.to_owned())
}
