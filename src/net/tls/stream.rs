//! A session over a socket. A worker thread may write while the poller reads, so the session is
//! behind a lock, which is held only around calls that do not block.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use socket2::Socket;

use super::certificates::HTTP2;
use super::records::Records;
use super::session::Session;
use super::variables::Variable;
use crate::net::memory_budget::MemoryBudget;
use crate::net::sending::Then;
use crate::net::tuning::{CIPHERTEXT_BUFFER, FILE_BLOCK};
use crate::sync::{Mutex, ignore_poison};

thread_local! {
    /// Decrypted bytes, before they are appended to a buffer; bytes of a file, before they are
    /// encrypted.
    static PLAINTEXT: RefCell<Box<[u8]>> = RefCell::new(vec![0; CIPHERTEXT_BUFFER].into());
}

const _: () = assert!(FILE_BLOCK <= CIPHERTEXT_BUFFER, "a block fits into the buffer");

/// A session over a socket.
#[derive(Debug)]
pub(in crate::net) struct TlsStream {
    socket: Socket,
    session: Mutex<Session>,
    /// Mirrors [`Session::unsent`].
    unsent: AtomicUsize,
    /// Mirrors [`Session::has_more`], and is true after a read that has stopped at its limit.
    has_more: AtomicBool,
    /// Mirrors [`Session::is_handshaking`].
    is_handshaking: AtomicBool,
    /// What the application sees of the session, once the handshake is complete.
    variables: OnceLock<Arc<[Variable]>>,
    /// The totals of the worker.
    memory_budget: Arc<MemoryBudget>,
    /// Bytes that the memory budget counts for the session.
    charged: AtomicUsize,
}

impl TlsStream {
    pub(super) fn new(
        socket: Socket,
        records: Records,
        memory_budget: Arc<MemoryBudget>,
    ) -> TlsStream {
        TlsStream {
            socket,
            session: Mutex::new(Session::new(records)),
            unsent: AtomicUsize::new(0),
            has_more: AtomicBool::new(false),
            is_handshaking: AtomicBool::new(true),
            variables: OnceLock::new(),
            memory_budget,
            charged: AtomicUsize::new(0),
        }
    }

    pub(in crate::net) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Calls `act` with the locked session, and then updates what others see of it.
    fn with_session<T>(&self, act: impl FnOnce(&mut Session) -> T) -> T {
        let mut session = ignore_poison(self.session.lock());
        let result = act(&mut session);
        self.unsent.store(session.unsent(), Ordering::Release);
        self.has_more.store(session.has_more(), Ordering::Release);
        let held = session.held_bytes();
        let charged = self.charged.swap(held, Ordering::Relaxed);
        if charged != held {
            self.memory_budget.change_memory(charged, held);
        }
        if self.is_handshaking() && !session.is_handshaking() {
            if let Some(variables) = session.variables() {
                self.variables.get_or_init(|| variables);
            }
            self.is_handshaking.store(false, Ordering::Release);
        }
        result
    }

    /// See [`Session::read`]. Fails without memory for another handshake.
    pub(in crate::net) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.with_session(|session| session.read(&self.socket, buffer));
        if self.is_handshaking() && self.memory_budget.is_over_hard_limit() {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "--limit-memory is reached"));
        }
        read
    }

    /// Appends what [`Session::read`] returns to the spare capacity of `buffer`, but no more than
    /// [`CIPHERTEXT_BUFFER`] bytes.
    pub(in crate::net) fn append_to(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        PLAINTEXT.with_borrow_mut(|plaintext| {
            let limit = plaintext.len().min(buffer.capacity() - buffer.len());
            let count = self.read(&mut plaintext[..limit])?;
            buffer.extend_from_slice(&plaintext[..count]);
            if count == limit {
                self.has_more.store(true, Ordering::Release);
            }
            Ok(count)
        })
    }

    /// See [`Session::send`].
    pub(in crate::net) fn send(&self, slices: &[IoSlice<'_>], then: Then) -> io::Result<usize> {
        self.with_session(|session| session.send(&self.socket, slices, then))
    }

    /// Reads a block of a file, and sends it. On other systems the output queue reads files.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(in crate::net) fn send_file(
        &self,
        file: &File,
        offset: &mut u64,
        count: usize,
    ) -> io::Result<usize> {
        if !self.flush()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        PLAINTEXT.with_borrow_mut(|block| {
            let read = file.read_at(&mut block[..count.min(FILE_BLOCK)], *offset)?;
            if read == 0 {
                return Ok(0);
            }
            let then = if read < count { Then::More } else { Then::Open };
            let sent = self.send(&[IoSlice::new(&block[..read])], then)?;
            *offset += sent as u64;
            Ok(sent)
        })
    }

    /// Sends encrypted bytes; true if none are left.
    pub(in crate::net) fn flush(&self) -> io::Result<bool> {
        if !self.has_unsent() {
            return Ok(true);
        }
        self.with_session(|session| session.flush(&self.socket, Then::Open))
    }

    /// Bytes that the socket took since the last call.
    pub(in crate::net) fn take_sent(&self) -> u64 {
        ignore_poison(self.session.lock()).take_sent()
    }

    /// Announces the end to the client, if all was sent.
    pub(in crate::net) fn close(&self) {
        self.with_session(|session| session.close(&self.socket));
    }

    /// See [`Session::end_sending`].
    pub(in crate::net) fn end_sending(&self) {
        self.with_session(|session| session.end_sending(&self.socket));
    }

    /// Lets the session end without [`TlsStream::close`].
    pub(in crate::net) fn omit_close(&self) {
        ignore_poison(self.session.lock()).omit_close();
    }

    /// True while encrypted bytes wait for the socket.
    pub(in crate::net) fn has_unsent(&self) -> bool {
        self.unsent_bytes() > 0
    }

    /// How many they are.
    pub(in crate::net) fn unsent_bytes(&self) -> usize {
        self.unsent.load(Ordering::Acquire)
    }

    /// True if a read may return something although no event will come.
    pub(in crate::net) fn has_more(&self) -> bool {
        self.has_more.load(Ordering::Acquire)
    }

    /// True once the client has sent anything.
    pub(in crate::net) fn has_received(&self) -> bool {
        !ignore_poison(self.session.lock()).is_new()
    }

    pub(in crate::net) fn is_handshaking(&self) -> bool {
        self.is_handshaking.load(Ordering::Acquire)
    }

    /// True if the client has chosen HTTP/2, once the handshake is complete.
    pub(in crate::net) fn has_chosen_http2(&self) -> bool {
        ignore_poison(self.session.lock()).alpn_protocol() == Some(HTTP2)
    }

    /// What the application sees of the session, once the handshake is complete.
    pub(in crate::net) fn variables(&self) -> Option<&Arc<[Variable]>> {
        self.variables.get()
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        self.memory_budget.change_memory(*self.charged.get_mut(), 0);
    }
}
