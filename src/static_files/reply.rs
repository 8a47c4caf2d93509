//! Builds the response to a request for a file: 200, 206, 304, 412 or 416. [RFC 9110 sections 13
//! and 14]

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use rustix::io::Errno;

use super::conditional::{Precondition, Validators};
use super::range::Ranges;
use super::request::{Field, RequestFields};
use crate::http1::ResponseHead;

/// A response: its head, and its content in order.
#[derive(Debug)]
pub struct Reply<'a> {
    /// Status and fields, without a Content-Length.
    pub head: Cow<'a, ResponseHead>,
    /// The length of the content in bytes. `None` for a 304, which declares none.
    pub length: Option<u64>,
    /// The content.
    pub parts: Vec<Part<'a>>,
}

/// A piece of content.
#[derive(Debug)]
pub enum Part<'a> {
    /// Bytes in memory.
    Bytes(Cow<'a, [u8]>),
    /// Bytes of a file.
    File {
        /// The file.
        file: Arc<File>,
        /// The offset of the first byte.
        offset: u64,
        /// How many bytes.
        length: u64,
    },
}

/// A whole file as a response, from which the others are derived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<'a> {
    /// The head of the 200, without a Content-Length.
    pub(super) head: &'a ResponseHead,
    /// What the preconditions are compared with.
    pub(super) validators: Validators<'a>,
    /// The file.
    pub(super) file: &'a Arc<File>,
    /// The size of the file in bytes.
    pub(super) size: u64,
}

/// The response that the fields of a GET (or a HEAD, if `is_head`) ask for. `None` is the whole
/// file.
pub(super) fn select<'a>(
    whole: Whole<'a>,
    fields: &RequestFields<'_>,
    is_head: bool,
) -> Option<Reply<'a>> {
    let ignores_range = match Precondition::evaluate(fields, whole.validators) {
        Precondition::NotModified => return Some(not_modified(whole.head)),
        Precondition::Failed => return Some(page("412 Precondition Failed", &[])),
        Precondition::Passed { ignores_range } => ignores_range,
    };
    // Range is defined for GET only. [RFC 9110 section 14.2]
    let Field::Once(range) = fields.range else { return None };
    if is_head || ignores_range {
        return None;
    }
    let type_length = whole.head.field(b"Content-Type").map_or(0, <[u8]>::len);
    match Ranges::parse(range, whole.size, type_length) {
        Ranges::Whole => None,
        Ranges::Unsatisfiable => {
            let size = format!("bytes */{}", whole.size);
            Some(page("416 Range Not Satisfiable", &[("Content-Range", &size)]))
        }
        Ranges::Parts(ranges) => Some(match &ranges[..] {
            [range] => one_part(whole, range),
            ranges => many_parts(whole, ranges),
        }),
    }
}

/// A response with a line of text about its status.
pub(super) fn page(status: &'static str, fields: &[(&str, &str)]) -> Reply<'static> {
    let mut head = started(status);
    add(&mut head, "Content-Type", "text/plain; charset=utf-8");
    add(&mut head, "X-Content-Type-Options", "nosniff");
    fields.iter().for_each(|(name, value)| add(&mut head, name, value));
    let text = format!("{status}\n").into_bytes();
    Reply {
        head: Cow::Owned(head),
        length: Some(text.len() as u64),
        parts: vec![Part::Bytes(text.into())],
    }
}

/// The response if a file cannot be opened or read: 503 without descriptors or memory, else 500.
pub fn failure(error: &io::Error) -> Reply<'static> {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => {
            page("503 Service Unavailable", &[("Retry-After", "5")])
        }
        _ => page("500 Internal Server Error", &[]),
    }
}

/// An empty head with this status.
pub(super) fn started(status: &'static str) -> ResponseHead {
    let mut head = ResponseHead::default();
    let valid = head.start(status.as_bytes());
    debug_assert!(valid.is_ok(), "{status}");
    head
}

/// Adds a field of the server's own, which is valid.
pub(super) fn add(head: &mut ResponseHead, name: &str, value: &str) {
    let valid = head.add_field(name.as_bytes(), value.as_bytes());
    debug_assert!(valid.is_ok(), "{name}: {value}");
}

/// The fields of a 200, with another status.
pub(super) fn derived(
    status: &[u8],
    from: &ResponseHead,
    keeps: impl Fn(&[u8]) -> bool,
) -> ResponseHead {
    let mut head = ResponseHead::default();
    let _ = head.start(status);
    for (name, value) in from.fields().filter(|(name, _)| keeps(name)) {
        // They were valid there.
        let _ = head.add_field(name, value);
    }
    head
}

/// A 304 has the fields that update what the client has stored, and none about content that it does
/// not carry. [RFC 9110 section 15.4.5]
fn not_modified(whole: &ResponseHead) -> Reply<'static> {
    let keeps = |name: &[u8]| {
        let is_about_content = name.len() > 8 && name[..8].eq_ignore_ascii_case(b"content-");
        !is_about_content && !name.eq_ignore_ascii_case(b"accept-ranges")
    };
    let head = derived(b"304 Not Modified", whole, keeps);
    Reply { head: Cow::Owned(head), length: None, parts: Vec::new() }
}

const PARTIAL: &[u8] = b"206 Partial Content";

fn one_part<'a>(whole: Whole<'a>, range: &Range<u64>) -> Reply<'a> {
    let mut head = derived(PARTIAL, whole.head, |_| true);
    add(&mut head, "Content-Range", &content_range(range, whole.size));
    let length = range.end - range.start;
    let file = Part::File { file: whole.file.clone(), offset: range.start, length };
    Reply { head: Cow::Owned(head), length: Some(length), parts: vec![file] }
}

