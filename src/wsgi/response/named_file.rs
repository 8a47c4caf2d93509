//! Replaces a response of the application by the file that it names in X-Sendfile or
//! X-Accel-Redirect (`--sendfile-root`).

use log::error;

use crate::http1::ResponseHead;
use crate::observe::{Count, counted};
use crate::static_files::{NamedFile, Part, SendfileRoots, failure, named_path};
use crate::wsgi::exchange::Exchange;

/// A file that the response names, opened.
pub(super) struct OpenedFile {
    path: Vec<u8>,
    file: NamedFile,
}

impl OpenedFile {
    /// Opens a file, which may wait for a disk.
    pub(super) fn open(roots: &SendfileRoots, path: Vec<u8>) -> OpenedFile {
        OpenedFile { file: roots.find(&path), path }
    }

    /// True if it is the file that this head names.
    pub(super) fn is_named_by(&self, head: &ResponseHead) -> bool {
        named_path(head) == Some(&self.path[..])
    }

    /// Queues the whole response, and returns its head.
    pub(super) fn queue(self, exchange: &mut dyn Exchange, head: &ResponseHead) -> ResponseHead {
        self.report(exchange);
        let reply = self.file.reply(exchange.http().head(), head, &self.path);
        exchange.begin(&reply.head, reply.length);
        for part in reply.parts {
            match part {
                Part::Bytes(bytes) => {
                    let take = exchange.http().frame(bytes.len()).take;
                    exchange.queue_copy(&bytes[..take]);
                }
                Part::File { file, offset, length } => {
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    let take = exchange.http().frame(length).take;
                    if take > 0 {
                        exchange.queue_file(file, offset, take as u64);
                    }
                }
            }
        }
        // The parts have the length that the head declares.
        let _ = exchange.finish();
        reply.head.into_owned()
    }

    /// Counts and logs a file that cannot be sent. At a limited rate, as the path may depend on the
    /// client.
    fn report(&self, exchange: &mut dyn Exchange) {
        let shown = String::from_utf8_lossy(&self.path);
        match &self.file {
            NamedFile::Found(_) | NamedFile::Missing => {}
            NamedFile::Outside => {
                if let Some(count) = exchange.count(Count::SendfileOutside) {
                    error!(
                        target: "sendfile.outside",
                        "The application has named a file outside of --sendfile-root, {shown:?}: \
                         {} ({}, with 500)",
                        exchange.http().head(),
                        counted(count, "response")
                    );
                }
            }
            NamedFile::Failed(reason) => {
                if let Some(count) = exchange.count(Count::SendfileFailed) {
                    error!(
                        target: "sendfile.failed",
                        "Cannot open the file that the application has named, {shown:?}, {reason}: \
                         {} ({}, with {})",
                        exchange.http().head(),
                        counted(count, "response"),
                        failure(reason).head.status()
                    );
                }
            }
        }
    }
}
