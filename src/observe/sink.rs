//! Where a log is written: a file, standard output or standard error.
//!
//! Writing must not block. Standard output is often a pipe to a log collector, and a write to a
//! full pipe blocks until the collector reads: a server that logs with plain writes hangs when its
//! collector does. The stream cannot be made non-blocking, because that flag belongs to the open
//! file description, which the parent shell shares. So a stream is polled first, and a write has at
//! most `PIPE_BUF` bytes, which POSIX guarantees a writable pipe accepts without blocking.
//! Another process may fill the pipe between the two calls: Linux also takes a flag with a single
//! write, and then returns an error instead of blocking. A regular file is always writable, and
//! gets its bytes in one write.
//!
//! Opening does not block either: a named pipe without a reader is opened for reading as well, and
//! holds the first lines until a reader opens it.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FileType;

use crate::sys::{sigpipe, streams};

/// The largest write(2) to a stream.
const MAX_STREAM_WRITE_BYTES: usize = libc::PIPE_BUF;

/// The destination of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, which is created if missing and appended to.
    File(PathBuf),
    /// Lines are discarded: requests are logged elsewhere.
    Nowhere,
}

impl LogTarget {
    /// Parses an option's value: `-` means `dash` (in gunicorn standard output for the access log,
    /// and standard error for the error log), any other value is a path.
    pub fn from_option(value: &str, dash: LogTarget) -> LogTarget {
        match value {
            "-" => dash,
            path => LogTarget::File(PathBuf::from(path)),
        }
    }
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogTarget::Stdout => f.write_str("standard output"),
            LogTarget::Stderr => f.write_str("standard error"),
            LogTarget::File(path) => path.display().fmt(f),
            LogTarget::Nowhere => f.write_str("nowhere"),
        }
    }
}

/// Opens a log file for appending, and creates it if it is missing. Follows symbolic links: the
/// caller decides with which user's rights.
///
/// # Errors
/// Those of open(2). Never blocks on a named pipe without a reader.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.append(true).create(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    match options.open(path) {
        // A named pipe without a reader. POSIX leaves opening it for both undefined; all systems
        // allow it.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => options.read(true).open(path),
        opened => opened,
    }
}

/// An open [`LogTarget`].
#[derive(Debug)]
pub struct Sink {
    /// The destination.
    output: Output,
    /// Whether a write can block: it can on pipes, sockets and terminals.
    is_stream: bool,
}

/// An inherited stream is kept as a number, so that the log follows a later dup2(2) onto it, by a
/// daemon or a test runner that captures output.
#[derive(Debug)]
enum Output {
    /// Descriptor 1 or 2.
    Inherited(BorrowedFd<'static>),
    /// A file that the server opened.
    File(File),
    /// The stream was closed when the process started, so its number may be a client's socket by
    /// now; or the file could not be opened.
    Nowhere,
}

/// Advice for an error message about a log file that cannot be opened.
pub fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            "make its directory, or name another file"
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not write there: grant the permission, or name another file"
        }
        _ => "name another file",
    }
}

impl Sink {
    /// Opens the target.
    ///
    /// # Errors
    /// Those of open(2) for a file. A closed standard stream is not an error; its bytes are
    /// discarded.
    pub fn open(target: &LogTarget) -> io::Result<Sink> {
        Ok(match target {
            LogTarget::Stdout => Sink::new(Output::inherited(streams::stdout())),
            LogTarget::Stderr => Sink::stderr(),
            LogTarget::File(path) => Sink::from(open(path)?),
            LogTarget::Nowhere => Sink::nowhere(),
        })
    }

    /// Standard error, for messages before the log is configured.
    pub fn stderr() -> Sink {
        Sink::new(Output::inherited(streams::stderr()))
    }

    /// Discards all bytes.
    pub fn nowhere() -> Sink {
        Sink::new(Output::Nowhere)
    }

    fn new(output: Output) -> Sink {
        let is_stream = output.fd().is_some_and(is_stream);
        Sink { output, is_stream }
    }

    /// Whether this is a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.output.fd().is_some_and(|fd| fd.is_terminal())
    }

    /// Whether this is a stream that the process was started with.
    pub(super) fn is_inherited(&self) -> bool {
        matches!(self.output, Output::Inherited(_))
    }

    /// Writes complete lines, and returns how many bytes were written. They are fewer than given if
    /// a stream is full, or if a later write failed (the next call returns why).
    ///
    /// # Errors
    /// Those of the first write(2), except `EINTR` (retried) and `EAGAIN` (the stream is full).
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(fd) = self.output.fd() else {
            return Ok(bytes.len());
        };
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            let piece = if self.is_stream {
                if !wait_writable(fd, Duration::ZERO) {
                    return Ok(done);
                }
                first_lines(rest)
            } else {
                rest
            };
            let written = sigpipe::suppressed(|| match self.is_stream {
                true => Ok(write_to_stream(fd, piece)?),
                false => Ok(rustix::io::write(fd, piece)?),
            });
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(done),
                    _ if done > 0 => return Ok(done),
                    _ => return Err(error),
                },
            }
        }
        Ok(done)
    }
}

