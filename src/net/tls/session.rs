//! The state machine of one session: records of the socket to bytes, and bytes to records.
//!
//! A read may write: the rest of the handshake, an alert, a new key. What the socket does not
//! accept of that stays in the session, as do records of a write, and [`Session::flush`] sends them
//! later. Bytes that were accepted by [`Session::send`] are encrypted once, so they count as sent,
//! and the caller flushes before it goes on. No more than [`MAX_UNSENT`] bytes wait here.
//!
//! An idle session holds no buffer: each is freed when it is empty.
//!
//! [`MAX_UNSENT`]: crate::net::tuning::MAX_UNSENT

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::sync::Arc;

use rustix::net::{self, RecvFlags};
use socket2::Socket;

use super::records::{Processed, RECORD, Records};
use super::variables::Variable;
use crate::net::sending::{Then, send};
use crate::net::tuning::{CIPHERTEXT_BUFFER, MAX_INCOMPLETE};

/// The error of a read on which the handshake has failed. The session sends no more.
pub(in crate::net) const HANDSHAKE_FAILED: io::ErrorKind = io::ErrorKind::InvalidData;
/// The error of a read that finds plain HTTP in place of a handshake. From then on the session
/// passes bytes on as they are, so that the client can be answered.
pub(in crate::net) const PLAIN_HTTP: io::ErrorKind = io::ErrorKind::Unsupported;

thread_local! {
    /// Records: from the socket, behind those that are incomplete, or on the way to it.
    static CIPHERTEXT: RefCell<Box<[u8]>> =
        RefCell::new(vec![0; MAX_INCOMPLETE + CIPHERTEXT_BUFFER].into());
    /// Parts of a response that share a record.
    static GATHERED: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(RECORD));
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    kind: Kind,
    /// Nothing was received yet.
    is_new: bool,
    /// The client has ended its side: reads return 0.
    is_ended: bool,
    /// The error that the next read returns, as the last one had bytes to return.
    failed: Option<io::Error>,
    /// The end was announced to the client.
    is_closed: bool,
    /// Decrypted bytes that did not fit into the buffer of their reader.
    unread: Vec<u8>,
    /// Encrypted bytes for the socket. The first `unsent_from` of them are sent.
    unsent: Vec<u8>,
    /// How many bytes of `unsent` the socket has accepted.
    unsent_from: usize,
    /// Bytes that the socket took since [`Session::take_sent`].
    sent: u64,
}

#[derive(Debug)]
enum Kind {
    Tls(Records),
    /// The client speaks plain HTTP.
    Plain,
    /// The client has violated the protocol: nothing more is sent, and input is discarded.
    Failed,
}

/// The result of one read from the socket.
enum Progress {
    Some,
    /// As `Some`, and the socket is empty: its next byte causes an event.
    Last,
    Blocked,
    End,
}

impl Session {
    pub(super) fn new(records: Records) -> Session {
        Session {
            kind: Kind::Tls(records),
            is_new: true,
            is_ended: false,
            failed: None,
            is_closed: false,
            unread: Vec::new(),
            unsent: Vec::new(),
            unsent_from: 0,
            sent: 0,
        }
    }

