//! A running server, as a client sees it: at its control socket, or at its metrics address.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::connection::connect_unix;
use super::http;
use super::protocol::{self, Command};
use super::status::Status;
use crate::config::Bind;

/// The length of an outcome, at most.
const MAX_OUTCOME: usize = 256 * 1024 * 1024;
/// How long the server may take to answer what it can answer at once.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// The path of its control socket.
    Socket(PathBuf),
    /// Its metrics address.
    Metrics(Bind),
}

impl Address {
    /// A control socket, with or without `unix:` in front.
    pub fn socket(path: &OsStr) -> Address {
        let bytes = path.as_bytes();
        let path = OsStr::from_bytes(bytes.strip_prefix(b"unix:").unwrap_or(bytes));
        Address::Socket(path.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Socket(path) => write!(f, "{}", path.display()),
            Address::Metrics(bind) => bind.fmt(f),
        }
    }
}

/// Why a server does not do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no server, or none that this user may control.
    #[error("cannot connect to {0}: {1}")]
    Unreachable(Address, String),
    /// No answer in time.
    #[error("{0} has not answered within {1} s")]
    TimedOut(Address, f64),
    /// The connection has ended without an answer.
    #[error("{0} has closed the connection without an answer: has the server ended?")]
    Closed(Address),
    /// What answers is no server of this kind.
    #[error("{0} does not answer as a server of this version: {1}")]
    Malformed(Address, String),
    /// The server says no.
    #[error("{0}")]
    Refused(String),
    /// Some workers have not answered; the output is of those that have.
    #[error("{reason}")]
    Partial {
        /// What to print nevertheless.
        output: String,
        /// Why there is not more.
        reason: String,
    },
}

/// A running server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Where it answers.
    pub address: Address,
}

impl Server {
    /// The server at this address. Nothing connects yet.
    pub fn at(address: Address) -> Server {
        Server { address }
    }

    /// Its state.
    ///
    /// # Errors
    /// If it cannot be reached, or has not answered within `limit`.
    pub fn status(&self, limit: Duration) -> Result<Status, Failure> {
        let document = self.status_document(limit)?;
        serde_json::from_value(document).map_err(|error| self.malformed(&error))
    }

    /// Its state, as it has sent it.
    ///
    /// # Errors
    /// As [`Server::status`].
    pub fn status_document(&self, limit: Duration) -> Result<Value, Failure> {
        match &self.address {
            Address::Socket(_) => self.call(&Command::Status, Some(limit)),
            Address::Metrics(bind) => {
                let body = http::get(bind, "/status", limit)
                    .map_err(|error| self.failure(error, Some(limit)))?;
                serde_json::from_slice(&body).map_err(|error| self.malformed(&error))
            }
        }
    }

    /// Sends a command to the control socket, and returns its result. Without a limit it waits as
    /// long as the server lives.
    ///
    /// # Errors
    /// If the server cannot be reached, has not answered in time, or refuses.
    pub fn call(&self, command: &Command, limit: Option<Duration>) -> Result<Value, Failure> {
        let Address::Socket(path) = &self.address else {
            return Err(Failure::Refused("the metrics address only shows the state".to_owned()));
        };
        let end = limit.map(|limit| Instant::now() + limit);
        let mut stream = connect_unix(path, limit.unwrap_or(DEFAULT_TIMEOUT))
            .map_err(|error| self.failure(error, limit))?;
        let line = stream
            .write_all(&command.to_line())
            .and_then(|()| read_line(&mut stream, end))
            .map_err(|error| self.failure(error, limit))?;
        let outcome = protocol::parse_outcome(&line)
            .ok_or_else(|| self.malformed(&"its answer is not an outcome"))?;
        outcome.map_err(Failure::Refused)
    }

    fn malformed(&self, reason: &dyn fmt::Display) -> Failure {
        Failure::Malformed(self.address.clone(), reason.to_string())
    }

    fn failure(&self, error: io::Error, limit: Option<Duration>) -> Failure {
        let address = self.address.clone();
        let is_socket = matches!(address, Address::Socket(_));
        let reason = match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                return Failure::TimedOut(address, limit.unwrap_or(DEFAULT_TIMEOUT).as_secs_f64());
            }
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                return Failure::Closed(address);
            }
            ErrorKind::InvalidData => return self.malformed(&error),
            ErrorKind::NotFound if is_socket => {
                "there is no such socket; start the server with --control-socket".to_owned()
            }
            ErrorKind::ConnectionRefused => "no server listens there".to_owned(),
            ErrorKind::PermissionDenied if is_socket => {
                "no permission; run this command as the user of the server's master".to_owned()
            }
            _ => error.to_string(),
        };
        Failure::Unreachable(address, reason)
    }
}

/// Reads up to a line feed.
fn read_line(stream: &mut UnixStream, end: Option<Instant>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut buffer = [0; 64 * 1024];
    loop {
        if let Some(end) = end {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
        }
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let found = memchr::memchr(b'\n', &buffer[..count]);
        line.extend_from_slice(&buffer[..found.unwrap_or(count)]);
        if found.is_some() {
            return Ok(line);
        }
        if line.len() > MAX_OUTCOME {
            return Err(io::Error::new(ErrorKind::InvalidData, "its answer is too long"));
        }
    }
}
