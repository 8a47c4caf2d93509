//! One stream, a kind of [`Transport`](crate::net::transport::Transport): the write half above it
//! sends bytes as over a socket, as far as flow control and the other streams allow. A worker
//! thread may send while the poller reads, so the sending side is behind a lock, which is held only
//! around calls that do not block.
//!
//! The head of a response is not among the bytes: [`Stream::set_head`] leaves it here, and the
//! first bytes, or the end, send it.
//!
//! The content of the request comes from the session, which stores it; with `--request-buffering
//! off` the thread of the application reads it here.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::Response;

use super::body::Part;
use super::content::{Content, Incoming, Received};
use super::resets::Resets;
use super::shared::{Shared, Signal};
use crate::net::sending::Then;
use crate::net::tls::Variable;
use crate::net::tuning::FILE_BLOCK;
use crate::sync::{AtomicBool, AtomicU8, Mutex, MutexGuard, Ordering, ignore_poison};

/// One stream.
pub(in crate::net) struct Stream {
    shared: Arc<Shared>,
    /// Where a response that was cut short waits for its reset.
    resets: Arc<Resets>,
    /// Streams of a connection count from 1.
    number: usize,
    side: Mutex<Side>,
    /// The content, if the application reads it as it arrives.
    incoming: Mutex<Option<Incoming>>,
    /// What the protocol wakes; most streams never wait for it.
    signal: OnceLock<(Arc<Signal>, Waker)>,
    /// The client has reset the stream, or the connection is lost.
    is_cancelled: AtomicBool,
    /// What bytes wait for: see [`NOT_BLOCKED`].
    blocked: AtomicU8,
}

/// Values of `blocked`: no bytes wait...
const NOT_BLOCKED: u8 = 0;
/// ...or they wait for other streams, or for the socket...
const BY_OTHERS: u8 = 1;
/// ...or for flow control.
const BY_WINDOW: u8 = 2;

/// The sending side.
struct Side {
    respond: SendResponse<Part>,
    /// Sends the content, once the head was sent.
    content: Option<SendStream<Part>>,
    /// The head, until it is sent.
    head: Option<Response<()>>,
    /// The end, or a reset, was sent.
    has_ended: bool,
    /// The response was aborted, which its client must be able to detect.
    is_cut_short: bool,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("is_cancelled", &self.is_cancelled).finish_non_exhaustive()
    }
}

impl Stream {
    pub(super) fn new(
        shared: Arc<Shared>,
        resets: Arc<Resets>,
        number: usize,
        respond: SendResponse<Part>,
    ) -> Stream {
        let side =
            Side { respond, content: None, head: None, has_ended: false, is_cut_short: false };
        Stream {
            shared,
            resets,
            number,
            side: Mutex::new(side),
            incoming: Mutex::new(None),
            signal: OnceLock::new(),
            is_cancelled: AtomicBool::new(false),
            blocked: AtomicU8::new(NOT_BLOCKED),
        }
    }

    pub(in crate::net) fn variables(&self) -> Option<&Arc<[Variable]>> {
        self.shared.variables.as_ref()
    }

    /// Streams of a connection count from 1.
    pub(in crate::net) fn number(&self) -> usize {
        self.number
    }

