//! Sends the outcome of a request to its client.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use log::debug;
use rustix::event::PollFlags;
use serde::Serialize;
use serde_json::Value;

use super::wait::{Waited, wait};
use crate::control::{Outcome, outcome_line};
use crate::sys::sigpipe;

/// How long a client may take to read it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A report as a document.
pub(super) fn document(report: impl Serialize) -> Value {
    serde_json::to_value(report).unwrap_or_default()
}

/// Sends an outcome, and ends the connection. A process that the application has forked may have a
/// copy of it. When the worker ends, which ends its `channel` to the master, the client gets what
/// its connection takes at once.
pub(super) fn send(client: &UnixStream, channel: &UnixStream, outcome: &Outcome) {
    let line = outcome_line(outcome);
    if let Err(failure) = sigpipe::suppressed(|| write(client, channel, &line)) {
        debug!("Cannot answer a client of the control socket: {failure}");
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
}

fn write(mut client: &UnixStream, channel: &UnixStream, mut line: &[u8]) -> io::Result<()> {
    let end = Instant::now() + WRITE_TIMEOUT;
    while !line.is_empty() {
        match client.write(line) {
            Ok(count) => line = &line[count..],
            Err(failure) if failure.kind() == io::ErrorKind::Interrupted => {}
            Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                if wait(client, PollFlags::OUT, channel, left) == Waited::WorkerEnds {
                    return Err(io::Error::other("the worker ends"));
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::Shutdown;

    /// An outcome that no buffer of a socket takes.
    fn large() -> Outcome {
        Ok(Value::String("x".repeat(8 << 20)))
    }

    #[test]
    fn client_gets_an_outcome_that_it_reads_slowly() {
        let (client, mut other_end) = UnixStream::pair().unwrap();
        let (channel, _master) = UnixStream::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let sending = std::thread::spawn(move || send(&client, &channel, &large()));
        let mut received = Vec::new();
        other_end.read_to_end(&mut received).unwrap();
        sending.join().unwrap();
        assert_eq!(received, outcome_line(&large()));
    }

    #[test]
    fn end_of_the_worker_ends_a_reply_that_is_not_read() {
        for (outcome, is_whole) in [(large(), false), (Err("it ends".to_owned()), true)] {
            let (client, mut other_end) = UnixStream::pair().unwrap();
            let (channel, _master) = UnixStream::pair().unwrap();
            client.set_nonblocking(true).unwrap();
            channel.shutdown(Shutdown::Both).unwrap();
            send(&client, &channel, &outcome);
            let mut received = Vec::new();
            other_end.read_to_end(&mut received).unwrap();
            assert!(!received.is_empty());
            assert_eq!(received == outcome_line(&outcome), is_whole);
        }
    }
}