impl Sink {
    /// Waits until a write does not block, for `timeout` at most.
    pub(super) fn wait_writable(&self, timeout: Duration) {
        if let Some(fd) = self.output.fd() {
            wait_writable(fd, timeout);
        }
    }
}

impl From<File> for Sink {
    /// The file must come from [`open`].
    fn from(file: File) -> Sink {
        Sink::new(Output::File(file))
    }
}

impl Output {
    fn inherited(stream: Option<BorrowedFd<'static>>) -> Output {
        stream.map_or(Output::Nowhere, Output::Inherited)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Output::Inherited(fd) => Some(*fd),
            Output::File(file) => Some(file.as_fd()),
            Output::Nowhere => None,
        }
    }
}

/// As many complete lines as fit into one write, so that the lines of processes that share a pipe
/// do not mix; at least one line.
fn first_lines(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= MAX_STREAM_WRITE_BYTES {
        return bytes;
    }
    let end = memchr::memrchr(b'\n', &bytes[..MAX_STREAM_WRITE_BYTES])
        .or_else(|| memchr::memchr(b'\n', bytes));
    end.map_or(bytes, |end| &bytes[..=end])
}

/// Whether a descriptor is anything but a regular file.
fn is_stream(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd)
        .map_or(true, |stat| FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile)
}

/// Writes to a stream that was just writable, without blocking. Linux writes a line of any length
/// while the pipe has room, so that it stays whole; elsewhere a long line is split.
fn write_to_stream(fd: BorrowedFd<'_>, bytes: &[u8]) -> rustix::io::Result<usize> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::{Errno, ReadWriteFlags};
        /// The offset that means the current one.
        const CURRENT: u64 = u64::MAX;
        let slices = [io::IoSlice::new(bytes)];
        match rustix::io::pwritev2(fd, &slices, CURRENT, ReadWriteFlags::NOWAIT) {
            // An old kernel, or a kind of file that does not have it, such as a terminal.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE | Errno::PERM) => {}
            written => return written,
        }
    }
    rustix::io::write(fd, &bytes[..bytes.len().min(MAX_STREAM_WRITE_BYTES)])
}

/// Waits until a write does not block. Also returns true on an error or a hang-up: the write then
/// returns the error.
fn wait_writable(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    let timeout = Timespec::try_from(timeout).ok();
    rustix::event::poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fork_free::ForkFree;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    fn pipe() -> (Sink, std::io::PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        (Sink::from(File::from(OwnedFd::from(writer))), reader)
    }

    #[test]
    fn existing_file_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let target = LogTarget::File(dir.path().join("log"));
        for line in ["one\n", "two\n"] {
            let sink = Sink::open(&target).unwrap();
            assert!(!sink.is_stream);
            assert_eq!(sink.write(line.as_bytes()).unwrap(), 4);
        }
        let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn file_in_missing_directory_is_an_error() {
        let target = LogTarget::File(PathBuf::from("/nonexistent-dir/log"));
        assert_eq!(Sink::open(&target).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn named_pipe_without_reader_keeps_the_first_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let sink = Sink::open(&LogTarget::File(path.clone())).unwrap();
        assert_eq!(sink.write(b"kept\n").unwrap(), 5);
        let mut read = [0; 5];
        File::open(&path).unwrap().read_exact(&mut read).unwrap();
        assert_eq!(&read, b"kept\n");
    }

    #[test]
    fn full_pipe_does_not_block_and_keeps_lines_whole() {
        let (sink, mut reader) = pipe();
        assert!(sink.is_stream);
        let lines = "a line of twenty-one\n".repeat(20_000).into_bytes();
        let taken = sink.write(&lines).unwrap();
        assert!(taken > 0 && taken < lines.len());
        assert_eq!(taken % 21, 0);
        assert_eq!(sink.write(&lines).unwrap(), 0);

        let mut read = vec![0; taken];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, lines[..taken]);
        assert_eq!(sink.write(b"again\n").unwrap(), 6);
    }

    #[test]
    fn line_longer_than_a_write_is_split_and_written_whole() {
        let (sink, mut reader) = pipe();
        let mut line = vec![b'x'; MAX_STREAM_WRITE_BYTES + 10];
        line.push(b'\n');
        assert_eq!(sink.write(&line).unwrap(), line.len());
        let mut read = vec![0; line.len()];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, line);
    }

    #[test]
    fn broken_pipe_is_an_error() {
        let _fork_free = ForkFree::new();
        let (sink, reader) = pipe();
        drop(reader);
        let error = sink.write(b"x\n").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn closed_stream_discards_everything() {
        // A number that is not open, as standard error is after `2>&-`.
        let output = Output::inherited(None);
        assert!(matches!(output, Output::Nowhere));
        assert_eq!(Sink::new(output).write(b"lost\n").unwrap(), 5);
    }

    #[test]
    fn option_value_dash_or_path_gives_the_target() {
        let dash = LogTarget::from_option("-", LogTarget::Stdout);
        assert_eq!(dash, LogTarget::Stdout);
        let file = LogTarget::from_option("a.log", LogTarget::Stdout);
        assert_eq!(file, LogTarget::File(PathBuf::from("a.log")));
        assert_eq!(file.to_string(), "a.log");
    }
}
