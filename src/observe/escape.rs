//! Escapes data from clients for log lines.
//!
//! The client chooses the bytes of a request's target, fields and user name. Unescaped, a line feed
//! would forge a line, a quotation mark would end a column early, and an escape sequence would act
//! on the terminal of the reader (CWE-117, CWE-150). So only printable ASCII is copied unchanged.

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends `bytes`, with control characters, quotation marks, backslashes and bytes beyond ASCII as
/// `\xHH`, as nginx and Apache write them.
pub(super) fn text(bytes: &[u8], out: &mut Vec<u8>) {
    escape_unless(bytes, out, |byte| matches!(byte, 0x20..=0x7E) && byte != b'"' && byte != b'\\');
}

/// As [`text`], and escapes spaces as well: for a column without quotation marks.
pub(super) fn word(bytes: &[u8], out: &mut Vec<u8>) {
    escape_unless(bytes, out, |byte| matches!(byte, 0x21..=0x7E) && byte != b'"' && byte != b'\\');
}

fn escape_unless(bytes: &[u8], out: &mut Vec<u8>, plain: impl Fn(u8) -> bool) {
    let mut rest = bytes;
    while let Some(special) = rest.iter().position(|&byte| !plain(byte)) {
        let byte = rest[special];
        out.extend_from_slice(&rest[..special]);
        out.extend_from_slice(b"\\x");
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
        rest = &rest[special + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends a JSON string, quotation marks included [RFC 8259 section 7]. Invalid UTF-8 becomes
/// U+FFFD. Escapes all control characters, and U+2028 and U+2029, at which some viewers of
/// line-wise JSON split.
pub(super) fn json(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        json_chars(chunk.valid(), out);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn json_chars(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    let special = |c: char| c.is_control() || matches!(c, '"' | '\\' | '\u{2028}' | '\u{2029}');
    while let Some(at) = rest.find(special) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        if let Some(c) = rest.chars().next() {
            if c == '"' || c == '\\' {
                out.extend_from_slice(&[b'\\', c as u8]);
            } else {
                // These characters are in the basic plane: four digits suffice.
                let code = u32::from(c);
                out.extend_from_slice(b"\\u");
                for shift in [12, 8, 4, 0] {
                    out.push(HEX[(code >> shift & 15) as usize]);
                }
            }
            rest = &rest[c.len_utf8()..];
        }
    }
    out.extend_from_slice(rest.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(escape: fn(&[u8], &mut Vec<u8>), bytes: &[u8]) -> String {
        let mut out = b">".to_vec();
        escape(bytes, &mut out);
        String::from_utf8(out).unwrap()[1..].to_owned()
    }

    #[test]
    fn text_copies_only_printable_ascii() {
        assert_eq!(with(text, b""), "");
        assert_eq!(with(text, b"/a b?c=~d"), "/a b?c=~d");
        assert_eq!(with(text, b"\"\\"), r"\x22\x5C");
        assert_eq!(with(text, b"a\r\n\x1b[0m\0z"), r"a\x0D\x0A\x1B[0m\x00z");
        assert_eq!(with(text, "\u{7f}\u{e9}".as_bytes()), r"\x7F\xC3\xA9");
        for byte in 0..=255 {
            let escaped = with(text, &[byte]);
            assert!(escaped.bytes().all(|b| (0x20..0x7F).contains(&b)));
            assert_eq!(escaped.len(), if escaped.starts_with('\\') { 4 } else { 1 });
        }
    }

    #[test]
    fn word_escapes_spaces() {
        assert_eq!(with(word, b"a b\"c"), r"a\x20b\x22c");
    }

    #[test]
    fn json_string_is_valid_and_on_one_line() {
        assert_eq!(with(json, b""), r#""""#);
        assert_eq!(with(json, br#"a"b\c"#), r#""a\"b\\c""#);
        assert_eq!(with(json, b"\n\x1b\x7f"), r#""\u000A\u001B\u007F""#);
        assert_eq!(
            with(json, "h\u{e9}\u{2028}\u{1f600}".as_bytes()),
            "\"h\u{e9}\\u2028\u{1f600}\""
        );
        assert_eq!(with(json, "\u{85}".as_bytes()), r#""\u0085""#);
        assert_eq!(with(json, b"a\xFFb\xC3"), r#""a\ufffdb\ufffd""#);
    }
}
