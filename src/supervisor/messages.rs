//! The socket between the master and each worker: single bytes, and files that are passed along with one.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::sys::sigpipe;

/// A worker says so when it serves.
pub(super) const READY: u8 = b'+';
/// A worker says so, ahead of [`READY`], when what it serves is only why the application does not load.
pub(super) const BROKEN: u8 = b'?';
/// A worker says so when it wants to be replaced.
pub(super) const WORN: u8 = b'!';
/// A worker says so when a source file has changed.
pub(super) const CHANGED: u8 = b'~';
/// The master says so to a worker that has been replaced.
pub(super) const RETIRE: u8 = b'-';
/// The master says so when others serve beside the worker.
pub(super) const SIBLINGS: u8 = b'2';
/// The master says so when the worker is the only one.
pub(super) const ALONE: u8 = b'1';
/// From now on the error log is the file that comes along.
pub(super) const ERROR_LOG: u8 = b'e';
/// The same of the access log.
pub(super) const ACCESS_LOG: u8 = b'a';

/// Something that was said.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) byte: u8,
    /// What came along.
    pub(super) file: Option<File>,
}

/// Says `byte`. The other one may just have died.
///
/// # Errors
/// As the system does.
pub(super) fn say(mut to: &UnixStream, byte: u8) -> io::Result<()> {
    sigpipe::suppressed(|| to.write_all(&[byte]))
}

/// Says `byte`, and passes a file.
///
/// # Errors
/// As the system does; also if the other side has not listened for long.
pub(super) fn pass(to: &UnixStream, byte: u8, file: &File) -> io::Result<()> {
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    sendmsg(to, &[IoSlice::new(&[byte])], &mut control, SEND)?;
    Ok(())
}

/// The next byte, and what came along; `None` if the other side is gone.
///
/// # Errors
/// As the system does; `WouldBlock` if nothing was said.
pub(super) fn hear(from: &UnixStream) -> io::Result<Option<Word>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    // One byte at a time: so a file belongs to the byte that it came with.
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
    Ok((got.bytes > 0).then_some(Word { byte: byte[0], file }))
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
    use std::io::Write;

    #[test]
    fn files_belong_to_their_bytes() {
        let (mut master, worker) = UnixStream::pair().unwrap();
        worker.set_nonblocking(true).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for (byte, name) in [(ERROR_LOG, "error"), (ACCESS_LOG, "access")] {
            let file = File::create(dir.path().join(name)).unwrap();
            master.write_all(&[RETIRE]).unwrap();
            pass(&master, byte, &file).unwrap();
        }
        for (byte, name) in [(ERROR_LOG, "error"), (ACCESS_LOG, "access")] {
            let word = hear(&worker).unwrap().unwrap();
            assert!(word.byte == RETIRE && word.file.is_none(), "{word:?}");
            let word = hear(&worker).unwrap().unwrap();
            assert_eq!(word.byte, byte);
            word.file.unwrap().write_all(name.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(dir.path().join(name)).unwrap(), name);
        }
        assert_eq!(hear(&worker).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(master);
        assert!(hear(&worker).unwrap().is_none());
    }
}
