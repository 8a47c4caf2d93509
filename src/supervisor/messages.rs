//! The messages between the master and each worker, over a socket pair.
//!
//! A message is one byte; some carry an open file beside it (`SCM_RIGHTS`, unix(7)).
//! Both ends belong to the same build, so there is no version and no negotiation.
//!
//! Decoding is strict, because a worker runs the application, which can write to any of its
//! descriptors: an unknown byte is not a message. Whether the receiver expects a message in its
//! present state is decided elsewhere: in the master by `pool::WorkerStatus::judge`, in the
//! worker by its dispatcher.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::sys::sigpipe;

/// How many messages the master reads from one worker before it turns to the others.
const MAX_MESSAGES_PER_READ: usize = 16;

/// What a worker reports to the master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FromWorker {
    /// It accepts connections. With `serves_error_page` the application failed to load, and each
    /// response only shows why (`--reload`).
    Ready { serves_error_page: bool },
    /// It has reached a recycling limit, or has a request that cannot be interrupted.
    ReplacementWanted,
    /// A source file has changed (`--reload`).
    SourceChanged,
    /// It cannot boot, probably because another process holds a resource that it needs. It exits
    /// next.
    BootConflict,
}

/// What the master sends to a worker. `F` is an open file: owned by the receiver, borrowed by the
/// sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ToWorker<F = File> {
    /// Retire, because the replacement is ready: finish the running requests, then exit.
    Retire,
    /// Stop, without waiting for running requests if it is `quick`.
    Stop { quick: bool },
    /// End, because the replacement starts afterwards: finish the running requests, close idle
    /// connections, leave the accept queue to the replacement, then exit.
    Yield,
    /// Whether other workers serve beside it (`wsgi.multiprocess`).
    Multiprocess(bool),
    /// Write this log to this file from now on.
    LogFile(Log, F),
    /// Use the certificates and ticket keys in this file for new connections.
    Certificates(F),
}

/// One of the two logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Log {
    Error,
    Access,
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Log::Error => "error log",
            Log::Access => "access log",
        })
    }
}

/// Bytes that are not a message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("unknown message {0:#04x}")]
    Unknown(u8),
    #[error("message {0:#04x} with a file, which it does not take")]
    UnexpectedFile(u8),
    /// The kernel drops a file for which the receiver has no free descriptor.
    #[error("message without the file of the {0}")]
    MissingFile(Log),
    #[error("message without the certificates")]
    MissingCertificates,
}

const READY: u8 = b'+';
const READY_WITH_ERROR_PAGE: u8 = b'?';
const REPLACEMENT_WANTED: u8 = b'!';
const SOURCE_CHANGED: u8 = b'~';
const BOOT_CONFLICT: u8 = b'=';
const RETIRE: u8 = b'-';
const STOP: u8 = b's';
const STOP_QUICKLY: u8 = b'q';
const YIELD: u8 = b'/';
const MULTIPROCESS: u8 = b'2';
const SINGLE_PROCESS: u8 = b'1';
const ERROR_LOG: u8 = b'e';
const ACCESS_LOG: u8 = b'a';
const CERTIFICATES: u8 = b't';

impl FromWorker {
    fn encode(self) -> u8 {
        match self {
            FromWorker::Ready { serves_error_page: false } => READY,
            FromWorker::Ready { serves_error_page: true } => READY_WITH_ERROR_PAGE,
            FromWorker::ReplacementWanted => REPLACEMENT_WANTED,
            FromWorker::SourceChanged => SOURCE_CHANGED,
            FromWorker::BootConflict => BOOT_CONFLICT,
        }
    }

    fn decode(byte: u8) -> Result<FromWorker, Malformed> {
        match byte {
            READY => Ok(FromWorker::Ready { serves_error_page: false }),
            READY_WITH_ERROR_PAGE => Ok(FromWorker::Ready { serves_error_page: true }),
            REPLACEMENT_WANTED => Ok(FromWorker::ReplacementWanted),
            SOURCE_CHANGED => Ok(FromWorker::SourceChanged),
            BOOT_CONFLICT => Ok(FromWorker::BootConflict),
            _ => Err(Malformed::Unknown(byte)),
        }
    }

    /// Sends it to the master.
    ///
    /// # Errors
    /// As write(2); `BrokenPipe` if the master has exited.
    pub(super) fn send(self, to: &UnixStream) -> io::Result<()> {
        send_byte(to, self.encode())
    }

