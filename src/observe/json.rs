//! The access log's `json` format: one object per line.
//!
//! All lines have the same keys, so that they can be read as a table; an unknown value is null.
//! `serde_json` would take 41 % more instructions per line once it escapes what [`escape::json`]
//! does: see docs/decisions/0002-json-access-log.md.

use super::clock::millisecond;
use super::escape;
use super::format::{Stamps, decimal_seconds, number};
use super::record::Record;
use super::trace::Trace;

/// Appends the record as one JSON object, without a line feed.
///
/// `time` is in the format of RFC 3339 with milliseconds, `bytes` is the length of the content that
/// was sent, `seconds` the duration of the request, and `queue`, `app` and `send` are those of its
/// phases.
pub(super) fn render(record: &Record<'_>, stamps: &mut Stamps, out: &mut Vec<u8>) {
    let field = |name| (record.request_field)(name);

    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(stamps.iso.text(record.started).as_bytes());
    let milliseconds = millisecond(record.started);
    out.extend_from_slice(match milliseconds {
        0..=9 => b".00",
        10..=99 => b".0",
        _ => b".",
    });
    number(milliseconds, out);
    out.extend_from_slice(stamps.iso_offset.text(record.started).as_bytes());
    out.push(b'"');

    let remote = Some(record.remote.as_bytes()).filter(|remote| !remote.is_empty());
    string_member("remote", remote, out);
    string_member("user", record.user().as_deref(), out);
    string_member("method", Some(record.method), out);
    string_member("target", Some(record.target), out);
    string_member("protocol", Some(record.version.as_bytes()), out);
    write_key("status", out);
    number(record.status, out);
    write_key("bytes", out);
    number(record.sent, out);
    write_key("seconds", out);
    decimal_seconds(record.elapsed, out);
    let Trace { phases, request_id, traceparent, .. } = record.trace;
    for (name, phase) in [("queue", phases.queue), ("app", phases.app), ("send", phases.send)] {
        write_key(name, out);
        match phase {
            Some(time) => decimal_seconds(time, out),
            None => out.extend_from_slice(b"null"),
        }
    }
    string_member("referer", field("referer"), out);
    string_member("user_agent", field("user-agent"), out);
    string_member("request_id", request_id.map(str::as_bytes), out);
    string_member("traceparent", traceparent, out);
    write_key("pid", out);
    number(std::process::id(), out);
    out.push(b'}');
}

fn string_member(name: &str, value: Option<&[u8]>, out: &mut Vec<u8>) {
    write_key(name, out);
    match value {
        Some(value) => escape::json(value, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn write_key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}
