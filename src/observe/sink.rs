//! Where log bytes go: a file, or one of the two streams the process was started with.
//!
//! The streams are the reason for this file. Standard output is often a pipe to a log collector,
//! and a write to a full pipe blocks until the reader wakes up: a server that logs with plain
//! writes stands still when its collector does. Making the stream non-blocking is no way out, as
//! the flag belongs to the open file description that is shared with the parent shell. So a stream
//! is asked by poll(2) first and given no more than `PIPE_BUF` bytes at once, which POSIX promises
//! a writable pipe takes whole. A regular file is always writable, and gets its bytes in one piece.
//!
//! Opening does not wait either: a named pipe without a reader is opened for reading as well, and keeps
//! the first lines for whoever will read it.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::FileType;

use crate::sys::{sigpipe, streams};

/// The most a stream is given by one write(2), in bytes.
const CHUNK: usize = libc::PIPE_BUF;

/// The destination of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, created if missing and appended to.
    File(PathBuf),
}

impl LogTarget {
    /// Reads an option's value: `-` is `dash` (gunicorn's access log takes it for stdout, its error
    /// log for stderr), anything else is a path.
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
        }
    }
}

/// Opens a log's file for appending, and makes it if there is none. A link leads to where it points: whose
/// rights are asked for that is the caller's business.
///
/// # Errors
/// What open(2) says. It never waits for the reader of a pipe.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.append(true).create(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    match options.open(path) {
        // A named pipe that nobody reads. That it may be opened for both is not in POSIX, but so everywhere.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => options.read(true).open(path),
        opened => opened,
    }
}

/// An open [`LogTarget`].
#[derive(Debug)]
pub struct Sink {
    /// What is written to.
    output: Output,
    /// Whether the output can be full for a while: pipes, sockets and terminals can.
    stream: bool,
}

/// Inherited streams are written to by number, so that a later dup2(2) over them (a daemon, a test
/// runner that captures output) takes the log along.
#[derive(Debug)]
enum Output {
    /// Descriptor 1 or 2.
    Inherited(BorrowedFd<'static>),
    /// A file of our own.
    File(File),
    /// The stream was closed before we started, so its number may now belong to a client's socket; or the
    /// file could not be opened.
    Nowhere,
}

/// What to do about a file that cannot be written.
pub fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            "make its directory, or name another file"
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not write there: change that, or name another file"
        }
        _ => "name another file",
    }
}

impl Sink {
    /// Opens the target.
    ///
    /// # Errors
    /// What open(2) says of a file. A closed standard stream is no error; it swallows all bytes.
    pub fn open(target: &LogTarget) -> io::Result<Sink> {
        Ok(match target {
            LogTarget::Stdout => Sink::new(Output::inherited(streams::stdout())),
            LogTarget::Stderr => Sink::stderr(),
            LogTarget::File(path) => Sink::from(open(path)?),
        })
    }

    /// Standard error, for what is logged before anything was configured.
    pub fn stderr() -> Sink {
        Sink::new(Output::inherited(streams::stderr()))
    }

    /// What swallows all bytes.
    pub fn nowhere() -> Sink {
        Sink::new(Output::Nowhere)
    }

    fn new(output: Output) -> Sink {
        let stream = output.fd().is_some_and(is_stream);
        Sink { output, stream }
    }

