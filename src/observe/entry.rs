//! One message of the error log, and its two forms: a line of text as gunicorn's, or a JSON object.
//!
//! A message may have texts that belong to it, such as a traceback. In the text form they follow
//! the line; in JSON each is a field, so that a collector gets one object for one failure.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use super::clock::{Stamp, millisecond};
use super::colour::Colours;
use super::wording::counted;
use super::{escape, request_scope};

/// The text of a message and of each field is cut to this in JSON: the middle is left out.
pub(super) const MAX_FIELD_BYTES: usize = 64 * 1024;

/// The name of a field whose text follows the line.
pub(super) const TRACEBACK: &str = "traceback";
/// The name of a traceback that precedes the line, which says what is wrong. In JSON it is a
/// traceback as well.
pub(super) const PRECEDING_TRACEBACK: &str = "preceding_traceback";
/// The name of a field with text that the application has written to `wsgi.errors`.
pub(super) const WSGI_ERRORS: &str = "wsgi.errors";

/// One message.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    pub(super) at: SystemTime,
    pub(super) pid: u32,
    /// Its event id.
    pub(super) event: Option<&'a str>,
    /// gunicorn's name of its level.
    pub(super) level: &'a str,
    /// May contain data of a client.
    pub(super) message: &'a str,
    /// The id of the request that it is about.
    pub(super) request_id: Option<Arc<str>>,
    /// Further texts, by their names.
    pub(super) fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// How lines of text look.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    pub(super) shows_events: bool,
    pub(super) colours: Colours,
}

/// The form of the time in text.
pub(super) const TEXT_TIME: &str = "[%Y-%m-%d %H:%M:%S %z]";
/// The form of the time in JSON [RFC 3339]; the milliseconds follow the full stop.
pub(super) const JSON_TIME: &str = "%Y-%m-%dT%H:%M:%S.%:z";

impl Entry<'_> {
    /// The traceback, if there is one.
    pub(super) fn traceback(&self) -> Option<&str> {
        self.field(TRACEBACK).or_else(|| self.field(PRECEDING_TRACEBACK))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, text)| &**text)
    }

    /// The line, and its traceback, as text with their line feeds.
    pub(super) fn text(&self, look: Look, stamp: &mut Stamp) -> String {
        let mut out = String::with_capacity(self.message.len() + 80);
        let label = self.request_id.as_deref().map(request_scope::label).unwrap_or_default();
        if let Some(traceback) = self.field(PRECEDING_TRACEBACK) {
            add_text(traceback, &label, &mut out);
        }
        let Look { shows_events, colours } = look;
        let (dim, colour) = (colours.dim(), colours.level(self.level));
        // Writing to a string cannot fail.
        let _ = write!(out, "{dim}{} [{}]{dim:#} ", stamp.text(self.at), self.pid);
        if let Some(event) = self.event.filter(|_| shows_events) {
            let _ = write!(out, "[{event}] ");
        }
        let _ = write!(out, "{colour}[{}]{colour:#} {label}", self.level);
        escape::lines(self.message.trim_end_matches('\n'), false, &mut out);
        out.push('\n');
        if let Some(traceback) = self.field(TRACEBACK) {
            add_text(traceback, &label, &mut out);
        }
        out
    }

    /// One JSON object, with its line feed.
    pub(super) fn json(&self, stamp: &mut Stamp) -> String {
        let mut out = Vec::with_capacity(self.message.len() + 160);
        let time = stamp.text(self.at);
        let (seconds, offset) = time.split_once('.').unwrap_or((time, ""));
        let milliseconds = format!("{:03}", millisecond(self.at));
        for part in ["{\"time\":\"", seconds, ".", &milliseconds, offset, "\""] {
            out.extend_from_slice(part.as_bytes());
        }
        member("level", self.level, &mut out);
        key("pid", &mut out);
        out.extend_from_slice(self.pid.to_string().as_bytes());
        match self.event {
            Some(event) => member("event", event, &mut out),
            None => out.extend_from_slice(b",\"event\":null"),
        }
        member("message", self.message.trim_end_matches('\n'), &mut out);
        if let Some(id) = &self.request_id {
            member("request_id", id, &mut out);
        }
        for (name, text) in &self.fields {
            let name = if name == PRECEDING_TRACEBACK { TRACEBACK } else { name };
            member(name, text, &mut out);
        }
        out.extend_from_slice(b"}\n");
        String::from_utf8(out).unwrap_or_default()
    }
}