/// `multipart/byteranges`. [RFC 9110 section 14.6]
fn many_parts<'a>(whole: Whole<'a>, ranges: &[Range<u64>]) -> Reply<'a> {
    let boundary = boundary();
    let mut head = derived(PARTIAL, whole.head, |name| !name.eq_ignore_ascii_case(b"content-type"));
    add(&mut head, "Content-Type", &format!("multipart/byteranges; boundary={boundary}"));
    let media_type = whole.head.field(b"Content-Type").map(String::from_utf8_lossy);
    let mut parts = Vec::with_capacity(2 * ranges.len() + 1);
    let mut length = 0;
    let mut line_end = "";
    for range in ranges {
        let mut lines = format!("{line_end}--{boundary}\r\n");
        if let Some(media_type) = &media_type {
            lines += &format!("Content-Type: {media_type}\r\n");
        }
        lines += &format!("Content-Range: {}\r\n\r\n", content_range(range, whole.size));
        line_end = "\r\n";
        let size = range.end - range.start;
        length += lines.len() as u64 + size;
        parts.push(Part::Bytes(lines.into_bytes().into()));
        parts.push(Part::File { file: whole.file.clone(), offset: range.start, length: size });
    }
    let end = format!("\r\n--{boundary}--\r\n").into_bytes();
    length += end.len() as u64;
    parts.push(Part::Bytes(end.into()));
    Reply { head: Cow::Owned(head), length: Some(length), parts }
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

/// A line that no file contains: the author of a file cannot guess it.
fn boundary() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETAG: &[u8] = b"\"a-1\"";

    fn answer(fields: &[(&str, &str)], is_head: bool) -> Option<(u16, String, String)> {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let mut head = started("200 OK");
        add(&mut head, "Content-Type", "text/plain");
        add(&mut head, "ETag", "\"a-1\"");
        add(&mut head, "Accept-Ranges", "bytes");
        let file = Arc::new(tempfile::tempfile().unwrap());
        let validators = Validators { etag: Some(ETAG), modified: Some(0) };
        let whole = Whole { head: &head, validators, file: &file, size: 1000 };
        let reply = select(whole, &RequestFields::new(fields), is_head)?;
        let mut length = 0;
        let mut content = String::new();
        for part in &reply.parts {
            match part {
                Part::Bytes(bytes) => {
                    length += bytes.len() as u64;
                    content += std::str::from_utf8(bytes).unwrap();
                }
                Part::File { offset, length: size, .. } => {
                    length += size;
                    content += &format!("<{offset}+{size}>");
                }
            }
        }
        assert_eq!(reply.length.unwrap_or(0), length);
        let fields = reply.head.fields().map(|(name, value)| {
            format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        });
        Some((reply.head.status(), fields.collect::<Vec<_>>().join("\n"), content))
    }

    #[test]
    fn whole_file_is_the_answer_unless_a_field_asks_for_less() {
        for fields in [
            &[][..],
            &[("Range", "bytes=0-1"), ("Range", "bytes=2-3")],
            &[("Range", "lines=1")],
            &[("Range", "bytes=0-1"), ("If-Range", "\"b\"")],
        ] {
            assert_eq!(answer(fields, false), None, "{fields:?}");
        }
        assert_eq!(answer(&[("Range", "bytes=0-1")], true), None, "HEAD");
    }

    #[test]
    fn one_range_is_a_206_with_its_range() {
        let (status, fields, content) = answer(&[("Range", "bytes=-10")], false).unwrap();
        assert_eq!((status, &content[..]), (206, "<990+10>"));
        assert_eq!(
            fields,
            "Content-Type: text/plain\nETag: \"a-1\"\nAccept-Ranges: bytes\n\
             Content-Range: bytes 990-999/1000"
        );
    }

    #[test]
    fn several_ranges_are_the_parts_of_a_multipart_body() {
        let (status, fields, content) = answer(&[("Range", "bytes=5-9,0-1")], false).unwrap();
        assert_eq!(status, 206);
        let boundary = fields.rsplit("boundary=").next().unwrap();
        assert_eq!(
            fields,
            format!(
                "ETag: \"a-1\"\nAccept-Ranges: bytes\n\
                 Content-Type: multipart/byteranges; boundary={boundary}"
            )
        );
        let part = |range: &str| {
            format!("--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: {range}\r\n\r\n")
        };
        assert_eq!(
            content,
            format!(
                "{}<5+5>\r\n{}<0+2>\r\n--{boundary}--\r\n",
                part("bytes 5-9/1000"),
                part("bytes 0-1/1000")
            )
        );
    }

    #[test]
    fn other_statuses_have_their_fields() {
        let (status, fields, content) = answer(&[("Range", "bytes=1000-")], false).unwrap();
        assert_eq!((status, &content[..]), (416, "416 Range Not Satisfiable\n"));
        assert!(fields.ends_with("\nContent-Range: bytes */1000"), "{fields}");

        let asked = [("If-None-Match", "\"a-1\""), ("Range", "bytes=1000-")];
        let expected = (304, "ETag: \"a-1\"".to_owned(), String::new());
        assert_eq!(answer(&asked, false).as_ref(), Some(&expected));
        assert_eq!(answer(&asked, true), Some(expected));

        let (status, _, content) = answer(&[("If-Match", "\"b\"")], false).unwrap();
        assert_eq!((status, &content[..]), (412, "412 Precondition Failed\n"));
    }
}
