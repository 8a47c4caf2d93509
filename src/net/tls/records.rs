//! A session of rustls without a socket: turns records into content, and content into records.
//!
//! The unbuffered API of rustls leaves all buffers to its caller. So a session holds none while it
//! is idle: incomplete input is kept here, and everything else in buffers of the thread.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, Error, ServerConfig};

use super::certificates::{take_lack_of_http2, take_server_name};
use super::variables::{Variable, variables};
use crate::net::tuning::{MAX_INCOMPLETE, MAX_SLICES, MAX_UNSENT};

/// The content of a full record. [RFC 8446 section 5.1]
pub(super) const RECORD: usize = 16 * 1024;
/// Space for an alert, encrypted or not.
const ALERT: usize = 128;
/// The record of the fatal alert no_application_protocol. [RFC 7301 section 3.2]
const NO_APPLICATION_PROTOCOL: [u8; 7] = [21, 3, 3, 0, 2, 2, 120];

/// The state of one session.
pub(super) struct Records {
    connection: Box<UnbufferedServerConnection>,
    /// Received bytes of a record, or of a handshake message, that is not complete.
    incomplete: Vec<u8>,
    /// The name that the client asked for, until [`Records::variables`].
    server_name: Option<String>,
}

/// Whether rustls is to be called again.
enum Step {
    Again,
    /// It needs more input.
    Rest,
}

/// What received records have led to.
#[derive(Debug)]
pub(super) struct Processed {
    /// The client has announced the end of the session.
    pub(super) is_ended: bool,
    /// Whether the session can go on.
    pub(super) result: Result<(), Error>,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("incomplete", &self.incomplete.len())
            .finish_non_exhaustive()
    }
}

impl Records {
    /// # Errors
    /// As rustls: without random bytes.
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Records, Error> {
        let connection = Box::new(UnbufferedServerConnection::new(config)?);
        Ok(Records { connection, incomplete: Vec::new(), server_name: None })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// The input that is to be processed again, in front of the next bytes from the socket.
    pub(super) fn incomplete(&self) -> &[u8] {
        &self.incomplete
    }

    /// The memory of incomplete input, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.incomplete.capacity()
    }

    /// What the application sees of the session, once the handshake is complete.
    pub(super) fn variables(&mut self) -> Arc<[Variable]> {
        let name = self.server_name.take();
        variables(self.state(), name)
    }

    /// The name of the protocol that was chosen in the handshake.
    pub(super) fn alpn_protocol(&self) -> Option<&[u8]> {
        self.state().alpn_protocol()
    }

    fn state(&self) -> &CommonState {
        &self.connection
    }

