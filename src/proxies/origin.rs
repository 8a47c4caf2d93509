//! Scheme, host, port and prefix of the URL that the client has used.

use percent_encoding::percent_decode;

use super::element::members;
use super::forwarded::{Error, Host, Scheme};
use crate::http1::{decimal, is_host};

/// `http` or `https`.
pub(super) fn scheme(value: &[u8]) -> Option<Scheme> {
    match value {
        value if value.eq_ignore_ascii_case(b"https") => Some(Scheme::Https),
        value if value.eq_ignore_ascii_case(b"http") => Some(Scheme::Http),
        _ => None,
    }
}

/// The scheme that all members of `X-Forwarded-Proto`, and its equivalents, agree on.
pub(super) fn agreed_scheme(values: &[(SchemeField, &[u8])]) -> Result<Option<Scheme>, Error> {
    let mut agreed = None;
    for (field, value) in values {
        for member in members(value) {
            let scheme = field.scheme(member).ok_or(Error::Proto)?;
            if *agreed.get_or_insert(scheme) != scheme {
                return Err(Error::Proto);
            }
        }
    }
    Ok(agreed)
}

/// A field that names the scheme: those of gunicorn's `secure_scheme_headers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SchemeField {
    /// `X-Forwarded-Proto: https`
    Proto,
    /// `X-Forwarded-Protocol: ssl`
    Protocol,
    /// `X-Forwarded-Ssl: on`
    Ssl,
}

impl SchemeField {
    fn scheme(self, member: &[u8]) -> Option<Scheme> {
        match self {
            SchemeField::Proto => scheme(member),
            SchemeField::Protocol if member.eq_ignore_ascii_case(b"ssl") => Some(Scheme::Https),
            SchemeField::Protocol => scheme(member),
            SchemeField::Ssl if member.eq_ignore_ascii_case(b"on") => Some(Scheme::Https),
            SchemeField::Ssl if member.eq_ignore_ascii_case(b"off") => Some(Scheme::Http),
            SchemeField::Ssl => None,
        }
    }
}

/// `host[:port]`; `None` if it is malformed, or a list. A comma may be part of a name in a URL, but
/// here it is the sign of a second proxy.
pub(super) fn host(value: &[u8]) -> Option<Host> {
    if !is_host(value) || value.contains(&b',') {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    let name_end = match text.rfind(']') {
        Some(bracket) => bracket + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let port = text[name_end..].strip_prefix(':').filter(|port| !port.is_empty());
    let port = match port {
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    Some(Host { name: text[..name_end].to_owned(), port })
}

/// A port from 1 to 65535.
pub(super) fn port(value: &[u8]) -> Option<u16> {
    let port = decimal(value).filter(|&port| port > 0 && value.len() <= 5)?;
    u16::try_from(port).ok()
}

/// The decoded prefix without a final slash; `None` unless it matches `(/segment)*`, without an
/// empty segment, `..`, `?` or `#`, before decoding and after it.
pub(super) fn prefix(value: &[u8]) -> Option<Vec<u8>> {
    if !has_valid_escapes(value) || !value.iter().all(|&byte| is_prefix_byte(byte)) {
        return None;
    }
    let decoded: Vec<u8> = percent_decode(value).collect();
    let is_valid = match decoded.as_slice() {
        [] | [b'/'] => true,
        [b'/', ..] => {
            !contains(&decoded, b"//")
                && !contains(&decoded, b"..")
                && !decoded
                    .iter()
                    .any(|&byte| matches!(byte, b'?' | b'#') || byte.is_ascii_control())
        }
        _ => false,
    };
    is_valid.then(|| decoded.strip_suffix(b"/").unwrap_or(&decoded).to_vec())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

/// `pchar` of RFC 3986, or a slash.
fn is_prefix_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/%-._~!$&'()*+,;=:@".contains(&byte)
}

fn has_valid_escapes(value: &[u8]) -> bool {
    memchr::memchr_iter(b'%', value).all(|at| {
        let digits = value.get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}
