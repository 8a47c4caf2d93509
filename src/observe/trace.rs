//! What the access log shows of a request's trace: its id, the trace that it belongs to, and the
//! time that it has spent in each phase.

use std::time::Duration;

/// The trace of one request. All of it is `None` if the request is not traced.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trace<'a> {
    /// The id of the request.
    pub request_id: Option<&'a str>,
    /// The name of the field that holds it, in lower case.
    pub request_id_field: Option<&'a str>,
    /// The value of `traceparent`, if it is valid.
    pub traceparent: Option<&'a [u8]>,
    /// The time of each phase.
    pub phases: Phases,
}

/// How long each phase of a request has taken. `None` if the request has not had that phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// It was complete, and waited for a thread.
    pub queue: Option<Duration>,
    /// It ran, without sending.
    pub app: Option<Duration>,
    /// Its thread sent parts of the response, or waited for the client to read them.
    pub send: Option<Duration>,
}

/// The value of the only field `traceparent` of a request, if it is valid. A later version may have
/// more parts, which are left out. [W3C Trace Context, section 3.2]
pub fn traceparent<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let value = values.next()?;
    let (known, rest) = value.split_at_checked(LENGTH)?;
    let is_single = values.next().is_none();
    (is_single && is_traceparent(known, rest)).then_some(known)
}

/// The bytes of `00-` and a trace id, a parent id and flags, each with a hyphen before it.
const LENGTH: usize = 55;

fn is_traceparent(known: &[u8], rest: &[u8]) -> bool {
    let parts = [&known[..2], &known[3..35], &known[36..52], &known[53..]];
    let [version, trace_id, parent_id, _] = parts;
    let is_hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &[u8]| part.iter().all(|&b| b == b'0');
    let ends_well = match version {
        b"ff" => false,
        b"00" => rest.is_empty(),
        _ => matches!(rest, [] | [b'-', ..]),
    };
    [2, 35, 52].iter().all(|&at| known[at] == b'-')
        && parts.into_iter().all(is_hex)
        && !is_zero(trace_id)
        && !is_zero(parent_id)
        && ends_well
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b9902b7-01";

    fn parsed(values: &[&str]) -> Option<String> {
        let found = traceparent(values.iter().map(|value| value.as_bytes()))?;
        Some(String::from_utf8_lossy(found).into_owned())
    }

    #[test]
    fn traceparent_of_a_known_form_is_valid() {
        assert_eq!(parsed(&[VALID]).as_deref(), Some(VALID));
        let later = VALID.replacen("00", "cc", 1);
        assert_eq!(parsed(&[&later]), Some(later.clone()));
        assert_eq!(parsed(&[&format!("{later}-what the future will be")]), Some(later));
    }

    #[test]
    fn traceparent_of_another_form_is_not_logged() {
        let replaced = |from: &str, to: &str| VALID.replacen(from, to, 1);
        for bad in [
            String::new(),
            "00".to_owned(),
            VALID[..54].to_owned(),
            format!("{VALID}0"),
            // Version 00 has no further parts.
            format!("{VALID}-00"),
            format!("{}x", replaced("00", "01")),
            replaced("00", "ff"),
            replaced("4b", "4B"),
            replaced("4b", "4g"),
            replaced("-00f0", "_00f0"),
            replaced("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            replaced("00f067aa0b9902b7", &"0".repeat(16)),
            replaced("-01", "-0x"),
            "é".repeat(28),
        ] {
            assert_eq!(parsed(&[&bad]), None, "{bad}");
        }
        assert_eq!(parsed(&[]), None);
        assert_eq!(parsed(&[VALID, VALID]), None, "which of them is the parent?");
    }
}
