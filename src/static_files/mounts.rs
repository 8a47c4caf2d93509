//! Finds the mount of a URL path: the longest prefix of whole segments.

use percent_encoding::percent_decode;

/// Values by URL prefix.
#[derive(Debug)]
pub(super) struct Mounts<T> {
    /// Decoded prefixes without a final slash; longer ones first.
    entries: Vec<(Vec<u8>, T)>,
}

impl<T> Mounts<T> {
    /// `entries` are decoded prefixes without a final slash. Of equal ones the first counts.
    pub(super) fn new(mut entries: Vec<(Vec<u8>, T)>) -> Mounts<T> {
        entries.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Mounts { entries }
    }

    /// The mount of a path, and the rest of the path: empty, or from a slash on. Both are still
    /// encoded.
    pub(super) fn find<'a>(&self, path: &'a [u8]) -> Option<(&T, &'a [u8])> {
        // `OPTIONS *` has no path.
        if path.is_empty() {
            return None;
        }
        self.entries.iter().find_map(|(prefix, value)| {
            let rest = strip_prefix(path, prefix)?;
            matches!(rest, [] | [b'/', ..]).then_some((value, rest))
        })
    }
}

/// Removes `prefix`, which is decoded, from the start of `path`, which may be encoded: both forms
/// are equivalent. [RFC 3986 section 6.2.2.2] An encoded slash is no slash.
pub(super) fn strip_prefix<'a>(path: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    if let Some(rest) = path.strip_prefix(prefix) {
        return Some(rest);
    }
    memchr::memchr(b'%', path)?;
    let mut rest = path;
    for &expected in prefix {
        let (byte, length) = first_byte(rest)?;
        if byte != expected || (length > 1 && byte == b'/') {
            return None;
        }
        rest = &rest[length..];
    }
    Some(rest)
}

/// The first byte, decoded, and how many bytes it has in the path.
fn first_byte(path: &[u8]) -> Option<(u8, usize)> {
    let &byte = path.first()?;
    if byte == b'%'
        && let Some(sequence) = path.get(..3)
        && let Some(decoded) = percent_decode(sequence).next()
        && sequence[1..].iter().all(u8::is_ascii_hexdigit)
    {
        return Some((decoded, 3));
    }
    Some((byte, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_prefix_of_whole_segments_is_found() {
        let prefixes = ["/static", "/static/admin", "/a%20b", "/ä", "/x y"];
        let entries = prefixes.map(|prefix| (prefix.as_bytes().to_vec(), prefix));
        let mounts = Mounts::new(entries.to_vec());
        for (path, expected) in [
            ("/static", Some(("/static", ""))),
            ("/static/", Some(("/static", "/"))),
            ("/static/a", Some(("/static", "/a"))),
            ("/static/admin", Some(("/static/admin", ""))),
            ("/static/admin/a", Some(("/static/admin", "/a"))),
            ("/static/administrator", Some(("/static", "/administrator"))),
            ("/%73tatic/a", Some(("/static", "/a"))),
            ("/st%61tic/%61", Some(("/static", "/%61"))),
            ("/static%2fa", None),
            ("/static%2Fadmin/a", None),
            ("%2fstatic/a", None),
            ("/staticfiles/a", None),
            ("/Static/a", None),
            ("//static/a", None),
            ("/x/static/a", None),
            ("/%C3%A4/a", Some(("/ä", "/a"))),
            ("/x%20y/a", Some(("/x y", "/a"))),
            ("/x%20/a", None),
            ("/x%2", None),
            ("/", None),
            ("", None),
        ] {
            let found = mounts.find(path.as_bytes());
            let found = found.map(|(prefix, rest)| (*prefix, std::str::from_utf8(rest).unwrap()));
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn empty_prefix_is_every_path() {
        let mounts = Mounts::new(vec![(Vec::new(), 1), (b"/a".to_vec(), 2)]);
        let find = |path: &'static str| mounts.find(path.as_bytes()).map(|(n, rest)| (*n, rest));
        assert_eq!(find("/"), Some((1, &b"/"[..])));
        assert_eq!(find("/b"), Some((1, &b"/b"[..])));
        assert_eq!(find("/a/b"), Some((2, &b"/b"[..])));
        assert_eq!(find(""), None);
    }
}
