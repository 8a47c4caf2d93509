//! The protocol of the control socket: one line of JSON for each command, and one for its outcome.
//!
//! ```text
//! {"command": "workers", "count": 4}
//! {"ok": true, "result": {"workers": 4, "previous": 2}}
//! {"command": "dance"}
//! {"ok": false, "error": "unknown variant `dance`, expected one of …"}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::observe::shared_state;

#[cfg(doc)]
use crate::config::{MAX_PROFILE_SECONDS, MAX_WORKERS};

/// The length of a command with its line feed, at most.
pub(crate) const MAX_COMMAND: usize = 4096;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
pub enum Command {
    /// The state of the server, as `/status` shows it.
    Status,
    /// Changes the number of workers.
    Workers {
        /// From 1 to [`MAX_WORKERS`].
        count: usize,
    },
    /// Reloads, and waits for the outcome.
    Reload,
    /// Reopens the log files.
    Reopen,
    /// Stops gracefully, and waits for the end.
    Stop,
    /// The stacks of a worker's threads. The connection ends with it.
    Stacks {
        /// A process id.
        worker: i32,
    },
    /// Samples the stacks of a worker's threads. The connection ends with it.
    Profile {
        /// A process id.
        worker: i32,
        /// How long, up to [`MAX_PROFILE_SECONDS`].
        seconds: f64,
    },
}

impl Command {
    /// Parses a line.
    ///
    /// # Errors
    /// A sentence for the client.
    pub(crate) fn parse(line: &[u8]) -> Result<Command, String> {
        let parsed = serde_json::from_slice(line);
        parsed.map_err(|error| format!("not a command: {error}"))
    }

    /// As a line.
    pub(crate) fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("its fields are numbers and names");
        line.push(b'\n');
        line
    }

    /// What the log calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Command::Status => "status",
            Command::Workers { .. } => "workers",
            Command::Reload => "reload",
            Command::Reopen => "reopen",
            Command::Stop => "stop",
            Command::Stacks { .. } => "stacks",
            Command::Profile { .. } => "profile",
        }
    }
}

/// The outcome of a command: its result, or a sentence about what is wrong.
pub(crate) type Outcome = Result<Value, String>;

/// An outcome as a line.
pub(crate) fn outcome_line(outcome: &Outcome) -> Vec<u8> {
    let document = match outcome {
        Ok(result) => json!({"ok": true, "result": result}),
        Err(error) => json!({"ok": false, "error": error}),
    };
    format!("{document}\n").into_bytes()
}

/// Parses the line of an outcome; `None` if it is malformed.
pub(crate) fn parse_outcome(line: &[u8]) -> Option<Outcome> {
    #[derive(Deserialize)]
    struct Reply {
        ok: bool,
        #[serde(default)]
        result: Value,
        error: Option<String>,
    }
    let reply: Reply = serde_json::from_slice(line).ok()?;
    if reply.ok { Some(Ok(reply.result)) } else { reply.error.map(Err) }
}

/// A request that runs or waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestInfo {
    /// The worker thread that runs it.
    pub thread: Option<usize>,
    /// The method, from a client.
    pub method: String,
    /// The target, from a client.
    pub target: String,
    /// Seconds since it was complete.
    pub age: f64,
    /// What it is doing, as [`Phase::name`](shared_state::Phase::name) says.
    pub phase: String,
}

impl From<&shared_state::Request> for RequestInfo {
    fn from(request: &shared_state::Request) -> RequestInfo {
        RequestInfo {
            thread: request.thread,
            method: text(&request.method),
            target: text(&request.target),
            age: rounded(request.age),
            phase: request.phase.name().to_owned(),
        }
    }
}

/// What a client has sent; bytes that are not UTF-8 become U+FFFD.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Seconds with milliseconds.
pub(crate) fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_survive_their_line() {
        for command in [
            Command::Status,
            Command::Workers { count: 3 },
            Command::Reload,
            Command::Reopen,
            Command::Stop,
            Command::Stacks { worker: 7 },
            Command::Profile { worker: 7, seconds: 0.5 },
        ] {
            let line = command.to_line();
            assert!(line.len() < MAX_COMMAND && line.ends_with(b"\n"));
            let name = format!("\"command\":\"{}\"", command.name());
            assert!(String::from_utf8_lossy(&line).contains(&name));
            assert_eq!(Command::parse(&line), Ok(command));
        }
    }

    #[test]
    fn malformed_commands_are_refused_with_the_reason() {
        for (line, expected) in [
            (&b""[..], "EOF"),
            (b"GET / HTTP/1.1\r\n", "expected value"),
            (b"[]", "not a command"),
            (b"{}", "missing field `command`"),
            (b"{\"command\": \"dance\"}", "unknown variant `dance`"),
            (b"{\"command\": \"workers\"}", "missing field `count`"),
            (b"{\"command\": \"workers\", \"count\": -1}", "expected usize"),
            (b"{\"command\": \"stacks\", \"worker\": \"all\"}", "expected i32"),
            (b"\"\xff\"", "not a command"),
            (b"{\"command\": \"stop\"} {}", "trailing characters"),
        ] {
            let error = Command::parse(line).unwrap_err();
            assert!(error.contains(expected), "{line:?}: {error}");
        }
        let deep = "[".repeat(MAX_COMMAND);
        assert!(Command::parse(deep.as_bytes()).is_err());
    }

    #[test]
    fn outcomes_survive_their_line() {
        for outcome in [Ok(json!({"workers": 2})), Err("no\nworker".to_owned())] {
            let line = outcome_line(&outcome);
            assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            assert_eq!(parse_outcome(&line), Some(outcome));
        }
        for line in [&b"{}"[..], b"", b"{\"ok\": 1}", b"{\"ok\": false}", b"{\"ok\":true}x"] {
            assert_eq!(parse_outcome(line), None);
        }
    }
}