    /// Takes what a worker has sent, a bounded number of messages at a time.
    ///
    /// # Errors
    /// As read(2); `WouldBlock` if there is no message.
    pub(super) fn receive(
        mut from: &UnixStream,
    ) -> io::Result<Received<Vec<Result<FromWorker, Malformed>>>> {
        let mut bytes = [0; MAX_MESSAGES_PER_READ];
        Ok(match from.read(&mut bytes)? {
            0 => Received::Closed,
            count => {
                Received::Data(bytes[..count].iter().map(|&byte| Self::decode(byte)).collect())
            }
        })
    }
}

impl ToWorker<&File> {
    /// Sends it to a worker.
    ///
    /// # Errors
    /// As sendmsg(2): `BrokenPipe` if the worker has exited, `WouldBlock` if it has read nothing
    /// for long.
    pub(super) fn send(self, to: &UnixStream) -> io::Result<()> {
        match self {
            ToWorker::Retire => send_byte(to, RETIRE),
            ToWorker::Stop { quick: false } => send_byte(to, STOP),
            ToWorker::Stop { quick: true } => send_byte(to, STOP_QUICKLY),
            ToWorker::Yield => send_byte(to, YIELD),
            ToWorker::Multiprocess(true) => send_byte(to, MULTIPROCESS),
            ToWorker::Multiprocess(false) => send_byte(to, SINGLE_PROCESS),
            ToWorker::LogFile(Log::Error, file) => send_file(to, ERROR_LOG, file),
            ToWorker::LogFile(Log::Access, file) => send_file(to, ACCESS_LOG, file),
            ToWorker::Certificates(file) => send_file(to, CERTIFICATES, file),
        }
    }
}

impl ToWorker {
    fn decode(byte: u8, file: Option<File>) -> Result<ToWorker, Malformed> {
        match (byte, file) {
            (RETIRE, None) => Ok(ToWorker::Retire),
            (STOP, None) => Ok(ToWorker::Stop { quick: false }),
            (STOP_QUICKLY, None) => Ok(ToWorker::Stop { quick: true }),
            (YIELD, None) => Ok(ToWorker::Yield),
            (MULTIPROCESS, None) => Ok(ToWorker::Multiprocess(true)),
            (SINGLE_PROCESS, None) => Ok(ToWorker::Multiprocess(false)),
            (ERROR_LOG, Some(file)) => Ok(ToWorker::LogFile(Log::Error, file)),
            (ACCESS_LOG, Some(file)) => Ok(ToWorker::LogFile(Log::Access, file)),
            (CERTIFICATES, Some(file)) => Ok(ToWorker::Certificates(file)),
            (CERTIFICATES, None) => Err(Malformed::MissingCertificates),
            (ERROR_LOG, None) => Err(Malformed::MissingFile(Log::Error)),
            (ACCESS_LOG, None) => Err(Malformed::MissingFile(Log::Access)),
            (RETIRE | YIELD | STOP | STOP_QUICKLY | MULTIPROCESS | SINGLE_PROCESS, Some(_)) => {
                Err(Malformed::UnexpectedFile(byte))
            }
            _ => Err(Malformed::Unknown(byte)),
        }
    }

    /// Takes the next message from the master.
    ///
    /// # Errors
    /// As recvmsg(2); `WouldBlock` if there is no message.
    pub(super) fn receive(from: &UnixStream) -> io::Result<Received<Result<ToWorker, Malformed>>> {
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        // One byte at a time, so that a file belongs to the byte it came with.
        let got = recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, RECEIVE)?;
        let mut file = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                file = fds.last().map(File::from);
            }
        }
        #[cfg(not(target_os = "linux"))]
        if let Some(file) = &file {
            rustix::io::fcntl_setfd(file, rustix::io::FdFlags::CLOEXEC)?;
        }
        Ok(match got.bytes {
            0 => Received::Closed,
            _ => Received::Data(Self::decode(byte[0], file)),
        })
    }
}

/// The result of reading from the channel.
#[derive(Debug)]
pub(super) enum Received<T> {
    Data(T),
    /// The other end has exited.
    Closed,
}

fn send_byte(mut to: &UnixStream, byte: u8) -> io::Result<()> {
    sigpipe::suppressed(|| to.write_all(&[byte]))
}

fn send_file(to: &UnixStream, byte: u8, file: &File) -> io::Result<()> {
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    sendmsg(to, &[IoSlice::new(&[byte])], &mut control, SEND)?;
    Ok(())
}

