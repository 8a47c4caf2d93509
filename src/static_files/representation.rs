//! One form of a file: the file itself or a precompressed variant, with its validators and the head
//! of its response.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::coding::Coding;
use super::conditional::Validators;
use super::content::{MAX_IN_MEMORY, read_resident};
use super::lookup::{FoundFile, OpenFile};
use super::names::{has_content_hash, media_type};
use super::reply::{Part, Reply, Whole, add, started};
use super::root::Lookup;
use crate::http1::ResponseHead;

/// One form of a file, as long as it stays unchanged.
#[derive(Debug)]
pub(super) struct Representation {
    file: Arc<File>,
    /// Its size in bytes.
    size: u64,
    /// The head of the 200.
    head: ResponseHead,
    etag: String,
    /// Last-Modified, in seconds since the epoch.
    modified: Option<u64>,
    /// All of it, if it is small and was sent.
    content: OnceCell<Vec<u8>>,
}

impl Representation {
    /// The forms of a file: itself, then its variants in the order of [`Coding::ALL`].
    pub(super) fn all(found: FoundFile, cache_control: &str) -> [Option<Representation>; 4] {
        let FoundFile { name, file, variants } = found;
        let has_variants = variants.iter().any(Option::is_some);
        let cache_control = match has_content_hash(&name) {
            true => "max-age=31536000, immutable",
            false => cache_control,
        };
        let media_type = media_type(&name);
        let represent = |file: OpenFile, coding: Option<Coding>| {
            let etag = etag(&file, coding);
            let modified = modified(&file);
            let mut head = started("200 OK");
            add(&mut head, "Content-Type", &media_type);
            if let Some(coding) = coding {
                add(&mut head, "Content-Encoding", coding.token());
            }
            if has_variants {
                add(&mut head, "Vary", "Accept-Encoding");
            }
            add_validators(&mut head, &etag, modified);
            add(&mut head, "Cache-Control", cache_control);
            add(&mut head, "Accept-Ranges", "bytes");
            add(&mut head, "X-Content-Type-Options", "nosniff");
            let OpenFile { file, size, .. } = file;
            let file = Arc::new(file);
            Representation { file, size, head, etag, modified, content: OnceCell::new() }
        };
        let mut variants = variants.into_iter().zip(Coding::ALL);
        let mut next = || {
            let (file, coding) = variants.next()?;
            Some(represent(file?, Some(coding)))
        };
        [Some(represent(file, None)), next(), next(), next()]
    }

    /// The whole, from which responses to conditions and ranges are derived.
    pub(super) fn whole(&self) -> Whole<'_> {
        Whole {
            head: &self.head,
            validators: Validators { etag: Some(self.etag.as_bytes()), modified: self.modified },
            file: &self.file,
            size: self.size,
        }
    }

    /// The 200. With [`Lookup::Cached`] it fails with `WouldBlock` rather than wait for a disk.
    pub(super) fn reply(&self, is_head: bool, lookup: Lookup) -> io::Result<Reply<'_>> {
        let mut head = Cow::Borrowed(&self.head);
        let (part, length) = if is_head || self.size > MAX_IN_MEMORY {
            if self.size == 0 {
                // An application that returns nothing to a HEAD does not mean an empty file, so
                // the length has to be declared.
                add(head.to_mut(), "Content-Length", "0");
            }
            (Part::File { file: self.file.clone(), offset: 0, length: self.size }, self.size)
        } else {
            let bytes = self.content(lookup)?;
            (Part::Bytes(Cow::Borrowed(bytes)), bytes.len() as u64)
        };
        Ok(Reply { head, length: Some(length), parts: vec![part] })
    }

    fn content(&self, lookup: Lookup) -> io::Result<&[u8]> {
        if let Some(content) = self.content.get() {
            return Ok(content);
        }
        let length = usize::try_from(self.size).map_err(io::Error::other)?;
        let content = read_resident(&self.file, length, lookup)?;
        Ok(self.content.get_or_init(|| content))
    }
}

/// Adds ETag and Last-Modified.
pub(super) fn add_validators(head: &mut ResponseHead, etag: &str, modified: Option<u64>) {
    add(head, "ETag", etag);
    if let Some(seconds) = modified {
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        add(head, "Last-Modified", &httpdate::fmt_http_date(time));
    }
}

/// The entity tag: what changes with the content, and is the same on every machine that has the
/// file with its time. So no inode, which Apache once used.
pub(super) fn etag(file: &OpenFile, coding: Option<Coding>) -> String {
    let (seconds, nanoseconds) = file.modified;
    let time = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let suffix = coding.map_or_else(String::new, |coding| format!("-{}", coding.token()));
    format!("\"{time:x}-{:x}{suffix}\"", file.size)
}

/// Last-Modified in seconds since the epoch: not later than now. [RFC 9110 section 8.8.2.1]
pub(super) fn modified(file: &OpenFile) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    u64::try_from(file.modified.0).ok().map(|seconds| seconds.min(now))
}
