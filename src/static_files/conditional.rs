//! Evaluates the preconditions of a request, in the order that RFC 9110 section 13.2.2 gives.

use super::request::{Field, RequestFields, date};

/// What identifies the content of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validators<'a> {
    /// The entity tag, in its quotes; weak if `W/` is in front. `None` if there is none.
    pub(super) etag: Option<&'a [u8]>,
    /// Last-Modified, in seconds since the epoch.
    pub(super) modified: Option<u64>,
}

/// The result of the preconditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precondition {
    /// The response is sent. `Range` applies unless `ignores_range`.
    Passed {
        /// If-Range names other content than there is now.
        ignores_range: bool,
    },
    /// 304: the client has this content.
    NotModified,
    /// 412.
    Failed,
}

impl Precondition {
    /// Evaluates the preconditions of a GET or HEAD.
    pub(super) fn evaluate(fields: &RequestFields<'_>, now: Validators<'_>) -> Precondition {
        // 1. and 2.: If-Match, or If-Unmodified-Since without it.
        if !fields.if_match.is_empty() {
            if !lists(&fields.if_match, now.etag, Comparison::Strong) {
                return Precondition::Failed;
            }
        } else if let (Some(date), Some(modified)) =
            (fields.if_unmodified_since.date(), now.modified)
            && modified > date
        {
            return Precondition::Failed;
        }
        // 3. and 4.: If-None-Match, or If-Modified-Since without it.
        if !fields.if_none_match.is_empty() {
            if lists(&fields.if_none_match, now.etag, Comparison::Weak) {
                return Precondition::NotModified;
            }
        } else if let (Some(date), Some(modified)) = (fields.if_modified_since.date(), now.modified)
            && modified <= date
        {
            return Precondition::NotModified;
        }
        // 5.: If-Range.
        let ignores_range = match fields.if_range {
            Field::Missing => false,
            Field::Once(value) => !is_current(value, now),
            Field::Repeated => true,
        };
        Precondition::Passed { ignores_range }
    }
}

/// How two entity tags are compared. [RFC 9110 section 8.8.3.2]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// True if the value of If-Range is the current validator. A date must be the same, not only not
/// older. [RFC 9110 section 13.1.5]
fn is_current(value: &[u8], now: Validators<'_>) -> bool {
    match value {
        [b'"', ..] | [b'W', b'/', ..] => lists(&[value], now.etag, Comparison::Strong),
        _ => date(value).is_some_and(|date| now.modified == Some(date)),
    }
}

/// True if the list is `*`, or has the entity tag.
fn lists(lines: &[&[u8]], etag: Option<&[u8]>, comparison: Comparison) -> bool {
    if lines.iter().any(|line| line.trim_ascii() == b"*") {
        // The file exists.
        return true;
    }
    let Some((is_weak, tag)) = etag.and_then(split_tag).map(|(is_weak, tag, _)| (is_weak, tag))
    else {
        return false;
    };
    lines.iter().any(|line| {
        let mut rest = *line;
        loop {
            while let [b',' | b' ' | b'\t', after @ ..] = rest {
                rest = after;
            }
            let Some((other_is_weak, other, after)) = split_tag(rest) else { return false };
            let is_strong = !is_weak && !other_is_weak;
            if other == tag && (is_strong || comparison == Comparison::Weak) {
                return true;
            }
            rest = after;
        }
    })
}