    /// Encrypted bytes that wait for the socket.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len() - self.unsent_from
    }

    /// Bytes that are held for both directions.
    pub(super) fn held_bytes(&self) -> usize {
        let incomplete = match &self.kind {
            Kind::Tls(records) => records.held_bytes(),
            Kind::Plain | Kind::Failed => 0,
        };
        incomplete + self.unread.capacity() + self.unsent.capacity()
    }

    /// True if a read returns something although no event will come.
    pub(super) fn has_more(&self) -> bool {
        self.is_ended || self.failed.is_some() || !self.unread.is_empty()
    }

    /// True until the client has sent anything.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    pub(super) fn is_handshaking(&self) -> bool {
        matches!(&self.kind, Kind::Tls(records) if records.is_handshaking())
    }

    /// What the application sees of the session, once the handshake is complete.
    pub(super) fn variables(&mut self) -> Option<Arc<[Variable]>> {
        match &mut self.kind {
            Kind::Tls(records) if !records.is_handshaking() => Some(records.variables()),
            _ => None,
        }
    }

    /// The name of the protocol that was chosen in the handshake.
    pub(super) fn alpn_protocol(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Tls(records) => records.alpn_protocol(),
            _ => None,
        }
    }

    /// Bytes that the socket took since the last call.
    pub(super) fn take_sent(&mut self) -> u64 {
        std::mem::take(&mut self.sent)
    }

    /// Reads until `buffer` is full or the socket is empty; continues the handshake on the way.
    pub(super) fn read(&mut self, socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
        // First, as what follows a record that is not authentic must never look like content.
        if let Some(failure) = self.failed.take() {
            return Err(failure);
        }
        if self.is_closed || !matches!(self.kind, Kind::Tls(_)) {
            // After the end, input is discarded as it is.
            return receive(socket, buffer);
        }
        let mut filled = self.take_unread(buffer);
        let ended = loop {
            if filled == buffer.len() {
                return Ok(filled);
            }
            if self.is_ended || self.failed.is_some() {
                break Ok(Progress::End);
            }
            match self.receive(socket, &mut buffer[filled..]) {
                Ok((Progress::Some, count)) => filled += count,
                // Spares a read that would find nothing.
                Ok((Progress::Last, count)) if filled + count > 0 => {
                    filled += count;
                    return Ok(filled);
                }
                Ok((Progress::Last, _)) => {}
                Ok((progress, _)) => break Ok(progress),
                Err(error) if filled == 0 => break Err(error),
                Err(error) => self.failed = Some(error),
            }
        };
        match ended {
            _ if filled > 0 => Ok(filled),
            Err(error) => Err(error),
            Ok(Progress::Blocked) => Err(io::ErrorKind::WouldBlock.into()),
            Ok(_) => Ok(0),
        }
    }

    /// Takes bytes that an earlier read has left.
    fn take_unread(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.unread.len());
        buffer[..count].copy_from_slice(&self.unread[..count]);
        if count == self.unread.len() {
            self.unread = Vec::new();
        } else {
            self.unread.drain(..count);
        }
        count
    }

    /// Reads from the socket once, about as much as fits into `buffer` when it is decrypted.
    fn receive(&mut self, socket: &Socket, buffer: &mut [u8]) -> io::Result<(Progress, usize)> {
        CIPHERTEXT.with_borrow_mut(|ciphertext| {
            let Kind::Tls(records) = &mut self.kind else { return Ok((Progress::End, 0)) };
            let held = records.incomplete().len();
            ciphertext[..held].copy_from_slice(records.incomplete());
            let limit = CIPHERTEXT_BUFFER.min(buffer.len());
            let count = loop {
                match receive(socket, &mut ciphertext[held..held + limit]) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Ok((Progress::Blocked, 0));
                    }
                    read => break read?,
                }
            };
            if count == 0 {
                // Without a close_notify the end of the socket is the end as well: HTTP frames its
                // messages itself.
                self.is_ended = true;
                return Ok((Progress::End, 0));
            }
            if std::mem::take(&mut self.is_new) && ciphertext[0].is_ascii_alphabetic() {
                // The first byte of a handshake is 22. [RFC 8446 section 5.1]
                self.kind = Kind::Plain;
                return Err(PLAIN_HTTP.into());
            }
            let mut filled = 0;
            let unread = &mut self.unread;
            let take = |content: &[u8]| {
                let count = content.len().min(buffer.len() - filled);
                buffer[filled..filled + count].copy_from_slice(&content[..count]);
                filled += count;
                unread.extend_from_slice(&content[count..]);
            };
            let input = &mut ciphertext[..held + count];
            let Processed { is_ended, result } = records.process(input, take, &mut self.unsent);
            self.is_ended |= is_ended;
            match result {
                Ok(()) => {
                    let progress = if count < limit { Progress::Last } else { Progress::Some };
                    self.flush(socket, Then::Open).map(|_| (progress, filled))
                }
                Err(error) => {
                    self.fail(socket);
                    Err(io::Error::new(HANDSHAKE_FAILED, error))
                }
            }
        })
    }

    /// Encrypts and sends from `slices`; returns how many bytes were encrypted.
    pub(super) fn send(
        &mut self,
        socket: &Socket,
        slices: &[IoSlice<'_>],
        then: Then,
    ) -> io::Result<usize> {
        match self.kind {
            Kind::Tls(_) => {}
            Kind::Plain => {
                let sent = send(socket, slices, then)?;
                self.sent += sent as u64;
                return Ok(sent);
            }
            Kind::Failed => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        if !self.flush(socket, Then::Open)? || self.is_handshaking() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Kind::Tls(records) = &mut self.kind else { return Ok(0) };
        CIPHERTEXT.with_borrow_mut(|ciphertext| {
            let encrypted =
                GATHERED.with_borrow_mut(|gathered| records.encrypt(slices, gathered, ciphertext));
            let (taken, length) = encrypted?;
            let is_all = taken == slices.iter().map(|slice| slice.len()).sum::<usize>();
            // The rest follows at once, and needs no packet between that wakes the client.
            let then = if is_all { then } else { Then::More };
            let mut sent = 0;
            let result = send_all(socket, &ciphertext[..length], then, &mut sent);
            self.sent += sent as u64;
            self.unsent.extend_from_slice(&ciphertext[sent..length]);
            result.map(|_| taken)
        })
    }

    /// Sends encrypted bytes; true if none are left.
    pub(super) fn flush(&mut self, socket: &Socket, then: Then) -> io::Result<bool> {
        let mut sent = 0;
        let result = send_all(socket, &self.unsent[self.unsent_from..], then, &mut sent);
        self.sent += sent as u64;
        self.unsent_from += sent;
        if self.unsent_from == self.unsent.len() {
            self.unsent = Vec::new();
            self.unsent_from = 0;
        }
        result
    }

    /// Announces the end to the client, unless bytes before it are unsent: then the end is a
    /// truncation, and must look like one. [RFC 8446 section 6.1]
    pub(super) fn close(&mut self, socket: &Socket) {
        if !self.is_closed && self.end_sending(socket) {
            self.is_closed = true;
        }
    }

    /// Announces the end, as [`Session::close`], but goes on decrypting what the client sends.
    /// Returns whether it did.
    pub(super) fn end_sending(&mut self, socket: &Socket) -> bool {
        if let Kind::Tls(records) = &mut self.kind
            && !records.is_handshaking()
            && self.unsent.is_empty()
        {
            // The second time, this writes nothing.
            records.close(&mut self.unsent);
            let _ = self.flush(socket, Then::End);
            return true;
        }
        false
    }

    /// Lets the session end without [`Session::close`]: what the client got is incomplete.
    pub(super) fn omit_close(&mut self) {
        self.is_closed = true;
    }

    /// Sends the alert, as far as the socket takes it, and from now on discards what the client
    /// sends.
    fn fail(&mut self, socket: &Socket) {
        let _ = self.flush(socket, Then::Open);
        self.kind = Kind::Failed;
        self.unread = Vec::new();
        self.unsent = Vec::new();
        self.unsent_from = 0;
    }
}

fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(net::recv(socket, buffer, RecvFlags::empty())?.0)
}

/// Sends until the socket accepts no more; true if it has accepted all. Adds to `sent`.
fn send_all(socket: &Socket, bytes: &[u8], then: Then, sent: &mut usize) -> io::Result<bool> {
    while *sent < bytes.len() {
        match send(socket, &[IoSlice::new(&bytes[*sent..])], then) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => *sent += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
