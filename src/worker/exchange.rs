//! Implements the WSGI layer's [`Exchange`] with a network connection.

use std::any::Any;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::http1::{self, BodyTooShort, ResponseHead};
use crate::net::{Body, Chunk, Connection, HttpDate, WriteHalf};
use crate::sys::clock::wall_clock;
use crate::wsgi::{Client, Content, Exchange};

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

    fn listener(&self) -> usize {
        self.local.index
    }

    fn take_content(&mut self) -> Content {
        match std::mem::take(&mut self.body) {
            Body::Empty => Content::Empty,
            Body::Memory(bytes) => Content::Memory(bytes),
            Body::File(file, length) => Content::File(file, length),
        }
    }

    fn begin(&mut self, head: &ResponseHead, length: Option<u64>) {
        // The server began to stop while the application had the request. The response announces
        // that the connection closes, so that the client does not send another request on it. [RFC
        // 9112 section 9.6]
        if self.is_server_stopping() {
            self.http.close_after_response();
        }
        DATE.with_borrow_mut(|date| {
            let date = date.at(wall_clock());
            self.queue.gather(|out| self.http.begin(head, length, date, out));
        });
    }

    fn queue_copy(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.queue.gather(|out| out.extend_from_slice(bytes));
        }
    }

    fn queue_shared(&mut self, bytes: Bytes) {
        self.queue.push(Chunk::Shared(bytes));
    }

    fn queue_file(&mut self, file: File, offset: u64, length: u64) {
        self.queue.push(Chunk::File { file, offset, left: length });
    }

    fn finish(&mut self) -> Result<(), BodyTooShort> {
        self.queue.gather(|out| self.http.finish(out))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send_now()
    }

    fn flush_soon(&mut self) -> io::Result<()> {
        self.send_soon()
    }

    fn is_full(&self) -> bool {
        self.write_half.is_full()
    }

    fn make_room(&mut self) -> io::Result<()> {
        Connection::make_room(self)
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

impl Client for WriteHalf {
    fn is_disconnected(&self) -> bool {
        self.is_peer_disconnected()
    }
}
