//! Escapes data from clients and texts of the application for the logs.
//!
//! The client chooses the bytes of a request's target, fields and user name. Unescaped, a line feed
//! would forge a line, a quotation mark would end a column early, and an escape sequence would act
//! on the terminal of the reader (CWE-117, CWE-150). So only printable ASCII is copied unchanged.
//!
//! A text of the application, such as a traceback, has several lines and may contain data of a
//! client. Its line feeds stay, but none of its lines can be mistaken for a line of the server.

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends `bytes`, with control characters, quotation marks, backslashes and bytes beyond ASCII as
/// `\xHH`, as nginx and Apache write them.
pub(super) fn text(bytes: &[u8], out: &mut Vec<u8>) {
    escape_unless(bytes, out, |byte| matches!(byte, 0x20..=0x7E) && byte != b'"' && byte != b'\\');
}

/// [`text`] as a string.
pub fn escaped(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    text(bytes, &mut out);
    String::from_utf8_lossy(&out).into_owned()
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

/// Appends a text of several lines. Escapes control characters other than line feed and tab, and
/// the characters at which some viewers break a line. Indents each line that looks like a line of
/// the error log; the first one only if `at_line_start`.
pub(super) fn lines(text: &str, at_line_start: bool, out: &mut String) {
    let mut at_line_start = at_line_start;
    for line in text.split_inclusive('\n') {
        if at_line_start && may_pass_for_log_line(line) {
            out.push(' ');
        }
        line_chars(line, out);
        at_line_start = true;
    }
}

/// Appends a text as one line: also escapes its line feeds.
pub(super) fn line(text: &str, out: &mut String) {
    for (at, part) in text.split('\n').enumerate() {
        if at > 0 {
            out.push_str("\\n");
        }
        line_chars(part, out);
    }
}

fn line_chars(line: &str, out: &mut String) {
    let is_special = |c: char| match c {
        '\n' | '\t' => false,
        '\u{2028}' | '\u{2029}' => true,
        c => c.is_control(),
    };
    let mut rest = line;
    while let Some(at) = rest.find(is_special) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = special.chars();
        out.extend(chars.next().into_iter().flat_map(char::escape_default));
        rest = chars.as_str();
    }
    out.push_str(rest);
}

/// True if `line` starts as the lines of the error log do: a date and a time in brackets, then
/// another bracket. Also true for an unfinished line that could become one: the application may
/// write the rest later.
fn may_pass_for_log_line(line: &str) -> bool {
    // 9 stands for any digit.
    const START: &[u8] = b"[9999-99-99 99:99:99";
    let (line, is_whole) = match line.strip_suffix('\n') {
        Some(line) => (line.as_bytes(), true),
        None => (line.as_bytes(), false),
    };
    let (start, rest) = line.split_at(line.len().min(START.len()));
    let fits = |(&found, &expected): (&u8, &u8)| match expected {
        b'9' => found.is_ascii_digit(),
        b' ' => matches!(found, b' ' | b'T'),
        _ => found == expected,
    };
    if start.is_empty() || !start.iter().zip(START).all(fits) {
        return false;
    }
    let after = rest.iter().position(|&b| b == b']').map(|end| rest[end + 1..].trim_ascii_start());
    match after {
        Some([first, ..]) => *first == b'[',
        Some([]) | None => !is_whole,
    }
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

    fn text_of(text: &str, at_line_start: bool) -> String {
        let mut out = ">".to_owned();
        lines(text, at_line_start, &mut out);
        out.split_off(1)
    }

    #[test]
    fn lines_without_control_characters_are_unchanged() {
        for text in [
            "",
            "\n",
            "Traceback (most recent call last):\n  File \"a\", line 1\n",
            "a\tb\n\n\u{e9}\u{1f600} no line feed",
            "[2026-11-29 22:43:15,123] ERROR in app: Exception on / [GET]\n",
            "[1, 2]\n[2026-11-29]\n[]",
            "[\n[20\n[2026-11-29 22:43:15 +0000]\n[2026-11-29 22:43:15\n",
        ] {
            assert_eq!(text_of(text, true), text);
        }
    }

    #[test]
    fn line_that_starts_like_a_log_line_is_indented() {
        for line in [
            "[2026-11-29 22:43:15 +0000] [1] [CRITICAL] forged",
            "[0000-00-00T00:00:00.123456] [",
            "[2026-11-29 22:43:15][x",
        ] {
            assert_eq!(text_of(line, true), format!(" {line}"));
            assert_eq!(text_of(line, false), line);
            assert_eq!(text_of(&format!("a\n{line}\nb"), false), format!("a\n {line}\nb"));
            // In two writes: the application may write any part of a line.
            for end in 1..line.len() {
                let (first, second) = line.split_at(end);
                let whole = text_of(first, true) + &text_of(second, true);
                assert!(whole.starts_with(" ["), "{whole}");
            }
        }
    }

    #[test]
    fn text_as_one_line_has_no_line_feed() {
        let mut out = ">".to_owned();
        line("a\nb\r\n[2026-11-29 22:43:15] [\u{1b}\t", &mut out);
        assert_eq!(out, ">a\\nb\\r\\n[2026-11-29 22:43:15] [\\u{1b}\t");
    }

    #[test]
    fn control_characters_and_line_separators_in_lines_are_escaped() {
        assert_eq!(text_of("\x1b[2J\r\n\0\u{9b}", true), "\\u{1b}[2J\\r\n\\u{0}\\u{9b}");
        assert_eq!(text_of("a\u{85}b\u{2028}[\x0b", true), "a\\u{85}b\\u{2028}[\\u{b}");
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