    /// Decrypts `input` in place: [`Records::incomplete`], and the bytes that have arrived since.
    /// Passes content on, and appends to `answer` what is to be sent, also after an error.
    pub(super) fn process(
        &mut self,
        input: &mut [u8],
        mut content: impl FnMut(&[u8]),
        answer: &mut Vec<u8>,
    ) -> Processed {
        let mut is_ended = false;
        let mut consumed = 0;
        let unsent = answer.len();
        let mut failure = None;
        let result = loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.connection.process_tls_records(&mut input[consumed..]);
            let step = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => {
                            content(record.payload);
                            discard += record.discard;
                        }
                        Some(Err(error)) => break Err(error),
                        None => break Ok(Step::Again),
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(answer, |space| data.encode(space));
                    Ok(Step::Again)
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(Step::Again)
                }
                Ok(ConnectionState::PeerClosed) => {
                    is_ended = true;
                    Ok(Step::Again)
                }
                // Early data is not accepted.
                Ok(_) => Ok(Step::Rest),
                Err(error) => Err(error),
            };
            consumed += discard;
            // The alert is taken before the error is returned, but no record is processed again.
            match step {
                Err(error) => failure = Some(error),
                Ok(Step::Rest) if failure.is_none() => break Ok(()),
                Ok(_) => {}
            }
            if !self.connection.wants_write()
                && let Some(error) = failure.take()
            {
                break Err(error);
            }
        };
        if let Some(name) = take_server_name() {
            self.server_name = Some(name);
        }
        if take_lack_of_http2() {
            // The alert of rustls is access_denied, as the server has no certificate for the
            // client. No alert is encrypted so early.
            answer.truncate(unsent);
            answer.extend_from_slice(&NO_APPLICATION_PROTOCOL);
            return Processed { is_ended, result: Err(Error::NoApplicationProtocol) };
        }
        let result = result.and_then(|()| self.keep(&input[consumed..], is_ended));
        Processed { is_ended, result }
    }

    /// Keeps the input that is not complete. After the end of the session all of it is discarded.
    /// [RFC 8446 section 6.1]
    fn keep(&mut self, rest: &[u8], is_ended: bool) -> Result<(), Error> {
        if rest.is_empty() || is_ended {
            self.incomplete = Vec::new();
        } else if rest.len() > MAX_INCOMPLETE {
            return Err(Error::General("the handshake message is too large".to_owned()));
        } else {
            self.incomplete.clear();
            self.incomplete.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Encrypts from `slices` into `out`, no more than [`MAX_UNSENT`] bytes. Returns how many
    /// bytes were encrypted, and how many `out` got. `gathered` is space for one record.
    ///
    /// # Errors
    /// The session has ended.
    pub(super) fn encrypt(
        &mut self,
        slices: &[IoSlice<'_>],
        gathered: &mut Vec<u8>,
        out: &mut [u8],
    ) -> io::Result<(usize, usize)> {
        let status = self.connection.process_tls_records(&mut self.incomplete);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut copies = [IoSlice::new(&[]); MAX_SLICES];
        let count = slices.len().min(MAX_SLICES);
        copies[..count].copy_from_slice(&slices[..count]);
        let mut left = &mut copies[..count];
        let (mut taken, mut written) = (0, 0);
        while let [first, others @ ..] = &*left
            && taken < MAX_UNSENT
        {
            let space = MAX_UNSENT - taken;
            let piece = if others.is_empty() {
                &first[..first.len().min(space)]
            } else if first.len() >= RECORD {
                // The rest shares a record with the next slice.
                &first[..(first.len() / RECORD * RECORD).min(space)]
            } else {
                gather(gathered, left, space.min(RECORD));
                gathered.as_slice()
            };
            written += traffic.encrypt(piece, &mut out[written..]).map_err(to_io_error)?;
            taken += piece.len();
            let count = piece.len();
            IoSlice::advance_slices(&mut left, count);
        }
        Ok((taken, written))
    }

    /// Appends the announcement of the session's end to `out`.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        let status = self.connection.process_tls_records(&mut self.incomplete);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state {
            let begin = out.len();
            out.resize(begin + ALERT, 0);
            // It fails if the keys are exhausted: then the session ends without.
            let written = traffic.queue_close_notify(&mut out[begin..]).unwrap_or(0);
            out.truncate(begin + written);
        }
    }
}

/// Appends what `encode` writes, which first says how much space it needs.
fn append(out: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let begin = out.len();
    if let Err(EncodeError::InsufficientSize(needed)) = encode(&mut []) {
        out.resize(begin + needed.required_size, 0);
        let written = encode(&mut out[begin..]).unwrap_or(0);
        out.truncate(begin + written);
    }
}

/// Replaces the content of `gathered` by the first bytes of `slices`, `limit` of them at most.
fn gather(gathered: &mut Vec<u8>, slices: &[IoSlice<'_>], limit: usize) {
    gathered.clear();
    for slice in slices {
        let space = limit - gathered.len();
        gathered.extend_from_slice(&slice[..slice.len().min(space)]);
    }
}

fn to_io_error(error: EncryptError) -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, error)
}

#[cfg(test)]
mod tests;
