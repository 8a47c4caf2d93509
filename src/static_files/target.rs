//! Decodes the path below a mount to the name of a file.
//!
//! A name is decoded once, segment by segment. What could mean another file to another part of the
//! system is no name: `..`, an encoded slash, NUL, an empty segment. Names that begin with a dot
//! are hidden, except `.well-known`. [RFC 8615]

use percent_encoding::percent_decode;

/// The name of a file or directory, relative to the directory of a mount.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// The segments, decoded and joined by slashes; empty for the directory itself.
    pub(super) path: Vec<u8>,
    /// The path ended with a slash: it names a directory.
    pub(super) is_directory: bool,
}

/// Decodes `rest`, which is empty or begins with a slash. `None` if it can name no file.
pub(super) fn parse(rest: &[u8]) -> Option<Name> {
    let mut path = Vec::with_capacity(rest.len());
    let mut is_directory = false;
    for segment in rest.split(|&b| b == b'/').skip(1) {
        if is_directory {
            // An empty segment in the middle.
            return None;
        }
        if segment.is_empty() {
            is_directory = true;
            continue;
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        let start = path.len();
        if memchr::memchr(b'%', segment).is_some() {
            path.extend(percent_decode(segment));
        } else {
            path.extend_from_slice(segment);
        }
        if !is_name(&path[start..]) {
            return None;
        }
    }
    Some(Name { path, is_directory })
}

/// True if a segment, decoded, may be the name of a file that is served.
fn is_name(segment: &[u8]) -> bool {
    let is_visible = segment[0] != b'.' || segment == b".well-known";
    is_visible && memchr::memchr2(b'/', 0, segment).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_decoded_once() {
        for (rest, path, is_directory) in [
            ("", "", false),
            ("/", "", true),
            ("/a", "a", false),
            ("/a/", "a", true),
            ("/a/b.css", "a/b.css", false),
            ("/a%20b", "a b", false),
            ("/%61", "a", false),
            ("/%2561", "%61", false),
            ("/%c3%a4", "ä", false),
            ("/100%", "100%", false),
            ("/%zz", "%zz", false),
            ("/a..b", "a..b", false),
            ("/a.", "a.", false),
            ("/.well-known/security.txt", ".well-known/security.txt", false),
            ("/a\\..\\b", "a\\..\\b", false),
            ("/a;b", "a;b", false),
            ("/a+b", "a+b", false),
        ] {
            let name = Name { path: path.as_bytes().to_vec(), is_directory };
            assert_eq!(parse(rest.as_bytes()), Some(name), "{rest}");
        }
    }

    #[test]
    fn hostile_paths_name_no_file() {
        for rest in [
            "/..",
            "/../",
            "/a/..",
            "/a/../b",
            "/../../etc/passwd",
            "/.",
            "/./a",
            "/a/.",
            "/a/./b",
            "/%2e%2e/a",
            "/%2E%2E",
            "/.%2e/a",
            "/%2e./a",
            "/%2e/a",
            "/a%2fb",
            "/a%2Fb",
            "/%2f",
            "/..%2fa",
            "/%2e%2e%2fa",
            "/a%2f..%2fb",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "///",
            "/.git/config",
            "/.env",
            "/a/.htaccess",
            "/.well-known/.x",
            "/.well-knownx",
            "/.well%2dknownx",
            "/%2egit/config",
            "/%2Ewell-known2",
            "/...",
            "/a%00",
            "/%00",
            "/a%00.css",
            "/.%00./a",
            "/%2e%2e%00/a",
        ] {
            assert_eq!(parse(rest.as_bytes()), None, "{rest}");
        }
    }

    #[test]
    fn doubly_encoded_dots_are_a_plain_name() {
        let name = parse(b"/%252e%252e/a").unwrap();
        assert_eq!(name.path, b"%2e%2e/a");
    }
}
