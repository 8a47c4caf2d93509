//! The header fields of a request that concern a file, collected in one pass.

use std::time::UNIX_EPOCH;

use super::coding::Accepted;

/// The fields. Lists keep each field line as it is.
#[derive(Debug, Default)]
pub(super) struct RequestFields<'a> {
    pub(super) if_match: Vec<&'a [u8]>,
    pub(super) if_none_match: Vec<&'a [u8]>,
    pub(super) if_modified_since: Field<'a>,
    pub(super) if_unmodified_since: Field<'a>,
    pub(super) range: Field<'a>,
    pub(super) if_range: Field<'a>,
    pub(super) accepted: Accepted,
}

/// A field that a request may have once.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    #[default]
    Missing,
    Once(&'a [u8]),
    /// It has no meaning then.
    Repeated,
}

impl<'a> RequestFields<'a> {
    /// Collects the fields.
    pub(super) fn new(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> RequestFields<'a> {
        let mut found = RequestFields::default();
        for (name, value) in fields {
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            // The length excludes nearly all fields before a name is compared.
            match name.len() {
                5 if is("range") => found.range.add(value),
                8 if is("if-match") => found.if_match.push(value),
                8 if is("if-range") => found.if_range.add(value),
                13 if is("if-none-match") => found.if_none_match.push(value),
                15 if is("accept-encoding") => found.accepted.add(value),
                17 if is("if-modified-since") => found.if_modified_since.add(value),
                19 if is("if-unmodified-since") => found.if_unmodified_since.add(value),
                _ => {}
            }
        }
        found
    }
}

impl<'a> Field<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Field::Missing => Field::Once(value),
            Field::Once(_) | Field::Repeated => Field::Repeated,
        };
    }

    /// The date, in seconds since the epoch. `None` is no condition: no field, several, or one
    /// without a date. [RFC 9110 sections 13.1.3, 13.1.4]
    pub(super) fn date(self) -> Option<u64> {
        match self {
            Field::Once(value) => date(value),
            Field::Missing | Field::Repeated => None,
        }
    }
}

/// Parses an HTTP-date to seconds since the epoch. [RFC 9110 section 5.6.7]
pub(super) fn date(value: &[u8]) -> Option<u64> {
    let time = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}
