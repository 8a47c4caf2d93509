//! The head of a 103 (Early Hints) response, which comes before the final one. [RFC 8297]

use super::grammar::{is_field_value, is_token, trim_ows};
use super::response::{ResponseError, concerns_connection};

/// A 103 response. Its fields are validated as they are added.
#[derive(Debug)]
pub struct EarlyHints {
    bytes: Vec<u8>,
}

impl Default for EarlyHints {
    fn default() -> EarlyHints {
        EarlyHints { bytes: b"HTTP/1.1 103 Early Hints\r\n".to_vec() }
    }
}

impl EarlyHints {
    /// Adds a field. Fields that concern the connection, or content, which an interim response does
    /// not have, are left out. [RFC 9110 sections 7.6.1, 8.6]
    pub fn add_field(&mut self, name: &[u8], value: &[u8]) -> Result<(), ResponseError> {
        if !is_token(name) {
            return Err(ResponseError::Name);
        }
        if !is_field_value(value) {
            return Err(ResponseError::Value);
        }
        if !concerns_connection(name) {
            for part in [name, b": ", trim_ows(value), b"\r\n"] {
                self.bytes.extend_from_slice(part);
            }
        }
        Ok(())
    }

    /// The response as it is sent.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(b"\r\n");
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_frame_a_response_are_left_out() {
        let mut hints = EarlyHints::default();
        for (name, value) in [
            ("Link", " </a.css>; rel=preload\t"),
            ("Content-Length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("X-Empty", ""),
        ] {
            hints.add_field(name.as_bytes(), value.as_bytes()).unwrap();
        }
        let expected =
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-Empty: \r\n\r\n";
        assert_eq!(String::from_utf8(hints.into_bytes()).unwrap(), expected);
    }

    #[test]
    fn field_that_splits_the_response_is_refused() {
        for (name, value, expected) in [
            ("Li nk", "x", ResponseError::Name),
            ("", "x", ResponseError::Name),
            ("Link:", "x", ResponseError::Name),
            ("Link", "x\r\nSet-Cookie: a", ResponseError::Value),
            ("Link", "x\n", ResponseError::Value),
            ("Link", "\0", ResponseError::Value),
        ] {
            let found = EarlyHints::default().add_field(name.as_bytes(), value.as_bytes());
            assert_eq!(found, Err(expected), "{name:?}: {value:?}");
        }
    }
}