    /// Writes whole lines, and returns how many bytes were taken: fewer than given if a stream is
    /// still full after `patience`, or if something went wrong on the way (the next call tells what).
    ///
    /// # Errors
    /// What write(2) says before any byte was taken, save `EINTR` (tried again) and `EAGAIN` (the
    /// stream is full).
    pub(super) fn write(&self, bytes: &[u8], patience: Duration) -> io::Result<usize> {
        let Some(fd) = self.output.fd() else {
            return Ok(bytes.len());
        };
        let mut done = 0;
        while done < bytes.len() {
            let rest = &bytes[done..];
            let piece = if self.stream {
                if !writable(fd, patience) {
                    return Ok(done);
                }
                first_lines(rest)
            } else {
                rest
            };
            match sigpipe::suppressed(|| Ok(rustix::io::write(fd, piece)?)) {
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

impl From<File> for Sink {
    /// The file is one that [`open`] has opened.
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

/// As many whole lines as fit into one chunk, so that lines of several processes that share a pipe
/// do not mix; a line longer than that is cut.
fn first_lines(bytes: &[u8]) -> &[u8] {
    if bytes.len() <= CHUNK {
        return bytes;
    }
    let chunk = &bytes[..CHUNK];
    match memchr::memrchr(b'\n', chunk) {
        Some(end) => &chunk[..=end],
        None => chunk,
    }
}

/// Whether a descriptor is something other than a regular file.
fn is_stream(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd)
        .map_or(true, |stat| FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile)
}

/// Waits for room. An error or a hang-up counts as room: the write then tells what is the matter.
fn writable(fd: BorrowedFd<'_>, patience: Duration) -> bool {
    let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    let patience = Timespec::try_from(patience).ok();
    rustix::event::poll(&mut asked, patience.as_ref()).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    fn pipe() -> (Sink, std::io::PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        (Sink::from(File::from(OwnedFd::from(writer))), reader)
    }

    #[test]
    fn a_file_is_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let target = LogTarget::File(dir.path().join("log"));
        for line in ["one\n", "two\n"] {
            let sink = Sink::open(&target).unwrap();
            assert!(!sink.stream);
            assert_eq!(sink.write(line.as_bytes(), Duration::ZERO).unwrap(), 4);
        }
        let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let target = LogTarget::File(PathBuf::from("/nonexistent-dir/log"));
        assert_eq!(Sink::open(&target).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_named_pipe_that_nobody_reads_yet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let sink = Sink::open(&LogTarget::File(path.clone())).unwrap();
        assert_eq!(sink.write(b"kept\n", Duration::ZERO).unwrap(), 5);
        let mut read = [0; 5];
        File::open(&path).unwrap().read_exact(&mut read).unwrap();
        assert_eq!(&read, b"kept\n");
    }

    #[test]
    fn a_full_pipe_does_not_block_and_keeps_lines_whole() {
        let (sink, mut reader) = pipe();
        assert!(sink.stream);
        let lines = "a line of twenty-one\n".repeat(20_000).into_bytes();
        let taken = sink.write(&lines, Duration::ZERO).unwrap();
        assert!(taken > 0 && taken < lines.len());
        assert_eq!(taken % 21, 0);
        assert_eq!(sink.write(&lines, Duration::from_millis(1)).unwrap(), 0);

        let mut read = vec![0; taken];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, lines[..taken]);
        assert_eq!(sink.write(b"again\n", Duration::ZERO).unwrap(), 6);
    }

    #[test]
    fn a_line_longer_than_a_chunk_is_cut_and_written_whole() {
        let (sink, mut reader) = pipe();
        let mut line = vec![b'x'; CHUNK + 10];
        line.push(b'\n');
        assert_eq!(sink.write(&line, Duration::ZERO).unwrap(), line.len());
        let mut read = vec![0; line.len()];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(read, line);
    }

    #[test]
    fn a_broken_pipe_is_an_error() {
        let (sink, reader) = pipe();
        drop(reader);
        let error = sink.write(b"x\n", Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_closed_stream_swallows_everything() {
        // A number no process has open, as standard error is after `2>&-`.
        let output = Output::inherited(None);
        assert!(matches!(output, Output::Nowhere));
        assert_eq!(Sink::new(output).write(b"lost\n", Duration::ZERO).unwrap(), 5);
    }

    #[test]
    fn options_name_targets() {
        let dash = LogTarget::from_option("-", LogTarget::Stdout);
        assert_eq!(dash, LogTarget::Stdout);
        let file = LogTarget::from_option("a.log", LogTarget::Stdout);
        assert_eq!(file, LogTarget::File(PathBuf::from("a.log")));
        assert_eq!(file.to_string(), "a.log");
    }
}
