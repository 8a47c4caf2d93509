//! What must hold for every request, whatever its path and its fields are: for the fuzz target, and
//! for a test with random bytes.

use super::conditional::{Precondition, Validators};
use super::range::Ranges;
use super::request::RequestFields;
use super::target;

/// The fields that concern a file.
const FIELDS: [&str; 7] = [
    "Range",
    "If-Range",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "Accept-Encoding",
];

/// Checks the name that a path is decoded to, and the responses to these values of `FIELDS` for a
/// file of `size` bytes. Panics if one is wrong.
pub fn check(path: &[u8], values: &[&[u8]], size: u64) {
    if let Some(name) = target::parse(path) {
        assert!(!name.path.contains(&0) && !name.path.starts_with(b"/"));
        let is_allowed = |segment: &[u8]| {
            !segment.is_empty() && (!segment.starts_with(b".") || segment == b".well-known")
        };
        assert!(name.path.is_empty() || name.path.split(|&b| b == b'/').all(is_allowed));
        assert_eq!(name.is_directory, path.ends_with(b"/"));
    }
    let fields = FIELDS.iter().zip(values).map(|(name, value)| (name.as_bytes(), *value));
    let fields = RequestFields::new(fields);
    for exists in [[false; 3], [true; 3], [false, true, false]] {
        let chosen = fields.accepted.choose(exists);
        assert!(chosen.is_none_or(|coding| exists[coding as usize]));
    }
    let etag = Some(&b"\"a-1\""[..]);
    for validators in [
        Validators { etag, modified: Some(784_111_777) },
        Validators { etag: None, modified: None },
    ] {
        let _ = Precondition::evaluate(&fields, validators);
    }
    if let Some(&value) = values.first() {
        check_ranges(value, size);
    }
}

fn check_ranges(value: &[u8], size: u64) {
    let Ranges::Parts(parts) = Ranges::parse(value, size, 0) else { return };
    assert!((1..=64).contains(&parts.len()));
    let mut sorted = parts.clone();
    sorted.sort_by_key(|part| part.start);
    assert!(sorted.iter().all(|part| part.start < part.end && part.end <= size));
    assert!(sorted.windows(2).all(|pair| pair[0].end <= pair[1].start), "an overlap");
    let requested = value.split(|&b| b == b',').count();
    let total: u64 = parts.iter().map(|part| part.end - part.start + 160).sum();
    assert!(parts.len() == 1 || requested <= 4 || total <= size.saturating_mul(2));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_paths_and_fields_are_handled() {
        // A linear congruential generator: the same bytes in each run.
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        const PIECES: [&[u8]; 28] = [
            b"/",
            b"..",
            b".",
            b"%2e",
            b"%2F",
            b"%00",
            b"a",
            b"%",
            b"%c3%a4",
            b".well-known",
            b"bytes=",
            b"-",
            b",",
            b"0",
            b"9",
            b"99999999999999999999",
            b" ",
            b"\"",
            b"W/",
            b"*",
            b"a-1",
            b"gzip",
            b";q=",
            b"0.5",
            b"br",
            b"Sun, 06 Nov 1994 08:49:37 GMT",
            b"\xff",
            b"=",
        ];
        for _ in 0..20_000 {
            let mut text = || -> Vec<u8> {
                (0..random(12)).flat_map(|_| PIECES[random(PIECES.len())].to_vec()).collect()
            };
            let mut path = b"/".to_vec();
            path.extend(text());
            let mut values: Vec<_> = FIELDS.iter().map(|_| text()).collect();
            values[0].splice(0..0, *b"bytes=");
            let values: Vec<_> = values.iter().map(|value| &value[..]).collect();
            for size in [0, 1, 100, 100_000, 1 << 62] {
                check(&path, &values, size);
            }
        }
    }
}
