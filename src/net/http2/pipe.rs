//! The byte stream that the protocol reads and writes: two buffers in memory. The poller fills one
//! with what the socket has, and sends what the other holds. It lends large buffers for a turn, so
//! that nothing is copied or allocated, and an idle connection holds none.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::tuning::HTTP2_OUTPUT;
use crate::sync::{Mutex, MutexGuard, ignore_poison};

/// The two buffers.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// Received bytes, of which the protocol has read those before `read`.
    input: Vec<u8>,
    read: usize,
    /// The client has shut down its side: no byte follows those of `input`.
    has_ended: bool,
    /// Bytes to send.
    output: Vec<u8>,
    /// Bytes that the socket has not taken: the protocol writes nothing meanwhile.
    is_blocked: bool,
    /// The protocol had more to write than there was space for.
    is_stalled: bool,
    /// What the SETTINGS of the server, which come first, announce as the largest head.
    list_size: Option<u32>,
}

/// The end of the protocol, and that of the poller.
#[derive(Debug, Default, Clone)]
pub(super) struct Pipe(Arc<Mutex<Buffers>>);

impl Pipe {
    /// A pipe whose SETTINGS announce this SETTINGS_MAX_HEADER_LIST_SIZE in place of the library's.
    pub(super) fn announcing(list_size: u32) -> Pipe {
        let buffers = Buffers { list_size: Some(list_size), ..Buffers::default() };
        Pipe(Arc::new(Mutex::new(buffers)))
    }