/// Splits the entity tag at the start: whether it is weak, the tag in its quotes, and the rest.
fn split_tag(text: &[u8]) -> Option<(bool, &[u8], &[u8])> {
    let (is_weak, tag) = match text {
        [b'W', b'/', tag @ ..] => (true, tag),
        tag => (false, tag),
    };
    if tag.first() != Some(&b'"') {
        return None;
    }
    let end = memchr::memchr(b'"', &tag[1..])? + 2;
    Some((is_weak, &tag[..end], &tag[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Precondition::{Failed, NotModified, Passed};

    const ETAG: &str = "\"a-1\"";
    /// Last-Modified, a second before it, and one after it.
    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const SENT: Precondition = Passed { ignores_range: false };
    const WHOLE: Precondition = Passed { ignores_range: true };

    fn evaluate(fields: &[(&str, &str)], etag: &str) -> Precondition {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let now = Validators { etag: Some(etag.as_bytes()), modified: date(AT.as_bytes()) };
        Precondition::evaluate(&RequestFields::new(fields), now)
    }

    #[test]
    fn preconditions_are_evaluated_in_their_order() {
        for (fields, expected) in [
            (&[][..], SENT),
            (&[("If-None-Match", ETAG)], NotModified),
            (&[("If-None-Match", "*")], NotModified),
            (&[("If-None-Match", "W/\"a-1\"")], NotModified),
            (&[("If-None-Match", "\"b\", \"a-1\"")], NotModified),
            (&[("If-None-Match", "\"b\",W/\"a-1\" ,\"c\"")], NotModified),
            (&[("If-None-Match", "\"b\""), ("If-None-Match", ETAG)], NotModified),
            (&[("If-None-Match", "\"a\"")], SENT),
            (&[("If-None-Match", "\"\"")], SENT),
            (&[("If-None-Match", "a-1")], SENT),
            (&[("If-None-Match", "\"a-1")], SENT),
            (&[("If-None-Match", "")], SENT),
            (&[("If-None-Match", "\"a,\", \"a-1\"")], NotModified),
            (&[("If-Modified-Since", AT)], NotModified),
            (&[("If-Modified-Since", AFTER)], NotModified),
            (&[("If-Modified-Since", BEFORE)], SENT),
            (&[("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")], NotModified),
            (&[("If-Modified-Since", "Sun Nov  6 08:49:37 1994")], NotModified),
            (&[("If-Modified-Since", "yesterday")], SENT),
            (&[("If-Modified-Since", "0")], SENT),
            (&[("If-Modified-Since", BEFORE), ("If-Modified-Since", AFTER)], SENT),
            (&[("If-Unmodified-Since", AFTER), ("If-Unmodified-Since", BEFORE)], SENT),
            // If-None-Match takes precedence, whatever it says.
            (&[("If-Modified-Since", AFTER), ("If-None-Match", "\"b\"")], SENT),
            (&[("If-Modified-Since", BEFORE), ("If-None-Match", ETAG)], NotModified),
            (&[("If-Match", ETAG)], SENT),
            (&[("If-Match", "*")], SENT),
            (&[("If-Match", "\"b\", \"a-1\"")], SENT),
            (&[("If-Match", "W/\"a-1\"")], Failed),
            (&[("If-Match", "\"b\"")], Failed),
            (&[("If-Match", "")], Failed),
            (&[("If-Unmodified-Since", AT)], SENT),
            (&[("If-Unmodified-Since", AFTER)], SENT),
            (&[("If-Unmodified-Since", BEFORE)], Failed),
            (&[("If-Unmodified-Since", "tomorrow")], SENT),
            // If-Match takes precedence.
            (&[("If-Match", ETAG), ("If-Unmodified-Since", BEFORE)], SENT),
            (&[("If-Match", "\"b\""), ("If-Unmodified-Since", AFTER)], Failed),
            // Both kinds: the first one that fails decides.
            (&[("If-Match", "\"b\""), ("If-None-Match", ETAG)], Failed),
            (&[("If-Match", ETAG), ("If-None-Match", ETAG)], NotModified),
            (&[("If-Unmodified-Since", AT), ("If-Modified-Since", AT)], NotModified),
            (&[("If-Unmodified-Since", BEFORE), ("If-None-Match", ETAG)], Failed),
            (&[("If-Range", ETAG)], SENT),
            (&[("If-Range", "\"b\"")], WHOLE),
            (&[("If-Range", "W/\"a-1\"")], WHOLE),
            (&[("If-Range", AT)], SENT),
            (&[("If-Range", BEFORE)], WHOLE),
            (&[("If-Range", AFTER)], WHOLE),
            (&[("If-Range", "a-1")], WHOLE),
            (&[("If-Range", ETAG), ("If-Range", ETAG)], WHOLE),
            (&[("If-Range", ETAG), ("If-None-Match", ETAG)], NotModified),
        ] {
            assert_eq!(evaluate(fields, ETAG), expected, "{fields:?}");
        }
    }

    #[test]
    fn weak_etag_matches_weakly_only() {
        for (name, expected) in
            [("If-None-Match", NotModified), ("If-Match", Failed), ("If-Range", WHOLE)]
        {
            for tag in ["W/\"a-1\"", ETAG] {
                assert_eq!(evaluate(&[(name, tag)], "W/\"a-1\""), expected, "{name}: {tag}");
            }
        }
    }

    #[test]
    fn response_without_validators_has_no_condition() {
        let now = Validators { etag: None, modified: None };
        for (name, value, expected) in [
            ("If-None-Match", ETAG, SENT),
            ("If-Match", ETAG, Failed),
            ("If-Modified-Since", AT, SENT),
            ("If-Unmodified-Since", AT, SENT),
            ("If-Range", ETAG, WHOLE),
            ("If-Range", AT, WHOLE),
        ] {
            let fields = RequestFields::new([(name.as_bytes(), value.as_bytes())].into_iter());
            assert_eq!(Precondition::evaluate(&fields, now), expected, "{name}");
        }
    }
}
