//! The access log's `json` format: one object per line, with the same keys on each.
//!
//! Keys are never left out, so that a table can be made of the lines; what is not known is null.

use super::clock::millisecond;
use super::escape;
use super::format::{Record, Stamps, decimal_seconds, number};

/// Appends the record as one JSON object, without a line feed.
///
/// `time` is RFC 3339 with milliseconds, `bytes` counts sent content, `seconds` is the time taken.
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
    string("remote", remote, out);
    string("user", record.user().as_deref(), out);
    string("method", Some(record.method), out);
    string("target", Some(record.target), out);
    string("protocol", Some(record.version.as_bytes()), out);
    key("status", out);
    number(record.status, out);
    key("bytes", out);
    number(record.sent, out);
    key("seconds", out);
    decimal_seconds(record.elapsed, out);
    string("referer", field("referer"), out);
    string("user_agent", field("user-agent"), out);
    key("pid", out);
    number(std::process::id(), out);
    out.push(b'}');
}

fn string(name: &str, value: Option<&[u8]>, out: &mut Vec<u8>) {
    key(name, out);
    match value {
        Some(value) => escape::json(value, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}