    fn lock(&self) -> MutexGuard<'_, Buffers> {
        ignore_poison(self.0.lock())
    }

    /// Adds received bytes. Takes the buffer over, and leaves another one, if it can.
    pub(super) fn push(&self, bytes: &mut Vec<u8>) {
        let mut buffers = self.lock();
        if buffers.read < buffers.input.len() {
            return buffers.input.extend_from_slice(bytes);
        }
        buffers.read = 0;
        buffers.input.clear();
        std::mem::swap(&mut buffers.input, bytes);
    }

    /// Gives the buffer of received bytes back, in exchange for `bytes`. What the protocol has not
    /// read is kept.
    pub(super) fn return_input(&self, bytes: &mut Vec<u8>) {
        let mut buffers = self.lock();
        let read = std::mem::take(&mut buffers.read);
        let unread = buffers.input.split_off(read);
        if buffers.input.capacity() > bytes.capacity() {
            std::mem::swap(&mut buffers.input, bytes);
        }
        buffers.input = unread;
    }

    /// The client has shut down its side.
    pub(super) fn end(&self) {
        self.lock().has_ended = true;
    }

    /// Received bytes that the protocol has not read, because it has to send something first.
    pub(super) fn unread(&self) -> usize {
        let buffers = self.lock();
        buffers.input.len() - buffers.read
    }

    /// Lets the protocol write, or not.
    pub(super) fn set_blocked(&self, is_blocked: bool) {
        self.lock().is_blocked = is_blocked;
    }

    /// Lends an empty buffer for bytes to send, or takes it back, without those that were not sent:
    /// the connection is lost then.
    pub(super) fn swap_output(&self, buffer: &mut Vec<u8>) {
        let mut buffers = self.lock();
        buffers.output.clear();
        std::mem::swap(&mut buffers.output, buffer);
    }

    /// Calls `send` with the bytes to send, if there are any, and drops them.
    pub(super) fn send_output<T>(&self, send: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let mut buffers = self.lock();
        let result = (!buffers.output.is_empty()).then(|| send(&buffers.output));
        buffers.output.clear();
        result
    }

    /// True if the protocol has stopped writing since the last call, for lack of space: nothing
    /// wakes it, so the poller has to poll it again.
    pub(super) fn take_stalled(&self) -> bool {
        std::mem::take(&mut self.lock().is_stalled)
    }

    /// True if the protocol has stopped writing, for lack of space.
    pub(super) fn is_stalled(&self) -> bool {
        self.lock().is_stalled
    }

    /// Bytes that both buffers hold, as allocated.
    pub(super) fn held_bytes(&self) -> usize {
        let buffers = self.lock();
        buffers.input.capacity() + buffers.output.capacity()
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffers = self.lock();
        let unread = &buffers.input[buffers.read..];
        let count = unread.len().min(buffer.remaining());
        // The poller polls the protocol after each read, so nothing has to wake it.
        if count == 0 && !buffers.has_ended && buffer.remaining() > 0 {
            return Poll::Pending;
        }
        buffer.put_slice(&unread[..count]);
        buffers.read += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffers = self.lock();
        let space = HTTP2_OUTPUT.saturating_sub(buffers.output.len());
        if buffers.is_blocked || space == 0 {
            buffers.is_stalled = true;
            return Poll::Pending;
        }
        let count = bytes.len().min(space);
        buffers.output.extend_from_slice(&bytes[..count]);
        if let Some(size) = buffers.list_size.take() {
            announce_list_size(&mut buffers.output, size);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Sets the value of SETTINGS_MAX_HEADER_LIST_SIZE in the frame at the start of `frames`. [RFC 9113
/// section 6.5]
fn announce_list_size(frames: &mut [u8], size: u32) {
    let Some(([_, high, low, 4, ..], payload)) = frames.split_first_chunk_mut::<9>() else {
        return;
    };
    let length = usize::from(*high) << 8 | usize::from(*low);
    let settings = payload.get_mut(..length).unwrap_or_default();
    for setting in settings.chunks_exact_mut(6).filter(|setting| setting[..2] == [0, 6]) {
        setting[2..].copy_from_slice(&size.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn write(pipe: &Pipe, bytes: &[u8]) -> Option<usize> {
        match Pin::new(&mut pipe.clone()).poll_write(&mut Context::from_waker(Waker::noop()), bytes)
        {
            Poll::Ready(written) => Some(written.expect("memory does not fail")),
            Poll::Pending => None,
        }
    }

    #[test]
    fn protocol_that_finds_no_space_is_stalled_once() {
        let pipe = Pipe::default();
        assert_eq!(write(&pipe, &[0; HTTP2_OUTPUT + 1]), Some(HTTP2_OUTPUT));
        assert!(!pipe.take_stalled());
        assert_eq!(write(&pipe, b"x"), None);
        assert_eq!(pipe.send_output(<[u8]>::len), Some(HTTP2_OUTPUT));
        assert_eq!(pipe.send_output(<[u8]>::len), None);
        assert!(pipe.take_stalled());
        assert!(!pipe.take_stalled());
        assert_eq!(write(&pipe, b"x"), Some(1));
    }

    #[test]
    fn first_settings_announce_the_size_of_a_head() {
        let sent = b"\0\0\x0c\x04\0\0\0\0\0\0\x06\0\0\x10\0\0\x03\0\0\0\x06rest";
        let pipe = Pipe::announcing(0x0102_0304);
        let expected = b"\0\0\x0c\x04\0\0\0\0\0\0\x06\x01\x02\x03\x04\0\x03\0\0\0\x06rest";
        write(&pipe, sent);
        assert_eq!(pipe.send_output(<[u8]>::to_vec).as_deref(), Some(&expected[..]));
        write(&pipe, sent);
        assert_eq!(pipe.send_output(<[u8]>::to_vec).as_deref(), Some(&sent[..]));
        // Another frame, and one that is not complete, stay as they are.
        for sent in [&b"\0\0\x06\x06\0\0\0\0\0\0\x06\0\0\x10\0"[..], &sent[..14], b""] {
            let mut frames = sent.to_vec();
            announce_list_size(&mut frames, 1);
            assert_eq!(frames, sent);
        }
    }

    #[test]
    fn protocol_that_may_not_write_is_stalled() {
        let pipe = Pipe::default();
        pipe.set_blocked(true);
        assert_eq!(write(&pipe, b"x"), None);
        assert!(pipe.take_stalled());
    }
    #[test]
    fn buffers_are_lent_and_given_back() {
        let pipe = Pipe::default();
        let mut buffer = Vec::with_capacity(100);
        buffer.extend_from_slice(b"abc");
        pipe.push(&mut buffer);
        assert_eq!((pipe.unread(), buffer.capacity()), (3, 0));
        let mut read = [0; 2];
        let mut target = ReadBuf::new(&mut read);
        let context = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut pipe.clone()).poll_read(context, &mut target).is_ready());
        pipe.return_input(&mut buffer);
        assert!(buffer.capacity() >= 100);
        assert_eq!((pipe.unread(), pipe.held_bytes()), (1, 1));
        let mut more = b"d".to_vec();
        pipe.push(&mut more);
        assert_eq!((pipe.unread(), more.len()), (2, 1));
        let mut output = Vec::with_capacity(100);
        pipe.swap_output(&mut output);
        assert_eq!((write(&pipe, b"x"), output.capacity()), (Some(1), 0));
        assert_eq!(pipe.send_output(<[u8]>::to_vec).as_deref(), Some(&b"x"[..]));
        assert_eq!(write(&pipe, b"lost"), Some(4));
        pipe.swap_output(&mut output);
        assert_eq!((output.len(), output.capacity()), (0, 100));
    }
}
