//! Implements the WSGI layer's [`Exchange`] with a network connection.

use std::any::Any;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::http1::{self, BodyTooShort, Frame, ResponseHead};
use crate::net::{self, Body, Chunk, Connection, HttpDate, ReadError, ReadHalf, WriteHalf};
use crate::observe::{Count, RequestId};
use crate::proxies::Forwarded;
use crate::sys::clock::wall_clock;
use crate::wsgi::{
    Client, Content, ContentError, ContentErrorCause, ContentStream, Exchange, TlsVariable, Until,
};

thread_local! {
    static DATE: RefCell<HttpDate> = RefCell::default();
}

impl Exchange for Connection {
    fn http(&mut self) -> &mut http1::Connection {
        &mut self.http
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer.0
    }

    fn forwarded(&self) -> Option<Arc<Forwarded>> {
        Connection::forwarded(self).cloned()
    }

    fn listener(&self) -> usize {
        self.local.index
    }

    fn tls_variables(&self) -> Option<&Arc<[TlsVariable]>> {
        self.tls_variables()
    }

    fn is_takable(&self) -> bool {
        Connection::is_takable(self)
    }

    fn request_id(&self) -> Option<RequestId> {
        Connection::request_id(self).cloned()
    }

    fn take_content(&mut self) -> Content {
        if let Some(read_half) = self.read_half() {
            return Content::Stream(read_half.clone());
        }
        match self.take_body() {
            Body::Empty => Content::Empty,
            Body::Memory(bytes, start) => Content::Memory(bytes, start),
            Body::File(file, length) => Content::File(file, length),
        }
    }

    fn content_error(&self) -> Option<ContentError> {
        let read_half = self.read_half()?;
        read_half.error().map(|error| to_content_error(read_half, error))
    }

    fn begin(&mut self, head: &ResponseHead, length: Option<u64>) {
        // The server began to stop while the application had the request. The response announces
        // that the connection closes, so that the client does not send another request on it. [RFC
        // 9112 section 9.6]
        if self.is_server_stopping() {
            self.http.close_after_response();
        }
        // What is missing of the request is not read after the response, as it may be very long.
        // [RFC 9112 section 9.3]
        if self.read_half().is_some_and(|read_half| !read_half.is_complete_at_response()) {
            self.http.close_after_response();
        }
        DATE.with_borrow_mut(|date| {
            Connection::begin(self, head, length, date.at(wall_clock()));
        });
    }

    fn queue_interim(&mut self, text: &[u8]) {
        Connection::queue_interim(self, text);
    }

    fn count(&self, what: Count) -> Option<u64> {
        self.counters().increment_and_take_report(what)
    }

    fn queue_copy(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.queue.gather(|out| out.extend_from_slice(bytes));
        }
    }

    fn queue_block(&mut self, frame: &Frame, block: &[u8]) {
        let taken = &block[..frame.take];
        if taken.is_empty() {
            return;
        }
        self.queue.gather(|out| {
            let (prefix, suffix) = (frame.prefix(), frame.suffix);
            if prefix.is_empty() {
                return out.extend_from_slice(taken);
            }
            out.reserve(prefix.len() + taken.len() + suffix.len());
            for part in [prefix, taken, suffix] {
                out.extend_from_slice(part);
            }
        });
    }

    fn queue_shared(&mut self, bytes: Bytes) {
        self.queue.push(Chunk::Shared(bytes));
    }

    fn queue_file(&mut self, file: Arc<File>, offset: u64, length: u64) {
        self.queue.push(Chunk::File { file, offset, left: length });
    }

    fn finish(&mut self) -> Result<(), BodyTooShort> {
        self.queue.gather(|out| self.http.finish(out))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_timed(Connection::send_now)
    }

    fn flush_soon(&mut self) -> io::Result<()> {
        self.send_timed(Connection::send_soon)
    }

    fn is_full(&self) -> bool {
        self.write_half.is_full()
    }

    fn make_room(&mut self) -> io::Result<()> {
        self.send_timed(Connection::make_room)
    }

    fn client(&self) -> Weak<dyn Client> {
        // Weak, so that an application that keeps it does not keep the socket open.
        let client: Weak<WriteHalf> = Arc::downgrade(&self.write_half);
        client
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl ContentStream for ReadHalf {
    fn read_buffered(&self, limit: usize, until: Until) -> Option<Vec<u8>> {
        ReadHalf::read_buffered(self, limit, to_net(until))
    }

    fn read(&self, limit: usize, until: Until) -> Result<Vec<u8>, ContentError> {
        ReadHalf::read(self, limit, to_net(until)).map_err(|error| to_content_error(self, error))
    }
}

fn to_net(until: Until) -> net::Until {
    match until {
        Until::Full => net::Until::Full,
        Until::Line => net::Until::Line,
        Until::Any => net::Until::Any,
    }
}

#[cold]
fn to_content_error(read_half: &ReadHalf, error: ReadError) -> ContentError {
    let (status, reason, detail) = read_half.describe(error);
    let cause = match error {
        ReadError::Protocol(_) | ReadError::Ended => ContentErrorCause::Invalid,
        ReadError::Timeout => ContentErrorCause::Timeout,
        ReadError::Disconnected => ContentErrorCause::Disconnected,
    };
    ContentError { cause, status: (status, reason), detail }
}

impl Client for WriteHalf {
    fn is_disconnected(&self) -> bool {
        self.is_peer_disconnected()
    }
}
