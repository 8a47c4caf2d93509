//! What the name of a file says: its media type, and whether it changes with its content.

/// Types that `mime_guess` does not have, or has as they were before they were registered. [RFC
/// 3555, 8081, 9239, 9512]
const OTHER_TYPES: [(&str, &str); 8] = [
    (".mjs", "text/javascript"),
    (".cjs", "text/javascript"),
    (".map", "application/json"),
    (".woff", "font/woff"),
    (".otf", "font/otf"),
    (".ts", "video/mp2t"),
    (".yaml", "application/yaml"),
    (".yml", "application/yaml"),
];

/// The media type by the extension, with a charset for text.
pub(super) fn media_type(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(file_name(name));
    let has = |extension: &str| {
        let start = name.len().checked_sub(extension.len());
        start.and_then(|at| name.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(extension))
    };
    let other = OTHER_TYPES.iter().find(|(extension, _)| has(extension));
    let guess = other.map(|(_, media_type)| *media_type);
    match guess
        .or_else(|| mime_guess::from_path(&*name).first_raw())
        .unwrap_or("application/octet-stream")
    {
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    }
}

/// True if the name has a content hash: 8 or more hexadecimal digits between dots or dashes, before
/// the extension. So it names another file once the content changes, as `app.3f2a9c1b.js` does.
pub(super) fn has_content_hash(name: &[u8]) -> bool {
    let parts: Vec<_> = file_name(name).split(|b| matches!(b, b'.' | b'-')).collect();
    let [_, between @ .., _] = &parts[..] else { return false };
    between.iter().any(|part| part.len() >= 8 && part.iter().all(u8::is_ascii_hexdigit))
}

/// The last segment of a path.
fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&b| b == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_type_follows_the_extension() {
        for (name, expected) in [
            ("a.css", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("A.MJS", "text/javascript; charset=utf-8"),
            ("\u{e4}.mjs", "text/javascript; charset=utf-8"),
            ("dir.css/a.HTML", "text/html; charset=utf-8"),
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.svg", "image/svg+xml"),
            ("a.png", "image/png"),
            ("a.webp", "image/webp"),
            ("a.avif", "image/avif"),
            ("a.ico", "image/x-icon"),
            ("a.woff2", "font/woff2"),
            ("a.woff", "font/woff"),
            ("a.ttf", "font/ttf"),
            ("a.otf", "font/otf"),
            ("a.ts", "video/mp2t"),
            ("a.wasm", "application/wasm"),
            ("a.pdf", "application/pdf"),
            ("a.mp4", "video/mp4"),
            ("a.webmanifest", "application/manifest+json"),
            ("a.css.gz", "application/gzip"),
            ("README", "application/octet-stream"),
            ("a.unknown", "application/octet-stream"),
            ("dir.css/a", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn hash_between_dots_or_dashes_is_found() {
        for name in [
            "app.3f2a9c1b.js",
            "app-3f2a9c1b.js",
            "app.3F2A9C1B.js",
            "app.55e7cbb9cd48.css",
            "app-12345678.min.css",
            "dir/app.0123456789abcdef0123456789abcdef.js",
            "my-app.3f2a9c1b.chunk.js",
            "app.3f2a9c1b.css.map",
        ] {
            assert!(has_content_hash(name.as_bytes()), "{name}");
        }
        for name in [
            "app.js",
            "app.3f2a9c1.js",
            "app.3f2a9c1g.js",
            "3f2a9c1b.js",
            "app3f2a9c1b.js",
            "app.3f2a9c1b",
            "app_3f2a9c1b.js",
            "app.3f2a9c1b.dir/app.js",
            "",
        ] {
            assert!(!has_content_hash(name.as_bytes()), "{name}");
        }
    }
}
