//! Shows a network connection to the WSGI layer, which knows it only as an [`Exchange`].

use std::any::Any;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::http1::{self, ResponseHead, TooShort};
use crate::net::{Body, Chunk, Connection, HttpDate};
use crate::wsgi::{Addresses, Content, Exchange};

thread_local! {
    static DATE: RefCell<HttpDate> = RefCell::default();
}

/// A connection and how long its client may stall.
pub(super) struct Job {
    pub(super) connection: Box<Connection>,
    pub(super) write_timeout: Duration,
}

impl Exchange for Job {
    fn http(&mut self) -> &mut http1::Connection {
        &mut self.connection.http
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            remote_addr: self.connection.peer.address(),
            remote_port: self.connection.peer.port(),
            listener: self.connection.local.index,
        }
    }

    fn take_content(&mut self) -> Content {
        match std::mem::take(&mut self.connection.body) {
            Body::Empty => Content::Empty,
            Body::Memory(bytes) => Content::Memory(bytes),
            Body::File(file, length) => Content::File(file, length),
        }
    }

    fn begin(&mut self, head: &ResponseHead, length: Option<u64>) {
        let Connection { http, queue, .. } = &mut *self.connection;
        DATE.with_borrow_mut(|date| {
            let date = date.at(SystemTime::now());
            queue.gather(|out| http.begin(head, length, date, out));
        });
    }

    fn copy(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.connection.queue.gather(|out| out.extend_from_slice(bytes));
        }
    }

    fn share(&mut self, bytes: Bytes) {
        self.connection.queue.push(Chunk::Shared(bytes));
    }

    fn send_file(&mut self, file: File, offset: u64, length: u64) {
        self.connection.queue.push(Chunk::File { file, offset, left: length });
    }

    fn finish(&mut self) -> Result<(), TooShort> {
        let mut end = Vec::new();
        self.connection.http.finish(&mut end)?;
        self.copy(&end);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Connection { queue, outlet, .. } = &mut *self.connection;
        if queue.is_empty() { Ok(()) } else { outlet.send(queue).map(drop) }
    }

    fn is_full(&self) -> bool {
        self.connection.outlet.is_full()
    }

    fn wait(&mut self) -> io::Result<()> {
        self.connection.outlet.wait(self.write_timeout)
    }

    fn disconnect_probe(&self) -> Box<dyn Fn() -> bool + Send + Sync> {
        // Weak: an application that keeps the probe must not keep the socket.
        let outlet = Arc::downgrade(&self.connection.outlet);
        Box::new(move || outlet.upgrade().is_none_or(|outlet| outlet.peer_has_left()))
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