    /// True once the client has reset the stream, or the connection is lost.
    pub(in crate::net) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    /// True if bytes wait for flow control, for other streams, or for the socket.
    pub(in crate::net) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::SeqCst) != NOT_BLOCKED
    }

    /// True if bytes wait for other streams, or for the socket.
    pub(in crate::net) fn waits_for_others(&self) -> bool {
        self.blocked.load(Ordering::SeqCst) == BY_OTHERS
    }

    /// For the poller: true if the protocol has something for the stream since the last call.
    pub(in crate::net) fn take_signal(&self) -> bool {
        self.signal.get().is_some_and(|(signal, _)| signal.take())
    }

    /// The waker of this stream.
    fn waker(&self) -> &Waker {
        let (_, waker) = self.signal.get_or_init(|| {
            let signal = Arc::new(Signal::new(self.shared.clone()));
            (signal.clone(), signal.into())
        });
        waker
    }

    /// The connection is lost: fails all later sends.
    pub(in crate::net) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
    }

    /// For the poller: true once the client has reset the stream.
    pub(super) fn poll_reset(&self) -> bool {
        let mut side = self.lock();
        if side.has_ended {
            return false;
        }
        // The protocol keeps the last waker only: it may wait for flow control.
        let waker = self.signal.get().map_or(Waker::noop(), |(_, waker)| waker);
        let context = &mut Context::from_waker(waker);
        let poll = match &mut side.content {
            Some(content) => content.poll_reset(context),
            None => side.respond.poll_reset(context),
        };
        let is_reset = poll.is_ready();
        if is_reset {
            side.has_ended = true;
            self.cancel();
        }
        is_reset
    }

    /// Receives content for the poller, which stores it.
    pub(in crate::net) fn receive(&self, content: &mut Content) -> Received {
        content.poll(&mut Context::from_waker(self.waker()))
    }

    /// Leaves the content to the application, which calls [`Stream::read`].
    pub(in crate::net) fn leave_content(&self, content: Content) {
        *ignore_poison(self.incoming.lock()) = Some(Incoming::new(content));
    }

    /// Reads content that was left to the application; 0 is its end.
    pub(in crate::net) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut incoming = ignore_poison(self.incoming.lock());
        let read = incoming.as_mut().ok_or_else(lost)?.read(buffer);
        read.map_err(|()| lost())?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    /// For the poller: takes what has arrived of content that was left to the application. False if
    /// the client has reset the stream, or violated the protocol.
    pub(in crate::net) fn receive_left(&self) -> bool {
        let mut incoming = ignore_poison(self.incoming.lock());
        let context = &mut Context::from_waker(self.waker());
        incoming.as_mut().is_none_or(|incoming| incoming.receive(context))
    }

    /// For the poller: see [`Content::announce_window`].
    pub(in crate::net) fn announce_window(&self) {
        if let Some(incoming) = &mut *ignore_poison(self.incoming.lock()) {
            incoming.announce_window();
        }
    }

    /// The application reads no more: drops what it has left.
    pub(in crate::net) fn drop_content(&self) {
        *ignore_poison(self.incoming.lock()) = None;
    }

    /// Bytes of content that wait for the application.
    pub(in crate::net) fn unread_bytes(&self) -> usize {
        ignore_poison(self.incoming.lock()).as_ref().map_or(0, Incoming::held_bytes)
    }

    /// Sends an interim response, such as `100 Continue`, before the head.
    pub(in crate::net) fn send_interim(&self, head: Response<()>) {
        let mut side = self.lock();
        if side.content.is_none() && !side.has_ended {
            // It fails only once the stream has ended, which the next send reports.
            let _ = side.respond.send_informational(head);
        }
    }

    /// Leaves the head of the response here.
    pub(in crate::net) fn set_head(&self, head: Response<()>) {
        self.lock().head = Some(head);
    }

    /// Sends from all `slices`; returns how many bytes flow control has let through.
    pub(in crate::net) fn send(&self, slices: &[IoSlice<'_>], then: Then) -> io::Result<usize> {
        let total = slices.iter().map(|slice| slice.len()).sum();
        self.send_within(total, then, |count| {
            let mut bytes = Vec::with_capacity(count);
            for slice in slices {
                let left = count - bytes.len();
                bytes.extend_from_slice(&slice[..left.min(slice.len())]);
            }
            Ok(bytes)
        })
    }

    /// Reads a block of a file, and sends it. On other systems the output queue reads files.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(in crate::net) fn send_file(
        &self,
        file: &File,
        offset: &mut u64,
        count: usize,
    ) -> io::Result<usize> {
        let sent = self.send_within(count.min(FILE_BLOCK), Then::Open, |count| {
            let mut block = vec![0; count];
            let read = file.read_at(&mut block, *offset)?;
            block.truncate(read);
            Ok(block)
        })?;
        *offset += sent as u64;
        Ok(sent)
    }

    /// Sends what `take` makes of the number of bytes that may be sent now, at most `total`.
    fn send_within(
        &self,
        total: usize,
        then: Then,
        take: impl FnOnce(usize) -> io::Result<Vec<u8>>,
    ) -> io::Result<usize> {
        let mut side = self.lock();
        let count = self.capacity(&mut side, total)?;
        let bytes = take(count)?;
        let sent = bytes.len();
        let is_end = then == Then::End && sent == total;
        let content = side.content.as_mut().ok_or_else(lost)?;
        if sent > 0 {
            content.send_data(Part::new(bytes, &self.shared), is_end).map_err(|_| lost())?;
            side.has_ended |= is_end;
        }
        Ok(sent)
    }

    /// How many of `wanted` bytes may be sent now. Sends the head before.
    fn capacity(&self, side: &mut Side, wanted: usize) -> io::Result<usize> {
        if self.is_cancelled() || side.has_ended {
            return Err(lost());
        }
        if let Some(head) = side.head.take() {
            side.content = Some(side.respond.send_response(head, false).map_err(|_| lost())?);
        }
        let content = side.content.as_mut().ok_or_else(lost)?;
        if !self.shared.may_add() {
            self.blocked.store(BY_OTHERS, Ordering::SeqCst);
            self.shared.wait(self.number);
            // The poller may have looked at this stream just before.
            if !self.shared.may_add() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        content.reserve_capacity(wanted);
        loop {
            let count = content.capacity().min(wanted);
            if count > 0 {
                self.blocked.store(NOT_BLOCKED, Ordering::SeqCst);
                return Ok(count);
            }
            // Before the waker is registered: it may fire at once, on the thread that polls.
            self.blocked.store(BY_WINDOW, Ordering::SeqCst);
            match content.poll_capacity(&mut Context::from_waker(self.waker())) {
                Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return Err(lost()),
            }
        }
    }

    /// All bytes were sent: ends the stream, or resets it if the response was cut short.
    pub(in crate::net) fn end(&self) {
        let mut side = self.lock();
        if side.has_ended {
            return;
        }
        side.has_ended = true;
        let (head, is_cut_short) = (side.head.take(), side.is_cut_short);
        // These fail only if the client has reset the stream.
        if let Some(head) = head {
            side.content = side.respond.send_response(head, !is_cut_short).ok();
        } else if let Some(content) = side.content.as_mut().filter(|_| !is_cut_short) {
            let _ = content.send_data(Part::empty(), true);
        }
        if is_cut_short {
            match side.content.take() {
                Some(content) => {
                    self.resets.add(content);
                    self.shared.waker.wake_by_ref();
                }
                None => side.respond.send_reset(Reason::INTERNAL_ERROR),
            }
        }
    }

    /// Lets the stream end with a reset: a response was cut short.
    pub(in crate::net) fn cut_short(&self) {
        self.lock().is_cut_short = true;
    }

    /// Ends the stream, if it has not ended, because the server gives it up.
    pub(in crate::net) fn close(&self) {
        self.lock().reset(Reason::CANCEL);
    }

    /// The same because of an error.
    pub(in crate::net) fn reset(&self) {
        self.lock().reset(Reason::INTERNAL_ERROR);
    }

    /// Refuses the request: it was not processed, so the client may repeat it.
    pub(in crate::net) fn refuse(&self) {
        self.lock().reset(Reason::REFUSED_STREAM);
    }

    fn lock(&self) -> MutexGuard<'_, Side> {
        // Nothing panics while the lock is held.
        ignore_poison(self.side.lock())
    }
}

impl Side {
    fn reset(&mut self, reason: Reason) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.respond.send_reset(reason);
        }
    }
}

/// The error of a stream that the client has reset, or whose connection is lost.
fn lost() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}
