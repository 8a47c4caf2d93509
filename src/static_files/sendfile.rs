//! The files that the application names in X-Sendfile or X-Accel-Redirect.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use super::conditional::Validators;
use super::lookup::OpenFile;
use super::names::media_type;
use super::reply::{Part, Reply, Whole, add, derived, failure, page, select};
use super::representation::{add_validators, etag, modified};
use super::request::{Field, RequestFields, date};
use super::root::{Lookup, OpenError, Root, is_missing};
use crate::http1::{Head, ResponseHead};

/// The fields that name a file. The first one that a response has counts.
const NAMING_FIELDS: [&[u8]; 2] = [b"X-Sendfile", b"X-Accel-Redirect"];

/// The fields about the content that the application would have sent.
const REPLACED_FIELDS: [&[u8]; 2] = [b"Content-Length", b"Content-Range"];

/// The directories of `--sendfile-root`.
#[derive(Debug)]
pub struct SendfileRoots(Vec<Root>);

/// The file that an application has named.
#[derive(Debug)]
pub enum NamedFile {
    /// The file.
    Found(OpenFile),
    /// There is no such regular file below a root.
    Missing,
    /// It is not below a root.
    Outside,
    /// The system cannot open it.
    Failed(io::Error),
}

/// The path in a response of the application, if it names a file.
pub fn named_path(response: &ResponseHead) -> Option<&[u8]> {
    NAMING_FIELDS.iter().find_map(|name| response.field(name))
}

impl SendfileRoots {
    /// Opens the directories. `None` if there are none.
    pub fn open(paths: &[PathBuf]) -> Result<Option<SendfileRoots>, OpenError> {
        let roots = paths.iter().map(|path| Root::open(path)).collect::<Result<Vec<_>, _>>()?;
        Ok((!roots.is_empty()).then_some(SendfileRoots(roots)))
    }

    /// Opens the file with this absolute path. It may wait for a disk.
    pub fn find(&self, path: &[u8]) -> NamedFile {
        let below = self.0.iter().filter_map(|root| Some((root, root.strip(path)?)));
        // Of nested directories, the innermost one.
        let Some((root, rest)) = below.min_by_key(|(_, rest)| rest.len()) else {
            return NamedFile::Outside;
        };
        let start = rest.iter().position(|&b| b != b'/').unwrap_or(rest.len());
        match root.open_file(&rest[start..], Lookup::Blocking).and_then(OpenFile::new) {
            Ok(Some(file)) => NamedFile::Found(file),
            Ok(None) => NamedFile::Missing,
            Err(error) if Errno::from_io_error(&error) == Some(Errno::XDEV) => NamedFile::Outside,
            Err(error) if is_missing(&error) => NamedFile::Missing,
            Err(error) => NamedFile::Failed(error),
        }
    }
}

impl NamedFile {
    /// The response that replaces `response`, which has named `path`, to this request.
    pub fn reply(self, request: &Head, response: &ResponseHead, path: &[u8]) -> Reply<'static> {
        match self {
            NamedFile::Found(file) => file_reply(file, request, response, path),
            NamedFile::Missing => page("404 Not Found", &[]),
            NamedFile::Outside => page("500 Internal Server Error", &[]),
            NamedFile::Failed(error) => failure(&error),
        }
    }
}

fn file_reply(
    file: OpenFile,
    request: &Head,
    response: &ResponseHead,
    path: &[u8],
) -> Reply<'static> {
    let is_kept = |name: &[u8]| {
        let is = |other: &&[u8]| name.eq_ignore_ascii_case(other);
        !NAMING_FIELDS.iter().chain(&REPLACED_FIELDS).any(is)
    };
    // The field names a whole file, also if the application has evaluated Range, as Flask does.
    let line = if response.status() == 206 { &b"200 OK"[..] } else { response.line() };
    let mut head = derived(line, response, is_kept);
    if head.field(b"Content-Type").is_none() {
        add(&mut head, "Content-Type", &media_type(path));
    }
    let is_head = request.method() == b"HEAD";
    let is_conditional = head.status() == 200 && (is_head || request.method() == b"GET");
    let has_validators = head.field(b"ETag").is_some() || head.field(b"Last-Modified").is_some();
    if is_conditional && !has_validators {
        add_validators(&mut head, &etag(&file, None), modified(&file));
    }
    if is_conditional && head.field(b"Accept-Ranges").is_none() {
        add(&mut head, "Accept-Ranges", "bytes");
    }
    let OpenFile { file, size, .. } = file;
    let file = Arc::new(file);
    if is_conditional {
        let validators = Validators {
            etag: head.field(b"ETag"),
            modified: head.field(b"Last-Modified").and_then(date),
        };
        let whole = Whole { head: &head, validators, file: &file, size };
        let mut fields = RequestFields::new(request.fields());
        if refuses_ranges(&head) {
            fields.range = Field::Missing;
        }
        if let Some(Reply { head, length, parts }) = select(whole, &fields, is_head) {
            let parts = parts.into_iter().map(Part::into_owned).collect();
            return Reply { head: Cow::Owned(head.into_owned()), length, parts };
        }
    }
    let parts = vec![Part::File { file, offset: 0, length: size }];
    Reply { head: Cow::Owned(head), length: Some(size), parts }
}

/// True if the application has declared that it sends no ranges. [RFC 9110 section 14.3]
fn refuses_ranges(head: &ResponseHead) -> bool {
    head.field(b"Accept-Ranges").is_some_and(|value| value.eq_ignore_ascii_case(b"none"))
}

impl Part<'_> {
    fn into_owned(self) -> Part<'static> {
        match self {
            Part::Bytes(bytes) => Part::Bytes(Cow::Owned(bytes.into_owned())),
            Part::File { file, offset, length } => Part::File { file, offset, length },
        }
    }
}
