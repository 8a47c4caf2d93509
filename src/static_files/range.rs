//! Parses the Range field. [RFC 9110 section 14.2]
//!
//! A client could ask for the same bytes a thousand times, and a server that obeys would send far
//! more than the file (Apache's CVE-2011-3192). So ranges that overlap are joined, and a request
//! for many small ones is answered with the whole file.

use std::ops::Range;

/// More ranges than this are answered with the whole file.
const MAX_PARTS: usize = 64;
/// So many requested ranges may, with the lines between them, be larger than twice the file.
const FEW_SPECS: usize = 4;
/// The most bytes of the lines in front of a part, apart from the media type, and of the last line.
const PART_OVERHEAD: u64 = 160;

/// The part of a file to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ranges {
    /// The whole file, as without the field.
    Whole,
    /// 416: no range has a byte of the file.
    Unsatisfiable,
    /// These ranges of bytes: at least one, none is empty, none overlaps another.
    Parts(Vec<Range<u64>>),
}

impl Ranges {
    /// Parses the value of the field for a file of `size` bytes, whose media type has
    /// `type_length` bytes. A unit other than bytes, and a value with a mistake, mean the whole
    /// file. [RFC 9110 section 14.2]
    pub(super) fn parse(value: &[u8], size: u64, type_length: usize) -> Ranges {
        let Some(list) = strip_unit(value) else { return Ranges::Whole };
        let mut parts = Vec::new();
        let mut specs = 0;
        let mut wants_end_of_nothing = false;
        for spec in list.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            if spec.is_empty() {
                continue;
            }
            specs += 1;
            match parse_spec(spec, size) {
                None => return Ranges::Whole,
                Some(range) if range.is_empty() => {
                    // The end of an empty file is all of it. [RFC 9110 section 14.1.2]
                    wants_end_of_nothing |=
                        size == 0 && spec.starts_with(b"-") && spec.iter().any(|b| b > &b'0');
                }
                Some(range) => join(&mut parts, range),
            }
        }
        match parts.len() {
            _ if specs == 0 || wants_end_of_nothing => Ranges::Whole,
            0 => Ranges::Unsatisfiable,
            count if count > MAX_PARTS => Ranges::Whole,
            2.. if specs > FEW_SPECS && is_larger_than_twice(&parts, size, type_length) => {
                Ranges::Whole
            }
            _ => Ranges::Parts(parts),
        }
    }
}

fn strip_unit(value: &[u8]) -> Option<&[u8]> {
    let (unit, list) = value.split_at(memchr::memchr(b'=', value)?);
    unit.trim_ascii().eq_ignore_ascii_case(b"bytes").then(|| &list[1..])
}

/// The bytes of one range; empty if the file has none of them. `None` is a mistake.
fn parse_spec(spec: &[u8], size: u64) -> Option<Range<u64>> {
    let (first, last) = spec.split_at(memchr::memchr(b'-', spec)?);
    let last = &last[1..];
    if first.is_empty() {
        // The last bytes.
        return Some(size.saturating_sub(number(last)?)..size);
    }
    let first = number(first)?;
    let end = match last {
        [] => u64::MAX,
        last => match number(last)? {
            last if last < first => return None,
            last => last.saturating_add(1),
        },
    };
    Some(first.min(size)..end.min(size))
}

/// Parses a number. One that is too large for 64 bits is larger than any file.
fn number(digits: &[u8]) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| {
        let add = |value: u64, digit: &u8| {
            value.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        };
        digits.iter().fold(0, add)
    })
}

/// Adds a range. Those that it overlaps become one with it, in the place of the first of them. [RFC
/// 9110 section 15.3.7.2]
fn join(parts: &mut Vec<Range<u64>>, mut range: Range<u64>) {
    let mut place = None;
    let mut index = 0;
    while index < parts.len() {
        let part = &parts[index];
        if part.start < range.end && range.start < part.end {
            range = part.start.min(range.start)..part.end.max(range.end);
            parts.remove(index);
            place = Some(place.unwrap_or(index));
        } else {
            index += 1;
        }
        // Beyond the maximum, only the number of parts matters.
        if parts.len() > MAX_PARTS {
            break;
        }
    }
    parts.insert(place.unwrap_or(parts.len()), range);
}

