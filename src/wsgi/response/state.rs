//! What the lock of a response protects: the exchange, and how far the response is.

use std::sync::{Arc, Weak};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::named_file::OpenedFile;
use super::takeover::Taken;
use super::{Length, Queued, SendError, StartError, Upgrade};
use crate::http1::ResponseHead;
use crate::static_files::{SendfileRoots, named_path};
use crate::wsgi::block;
use crate::wsgi::exchange::{Client, Exchange};

/// Blocks of at least this many bytes are sent from Python's memory, without a copy.
const SHARE_THRESHOLD: usize = 16 * 1024;
/// Blocks of at least this many bytes are sent detached from the interpreter. Copying a smaller one
/// to the kernel takes less time than a switch to another Python thread.
const DETACH_THRESHOLD: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct State {
    /// The exchange, unless a thread is flushing it.
    pub(super) exchange: Option<Box<dyn Exchange>>,
    /// A thread has taken the exchange and will put it back.
    pub(super) flushing: bool,
    /// A thread waits for that. Without one there is no `notify`, which costs a system call.
    pub(super) has_waiter: bool,
    /// The request of the exchange, as the error log names it, while a thread flushes detached.
    pub(super) request_being_sent: Option<String>,
    /// The client of the request, while a thread flushes.
    pub(super) client_being_sent_to: Option<Weak<dyn Client>>,
    /// The response of that request is complete.
    pub(super) is_complete: bool,
    /// Status and headers of the last successful call of start_response.
    pub(super) head: ResponseHead,
    /// The buffer that the next call is parsed into, so that a call that fails changes nothing.
    pub(super) draft: ResponseHead,
    /// start_response was called successfully.
    pub(super) started: bool,
    /// The application sent more content than its Content-Length allows.
    pub(super) exceeded_length: bool,
    /// A large block or a file is queued: detach from the interpreter to send it.
    pub(super) detach_to_send: bool,
    /// The response has ended for the application, although the exchange is here.
    pub(super) is_ended: bool,
    /// The directories of `--sendfile-root`.
    pub(super) sendfile: Option<Arc<SendfileRoots>>,
    /// The file that the response names, before it is queued.
    pub(super) opened_file: Option<OpenedFile>,
    /// The response is that of a file, or of an upgrade: what the application yields is not sent.
    pub(super) is_replaced: bool,
    /// Whether the request has taken its connection.
    pub(super) upgrade: Upgrade,
    /// The poller has taken the exchange, as the request has run too long.
    pub(super) taken: Option<Taken>,
}

impl State {
    /// The exchange, for a call of the application.
    pub(super) fn exchange(&mut self) -> Result<&mut dyn Exchange, SendError> {
        self.exchange_and_head().map(|(exchange, _)| exchange)
    }

    fn exchange_and_head(&mut self) -> Result<(&mut dyn Exchange, &ResponseHead), SendError> {
        match (&mut self.exchange, &mut self.taken) {
            _ if self.is_ended => Err(SendError::Ended),
            (Some(exchange), _) => Ok((&mut **exchange, &self.head)),
            (None, Some(taken)) => {
                taken.is_noticed = true;
                Err(SendError::TimedOut)
            }
            (None, None) => Err(SendError::Ended),
        }
    }

    /// Fails if start_response must not be called now.
    pub(super) fn check_start(&mut self, exc_info: bool) -> Result<(), StartError> {
        let started = self.started;
        match self.exchange() {
            Ok(_) if !exc_info && started => Err(StartError::Repeated),
            Ok(exchange) => match exc_info && exchange.http().has_begun() {
                true => Err(StartError::HeadSent),
                false => Ok(()),
            },
            Err(SendError::TimedOut) => Err(StartError::TimedOut),
            Err(_) => Err(StartError::Ended),
        }
    }

    /// Makes the draft the head of the response, if it is valid.
    pub(super) fn accept_draft(&mut self, is_valid: bool) {
        if is_valid {
            std::mem::swap(&mut self.head, &mut self.draft);
            self.started = true;
        }
    }

    /// Queues the head unless it is queued already.
    pub(super) fn begin(&mut self, length: Option<u64>) -> Result<&mut dyn Exchange, SendError> {
        if self.opened_file.is_some() {
            self.begin_with_file()?;
        }
        let is_started = self.started || self.upgrade != Upgrade::None;
        let (exchange, head) = self.exchange_and_head()?;
        if !is_started {
            return Err(SendError::NotStarted);
        }
        if !exchange.http().has_begun() {
            exchange.begin(head, length);
        }
        Ok(exchange)
    }

    /// Ends the response. Its content is empty if no block was queued.
    pub(super) fn finish(&mut self) -> Result<Length, SendError> {
        let missing = self.begin(Some(0))?.finish();
        Ok(Length { is_exceeded: std::mem::take(&mut self.exceeded_length), missing })
    }

    /// Queues the file that the response names instead of it.
    #[cold]
    fn begin_with_file(&mut self) -> Result<(), SendError> {
        let Some(file) = self.opened_file.take() else { return Ok(()) };
        let (exchange, head) = self.exchange_and_head()?;
        // Without a GIL another thread may have called start_response again.
        if !exchange.http().has_begun() && file.is_named_by(head) {
            self.head = file.queue(exchange, head);
            self.is_replaced = true;
            self.detach_to_send = true;
        }
        Ok(())
    }

    /// True if the response names a file that is sent instead of its content.
    #[inline]
    pub(super) fn names_file(&self) -> bool {
        self.started && self.head.names_file() && !self.is_replaced
    }

    /// The file that the response names, with the directories that it may be in, unless the head is
    /// queued already.
    pub(super) fn file_to_open(&self) -> Option<(Arc<SendfileRoots>, Vec<u8>)> {
        if !self.names_file() {
            return None;
        }
        let roots = self.sendfile.as_ref()?;
        Some((roots.clone(), named_path(&self.head)?.to_vec()))
    }

    /// Queues a block, after the head if it is the first. `length` is the length of the whole
    /// content in bytes, if it is known.
    pub(super) fn queue(
        &mut self,
        block: &Bound<'_, PyBytes>,
        length: Option<u64>,
    ) -> Result<Queued, SendError> {
        let bytes = block.as_bytes();
        if self.opened_file.is_some() {
            self.begin_with_file()?;
        }
        if self.is_replaced {
            return self.exchange().map(|_| Queued::NoContent);
        }
        let exchange = self.begin(length)?;
        let frame = exchange.http().frame(bytes.len());
        let take = frame.take;
        // A subclass may have a destructor of the application, which must not run on another
        // thread.
        if take < SHARE_THRESHOLD || !block.is_exact_instance_of::<PyBytes>() {
            exchange.queue_block(&frame, bytes);
        } else {
            exchange.queue_copy(frame.prefix());
            exchange.queue_shared(block::share(block).slice(..take));
            exchange.queue_copy(frame.suffix);
        }
        let no_content = exchange.http().sends_no_content();
        self.detach_to_send |= take >= DETACH_THRESHOLD;
        match take < bytes.len() {
            _ if no_content => Ok(Queued::NoContent),
            true => {
                self.exceeded_length = true;
                Ok(Queued::Excess)
            }
            false => Ok(Queued::All),
        }
    }
}
