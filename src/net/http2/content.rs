//! The content of a request, as a stream receives it. The client may send more once what it has
//! sent is stored, or read by the application.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;

/// The receiving side of a stream.
pub(in crate::net) struct Content(RecvStream);

/// What has arrived of the content.
#[derive(Debug)]
pub(in crate::net) enum Received {
    Bytes(Bytes),
    /// The stream has ended, and its trailers are dropped.
    End,
    /// Nothing more for now.
    Nothing,
    /// The client has reset the stream, or violated the protocol.
    Lost,
}

impl Content {
    pub(super) fn new(content: RecvStream) -> Content {
        Content(content)
    }

    /// Receives what has arrived. After [`Received::Nothing`] the waker of the context is woken
    /// once there is more.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Received {
        match self.0.poll_data(context) {
            Poll::Pending => Received::Nothing,
            Poll::Ready(Some(Ok(bytes))) => Received::Bytes(bytes),
            Poll::Ready(Some(Err(_))) => Received::Lost,
            // Trailers are read, so that they are bounded, and dropped.
            Poll::Ready(None) => match self.0.poll_trailers(context) {
                Poll::Pending => Received::Nothing,
                Poll::Ready(Ok(_)) => Received::End,
                Poll::Ready(Err(_)) => Received::Lost,
            },
        }
    }

    /// Lets the client send as many bytes more as were released before. The library announces them
    /// with the next release only, if its window has become smaller meanwhile.
    pub(in crate::net) fn announce_window(&mut self) {
        self.release(0);
    }

    /// The content was stored, or read: lets the client send as many bytes more.
    pub(in crate::net) fn release(&mut self, count: usize) {
        // It fails only if more is released than was received.
        let _ = self.0.flow_control().release_capacity(count);
    }
}

/// Content that the application reads as it arrives. The poller takes it from the protocol, whose
/// buffers a client could fill with a byte of content each.
#[derive(Debug)]
pub(super) struct Incoming {
    content: Content,
    /// What the application has not read, from `start` on: the window of the stream bounds it. What
    /// it has read stays before, while that is less.
    bytes: Vec<u8>,
    start: usize,
    end: Option<End>,
}

/// How content ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Lost,
}

impl Incoming {
    pub(super) fn new(content: Content) -> Incoming {
        Incoming { content, bytes: Vec::new(), start: 0, end: None }
    }

    /// For the poller: takes what has arrived. False if the client has reset the stream, or
    /// violated the protocol.
    pub(super) fn receive(&mut self, context: &mut Context<'_>) -> bool {
        while self.end.is_none() {
            match self.content.poll(context) {
                Received::Bytes(bytes) => {
                    self.drop_read();
                    self.bytes.extend_from_slice(&bytes);
                }
                Received::End => self.end = Some(End::Complete),
                Received::Nothing => return true,
                Received::Lost => self.end = Some(End::Lost),
            }
        }
        self.end == Some(End::Complete)
    }

    /// Drops what the application has read, once that is half of what is held. A client that is
    /// always ahead of the application leaves no moment when all is read.
    fn drop_read(&mut self) {
        if self.start > 0 && self.start >= self.bytes.len() - self.start {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// For the application: moves what has arrived to `buffer`, which is not empty. Only now may
    /// the client send more. `None` if nothing has arrived, 0 at the end.
    ///
    /// # Errors
    /// The client has reset the stream, or violated the protocol.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, ()> {
        let unread = &self.bytes[self.start..];
        if unread.is_empty() {
            return match self.end {
                None => Ok(None),
                Some(End::Complete) => Ok(Some(0)),
                Some(End::Lost) => Err(()),
            };
        }
        let count = unread.len().min(buffer.len());
        buffer[..count].copy_from_slice(&unread[..count]);
        self.start += count;
        if self.start == self.bytes.len() {
            (self.bytes, self.start) = (Vec::new(), 0);
        }
        self.content.release(count);
        Ok(Some(count))
    }

    /// See [`Content::announce_window`].
    pub(super) fn announce_window(&mut self) {
        self.content.announce_window();
    }

    /// Bytes that are held for the application, as allocated.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Content")
    }
}
