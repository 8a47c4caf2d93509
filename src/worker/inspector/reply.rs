//! Sends the outcome of a request to its client.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use log::debug;
use serde::Serialize;
use serde_json::Value;

use crate::control::{Outcome, outcome_line};
use crate::sys::sigpipe;

/// How long a client may take to read it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A report as a document.
pub(super) fn document(report: impl Serialize) -> Value {
    serde_json::to_value(report).unwrap_or_default()
}

/// Sends an outcome, and ends the connection. A process that the application has forked may have a
/// copy of it.
pub(super) fn send(client: &UnixStream, outcome: &Outcome) {
    if let Err(failure) = sigpipe::suppressed(|| write(client, &outcome_line(outcome))) {
        debug!("Cannot answer a client of the control socket: {failure}");
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
}

fn write(mut client: &UnixStream, mut line: &[u8]) -> io::Result<()> {
    let end = Instant::now() + WRITE_TIMEOUT;
    while !line.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        client.set_write_timeout(Some(left))?;
        match client.write(line) {
            Ok(count) => line = &line[count..],
            Err(failure) if failure.kind() == io::ErrorKind::Interrupted => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}
