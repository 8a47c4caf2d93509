//! Parses the request target, which has one of four forms. [RFC 9112 section 3.2]

use super::Error;
use super::grammar::is_host;
use super::head::Span;

/// The parts of a target, as spans into the bytes of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Target {
    /// The path, still percent-encoded. Empty for `*`, and for an absolute target that has none.
    pub(crate) path: Span,
    /// What follows the first `?`. Empty if there is none.
    pub(crate) query: Span,
    /// The authority of an absolute target, which replaces the Host field.
    pub(crate) authority: Option<Span>,
}

/// Parses the target at `span` of `bytes`.
pub(crate) fn parse(bytes: &[u8], span: Span, method: &[u8]) -> Result<Target, Error> {
    let target = span.of(bytes);
    // Visible ASCII only. A conforming client sends no fragment, and servers disagree on where a
    // path with a `#` ends, so it is rejected.
    if target.is_empty() || target.iter().any(|&b| !(0x21..=0x7e).contains(&b) || b == b'#') {
        return Err(Error::Target);
    }
    if method == b"CONNECT" {
        return Err(Error::Connect);
    }
    let start = span.start as usize;
    let found = match target {
        [b'/', ..] => split_at_query(target, start),
        b"*" if method == b"OPTIONS" => Target::default(),
        _ => parse_absolute(target, start)?,
    };
    if has_encoded_nul(found.path.of(bytes)) {
        return Err(Error::Target);
    }
    Ok(found)
}

fn split_at_query(target: &[u8], start: usize) -> Target {
    match memchr::memchr(b'?', target) {
        Some(mark) => Target {
            path: Span::new(start, start + mark),
            query: Span::new(start + mark + 1, start + target.len()),
            authority: None,
        },
        None => Target { path: Span::new(start, start + target.len()), ..Target::default() },
    }
}

/// Parses `http://authority/path?query`. User information is rejected: it has no meaning here, and
/// it hides the real host from a human reader. [RFC 9110 section 4.2.4]
fn parse_absolute(target: &[u8], start: usize) -> Result<Target, Error> {
    let Some(colon) = memchr::memmem::find(target, b"://") else {
        return Err(Error::Target);
    };
    let scheme = &target[..colon];
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(Error::Target);
    }
    let host = colon + 3;
    let end = target[host..]
        .iter()
        .position(|&b| b == b'/' || b == b'?')
        .map_or(target.len(), |i| host + i);
    if !is_host(&target[host..end]) {
        return Err(Error::Target);
    }
    if scheme.len() == 5 {
        return Err(Error::Misdirected);
    }
    let authority = Some(Span::new(start + host, start + end));
    let rest = split_at_query(&target[end..], start + end);
    // `OPTIONS http://host` means the same as `OPTIONS *`: the path is empty in both. With another
    // method an empty path means `/`, which `Head::path` returns. [RFC 9112 section 3.2.4]
    Ok(Target { authority, ..rest })
}

/// True if the path has `%00`, at which the C libraries that an application calls would end it.
fn has_encoded_nul(path: &[u8]) -> bool {
    memchr::memmem::find(path, b"%00").is_some()
}
