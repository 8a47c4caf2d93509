//! The elements of the field `Forwarded`. [RFC 7239 section 4]
//!
//! An element is a list of parameters: `for=192.0.2.60;proto=http;by=203.0.113.43`. A value is a
//! token or a quoted string. Blanks around a semicolon are not in the grammar, but common.

use std::borrow::Cow;

use super::forwarded::Error;
use crate::http1::{is_token_byte, trim_ows};

/// The most parameters of an element. The RFC has four; each is compared with the ones before it.
const MAX_PARAMETERS: usize = 16;

/// One element: the parameters that the server reads, without quotes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// `for`: where the proxy has received the request from.
    pub(super) node: Option<Cow<'a, [u8]>>,
    /// `proto`: the scheme of that request.
    pub(super) proto: Option<Cow<'a, [u8]>>,
    /// `host`: the Host field of that request.
    pub(super) host: Option<Cow<'a, [u8]>>,
}

/// Appends the elements of one field to `elements`.
pub(super) fn parse<'a>(mut rest: &'a [u8], elements: &mut Vec<Element<'a>>) -> Result<(), Error> {
    loop {
        let mut names = Vec::new();
        let mut element = Element::default();
        rest = loop {
            rest = skip_ows(rest);
            // A semicolon may be followed by nothing.
            if !matches!(rest, [] | [b';' | b',', ..]) {
                rest = parameter(rest, &mut element, &mut names)?;
                rest = skip_ows(rest);
            }
            match rest {
                [b';', tail @ ..] => rest = tail,
                _ => break rest,
            }
        };
        // The grammar allows an element without parameters, but no proxy has a reason to send one.
        if names.is_empty() {
            return Err(Error::Forwarded);
        }
        elements.push(element);
        match rest {
            [] => return Ok(()),
            [b',', tail @ ..] => rest = tail,
            _ => return Err(Error::Forwarded),
        }
    }
}

fn skip_ows(bytes: &[u8]) -> &[u8] {
    let first = bytes.iter().position(|&byte| !matches!(byte, b' ' | b'\t'));
    first.map_or(&[], |first| &bytes[first..])
}

/// Parses `token "=" value`, and returns the rest. [RFC 7239 section 4, `forwarded-pair`]
fn parameter<'a>(
    bytes: &'a [u8],
    element: &mut Element<'a>,
    names: &mut Vec<&'a [u8]>,
) -> Result<&'a [u8], Error> {
    let (name, rest) = token(bytes).ok_or(Error::Forwarded)?;
    let rest = rest.strip_prefix(b"=").ok_or(Error::Forwarded)?;
    let (value, rest) = match rest {
        [b'"', rest @ ..] => quoted_string(rest).ok_or(Error::Forwarded)?,
        _ => token(rest).map(|(value, rest)| (value.into(), rest)).ok_or(Error::Forwarded)?,
    };
    // "Each parameter MUST NOT occur more than once per forwarded-element."
    if names.iter().any(|other| other.eq_ignore_ascii_case(name)) {
        return Err(Error::Forwarded);
    }
    names.push(name);
    if names.len() > MAX_PARAMETERS {
        return Err(Error::Forwarded);
    }
    let slot = match name {
        name if name.eq_ignore_ascii_case(b"for") => &mut element.node,
        name if name.eq_ignore_ascii_case(b"proto") => &mut element.proto,
        name if name.eq_ignore_ascii_case(b"host") => &mut element.host,
        _ => return Ok(rest),
    };
    *slot = Some(value);
    Ok(rest)
}

fn token(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(bytes.len());
    (end > 0).then(|| bytes.split_at(end))
}

/// Parses a quoted string behind its first quote. [RFC 9110 section 5.6.4]
fn quoted_string(bytes: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let end = memchr::memchr2(b'"', b'\\', bytes)?;
    if bytes[end] == b'"' {
        return Some((bytes[..end].into(), &bytes[end + 1..]));
    }
    let mut text = bytes[..end].to_vec();
    let mut rest = &bytes[end..];
    loop {
        match rest {
            [b'"', rest @ ..] => return Some((text.into(), rest)),
            [b'\\', byte, tail @ ..] => {
                text.push(*byte);
                rest = tail;
            }
            [b'\\'] | [] => return None,
            [byte, tail @ ..] => {
                text.push(*byte);
                rest = tail;
            }
        }
    }
}

/// The members of a comma-separated field, trimmed, empty ones included.
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim_ows)
}