fn is_larger_than_twice(parts: &[Range<u64>], size: u64, type_length: usize) -> bool {
    let overhead = PART_OVERHEAD + type_length as u64;
    let bytes: u64 = parts.iter().map(|part| part.end - part.start + overhead).sum();
    bytes > size.saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ranges::{Parts, Unsatisfiable, Whole};

    fn parse(value: &[u8], size: u64) -> Ranges {
        Ranges::parse(value, size, 0)
    }

    fn parts(ranges: &[(u64, u64)]) -> Ranges {
        Parts(ranges.iter().map(|&(first, last)| first..last + 1).collect())
    }

    #[test]
    fn ranges_of_a_thousand_bytes_are_parsed() {
        for (value, expected) in [
            ("bytes=0-0", parts(&[(0, 0)])),
            ("bytes=0-99", parts(&[(0, 99)])),
            ("bytes=500-", parts(&[(500, 999)])),
            ("bytes=-1", parts(&[(999, 999)])),
            ("bytes=-5000", parts(&[(0, 999)])),
            ("bytes=999-", parts(&[(999, 999)])),
            ("bytes=990-5000", parts(&[(990, 999)])),
            ("bytes=0-99999999999999999999999", parts(&[(0, 999)])),
            ("bytes=-99999999999999999999999", parts(&[(0, 999)])),
            ("Bytes=0-1", parts(&[(0, 1)])),
            ("bytes= 0-1 , 4-5", parts(&[(0, 1), (4, 5)])),
            ("bytes=0-1,,4-5,", parts(&[(0, 1), (4, 5)])),
            ("bytes=4-5,0-1", parts(&[(4, 5), (0, 1)])),
            ("bytes=0-4,5-9", parts(&[(0, 4), (5, 9)])),
            ("bytes=0-1,2000-,-1", parts(&[(0, 1), (999, 999)])),
            // Overlapping ones are joined.
            ("bytes=0-5,5-9", parts(&[(0, 9)])),
            ("bytes=0-,0-,0-", parts(&[(0, 999)])),
            ("bytes=8-9,0-1,1-8", parts(&[(0, 9)])),
            ("bytes=20-29,0-1,25-40", parts(&[(20, 40), (0, 1)])),
            ("bytes=0-1,10-11,4-5,0-20", parts(&[(0, 20)])),
            // No byte of the file.
            ("bytes=1000-", Unsatisfiable),
            ("bytes=1000-2000", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5000-6000,-0", Unsatisfiable),
            ("bytes=18446744073709551615-", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            // Mistakes.
            ("bytes=", Whole),
            ("bytes=,", Whole),
            ("bytes", Whole),
            ("", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=1", Whole),
            ("bytes=5-2", Whole),
            ("bytes=0-1,5-2", Whole),
            ("bytes=0-1,x", Whole),
            ("bytes=+0-1", Whole),
            ("bytes=0--1", Whole),
            ("bytes=--1", Whole),
            ("bytes=0-1-2", Whole),
            ("bytes=0x0-1", Whole),
            ("bytes 0-1", Whole),
            ("items=0-1", Whole),
            ("bytes=0 - 1", Whole),
        ] {
            assert_eq!(parse(value.as_bytes(), 1000), expected, "{value}");
        }
    }

    #[test]
    fn empty_file_has_no_range_but_its_end() {
        for (value, expected) in [
            ("bytes=0-", Unsatisfiable),
            ("bytes=0-0", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=-1", Whole),
            ("bytes=0-,-5", Whole),
        ] {
            assert_eq!(parse(value.as_bytes(), 0), expected, "{value}");
        }
    }

    #[test]
    fn thousands_of_ranges_are_the_whole_file_or_one_range() {
        let list = |range: &dyn Fn(u64) -> String| {
            let ranges: Vec<_> = (0..3000).map(range).collect();
            format!("bytes={}", ranges.join(","))
        };
        let apart = list(&|n| format!("{}-{}", 2 * n, 2 * n));
        assert_eq!(parse(apart.as_bytes(), 1 << 30), Whole);
        let same = list(&|_| "0-".to_owned());
        assert_eq!(parse(same.as_bytes(), 10), parts(&[(0, 9)]));
        let chained = list(&|n| format!("{n}-{}", n + 1));
        assert_eq!(parse(chained.as_bytes(), 1 << 30), parts(&[(0, 3000)]));
    }

    #[test]
    fn many_ranges_are_never_larger_than_twice_the_file() {
        let value = b"bytes=0-9,20-29,40-49,60-69,80-89";
        assert_eq!(parse(value, 424), Whole);
        assert!(matches!(parse(value, 425), Parts(parts) if parts.len() == 5));
        // The media type is repeated in each part.
        assert_eq!(Ranges::parse(value, 425, 1), Whole);
        assert!(matches!(Ranges::parse(value, 475, 20), Parts(parts) if parts.len() == 5));
        // A few are what the client has asked for.
        assert!(matches!(parse(b"bytes=0-0,2-2", 3), Parts(parts) if parts.len() == 2));
        // What counts is how many were asked for.
        assert_eq!(parse(b"bytes=0-0,2-2,9-,9-,9-", 3), Whole);
    }
}