/// Adds a text of several lines, which cannot pass for lines of the server. Each gets the label.
fn add_text(text: &str, label: &str, out: &mut String) {
    let mut escaped = String::with_capacity(text.len());
    escape::lines(text, true, &mut escaped);
    for line in escaped.split_inclusive('\n') {
        out.push_str(label);
        out.push_str(line);
    }
    if !text.ends_with('\n') && !text.is_empty() {
        out.push('\n');
    }
}

fn member(name: &str, text: &str, out: &mut Vec<u8>) {
    key(name, out);
    escape::json(bounded(text, MAX_FIELD_BYTES).as_bytes(), out);
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.push(b',');
    escape::json(name.as_bytes(), out);
    out.push(b':');
}

/// The text with its middle left out, if it is longer than `most` bytes: a traceback has its cause
/// at the end.
pub(super) fn bounded(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let (mut head, mut tail) = (most / 2, text.len() - most / 2);
    while !text.is_char_boundary(head) {
        head -= 1;
    }
    while !text.is_char_boundary(tail) {
        tail += 1;
    }
    let left_out = counted((tail - head) as u64, "byte");
    Cow::Owned(format!("{}[{left_out} left out]{}", &text[..head], &text[tail..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn entry(message: &str) -> Entry<'_> {
        let at = UNIX_EPOCH + Duration::from_millis(1_764_500_000_007);
        let (request_id, fields) = (None, Vec::new());
        Entry { at, pid: 7, event: Some("a.b"), level: "ERROR", message, request_id, fields }
    }

    fn json(entry: &Entry<'_>) -> serde_json::Value {
        let line = entry.json(&mut Stamp::new(JSON_TIME));
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.chars().all(|c| c == '\n' || !c.is_control()), "{line}");
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn json_is_one_line_with_time_level_and_message() {
        let value = json(&entry("a\"\\\n\u{1b}[0m\u{2028}é\n"));
        assert_eq!(value["message"], "a\"\\\n\u{1b}[0m\u{2028}é");
        assert_eq!((&value["level"], &value["pid"]), (&"ERROR".into(), &7.into()));
        assert_eq!(value["event"], "a.b");
        let time = value["time"].as_str().unwrap();
        let parsed = chrono::DateTime::parse_from_rfc3339(time).unwrap();
        assert_eq!(parsed.timestamp_millis(), 1_764_500_000_007);
        let without = Entry { event: None, ..entry("") };
        assert_eq!(json(&without)["event"], serde_json::Value::Null);
    }

    #[test]
    fn request_id_is_a_key_and_a_label_of_each_line() {
        let fields = vec![(TRACEBACK.into(), "a\nb\n".into())];
        let entry = Entry { request_id: Some("x1".into()), fields, ..entry("failed") };
        assert_eq!(json(&entry)["request_id"], "x1");
        let text = entry.text(Look::default(), &mut Stamp::new(TEXT_TIME));
        assert!(text.ends_with("[request x1] failed\n[request x1] a\n[request x1] b\n"), "{text}");
    }

    #[test]
    fn traceback_is_a_field_in_json_and_follows_the_line_in_text() {
        for (name, order) in
            [(TRACEBACK, ["failed", "ValueError"]), (PRECEDING_TRACEBACK, ["ValueError", "failed"])]
        {
            let fields = vec![(name.into(), "Traceback:\n  File\nValueError\n".into())];
            let entry = Entry { fields, ..entry("failed") };
            assert_eq!(json(&entry)["traceback"], "Traceback:\n  File\nValueError\n");
            assert_eq!(entry.traceback(), Some("Traceback:\n  File\nValueError\n"));
            let text = entry.text(Look::default(), &mut Stamp::new(TEXT_TIME));
            assert!(text.find(order[0]) < text.find(order[1]), "{text}");
            assert!(text.ends_with('\n') && text.contains(" [7] [ERROR] failed\n"), "{text}");
        }
    }

    #[test]
    fn long_text_loses_its_middle_at_a_character_boundary() {
        let text = "é".repeat(MAX_FIELD_BYTES);
        let fields = vec![("traceback".into(), text.as_str().into())];
        let value = json(&Entry { fields, ..entry(&text) });
        for name in ["message", "traceback"] {
            let cut = value[name].as_str().unwrap();
            assert!(cut.len() < MAX_FIELD_BYTES + 40);
            assert!(cut.starts_with('é') && cut.ends_with('é'));
            assert!(cut.contains("bytes left out"), "{name}");
        }
        assert_eq!(bounded("short", 5), "short");
        assert_eq!(bounded("aébc", 2), "a[3 bytes left out]c");
        assert_eq!(bounded("abc", 2), "a[1 byte left out]c");
    }
}