#[cfg(target_os = "linux")]
const SEND: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_os = "linux")]
const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const SEND: SendFlags = SendFlags::empty();
#[cfg(not(target_os = "linux"))]
const RECEIVE: RecvFlags = RecvFlags::empty();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fork_free::ForkFree;

    fn pair() -> (UnixStream, UnixStream) {
        let (master, worker) = UnixStream::pair().unwrap();
        master.set_nonblocking(true).unwrap();
        worker.set_nonblocking(true).unwrap();
        (master, worker)
    }

    fn next(from: &UnixStream) -> Result<ToWorker, Malformed> {
        match ToWorker::receive(from).unwrap() {
            Received::Data(message) => message,
            Received::Closed => panic!("closed"),
        }
    }

    #[test]
    fn worker_messages_arrive_in_order() {
        let _fork_free = ForkFree::new();
        let (master, worker) = pair();
        let sent = [
            FromWorker::Ready { serves_error_page: false },
            FromWorker::Ready { serves_error_page: true },
            FromWorker::ReplacementWanted,
            FromWorker::SourceChanged,
            FromWorker::BootConflict,
        ];
        for message in sent {
            message.send(&worker).unwrap();
        }
        let Received::Data(received) = FromWorker::receive(&master).unwrap() else {
            panic!("closed")
        };
        assert_eq!(received, sent.map(Ok));
        assert_eq!(FromWorker::receive(&master).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(worker);
        assert!(matches!(FromWorker::receive(&master).unwrap(), Received::Closed));
    }

    #[test]
    fn every_other_byte_from_a_worker_is_malformed() {
        let known =
            [READY, READY_WITH_ERROR_PAGE, REPLACEMENT_WANTED, SOURCE_CHANGED, BOOT_CONFLICT];
        for byte in 0..=u8::MAX {
            match FromWorker::decode(byte) {
                Ok(message) => assert_eq!(message.encode(), byte),
                Err(error) => {
                    assert!(!known.contains(&byte));
                    assert_eq!(error, Malformed::Unknown(byte));
                }
            }
        }
    }

    #[test]
    fn flood_from_a_worker_is_read_in_bounded_portions() {
        let (master, mut worker) = pair();
        worker.write_all(&[0xff; 3 * MAX_MESSAGES_PER_READ]).unwrap();
        let Received::Data(received) = FromWorker::receive(&master).unwrap() else {
            panic!("closed")
        };
        assert_eq!(received.len(), MAX_MESSAGES_PER_READ);
        assert!(received.iter().all(|message| *message == Err(Malformed::Unknown(0xff))));
    }

    #[test]
    fn log_files_arrive_with_their_message() {
        let _fork_free = ForkFree::new();
        let (master, worker) = pair();
        let dir = tempfile::tempdir().unwrap();
        let logs = [(Log::Error, "error"), (Log::Access, "access")];
        for (log, name) in logs {
            let file = File::create(dir.path().join(name)).unwrap();
            ToWorker::Multiprocess(true).send(&master).unwrap();
            ToWorker::LogFile(log, &file).send(&master).unwrap();
        }
        for (log, name) in logs {
            assert!(matches!(next(&worker), Ok(ToWorker::Multiprocess(true))));
            let Ok(ToWorker::LogFile(received, mut file)) = next(&worker) else {
                panic!("no file")
            };
            assert_eq!(received, log);
            file.write_all(name.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(dir.path().join(name)).unwrap(), name);
        }
        assert_eq!(ToWorker::receive(&worker).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(master);
        assert!(matches!(ToWorker::receive(&worker).unwrap(), Received::Closed));
    }

    #[test]
    fn master_messages_with_the_wrong_file_are_malformed() {
        let (mut master, worker) = pair();
        let file = tempfile::tempfile().unwrap();
        master.write_all(&[ERROR_LOG, ACCESS_LOG, b'x']).unwrap();
        send_file(&master, RETIRE, &file).unwrap();
        let malformed = || next(&worker).unwrap_err();
        assert_eq!(malformed(), Malformed::MissingFile(Log::Error));
        assert_eq!(malformed(), Malformed::MissingFile(Log::Access));
        assert_eq!(malformed(), Malformed::Unknown(b'x'));
        assert_eq!(malformed(), Malformed::UnexpectedFile(RETIRE));
        ToWorker::Retire.send(&master).unwrap();
        assert!(matches!(next(&worker), Ok(ToWorker::Retire)));
    }
}
