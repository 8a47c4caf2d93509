//! Asks workers of a server, all of them at the same time.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::client::{DEFAULT_TIMEOUT, Failure, Server};
use super::protocol::Command;

/// How long to wait for an answer: what the user says, or a default.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeout(pub(super) Option<Duration>);

impl Timeout {
    /// The time for what the server answers at once.
    pub(super) fn short(self) -> Duration {
        self.0.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// The time for what takes this long by itself.
    pub(super) fn beyond(self, length: Duration) -> Duration {
        self.0.unwrap_or_else(|| length.saturating_add(DEFAULT_TIMEOUT))
    }
}

/// The process ids of the workers: `worker`, or all.
///
/// # Errors
/// If the server does not answer, or there is no such worker.
pub(super) fn pids(
    server: &Server,
    worker: Option<i32>,
    timeout: Timeout,
) -> Result<Vec<i32>, Failure> {
    let workers = server.status(timeout.short())?.workers;
    let pids: Vec<i32> = workers.iter().map(|worker| worker.pid).collect();
    match worker {
        None if pids.is_empty() => Err(Failure::Refused("the server has no workers".to_owned())),
        None => Ok(pids),
        Some(pid) if pids.contains(&pid) => Ok(vec![pid]),
        Some(pid) => {
            let known = pids.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
            Err(Failure::Refused(format!("no worker has the pid {pid}; there are {known}")))
        }
    }
}

/// Sends a command for each worker, and returns its answer.
pub(super) fn ask_all<T: DeserializeOwned + Send>(
    server: &Server,
    pids: &[i32],
    timeout: Timeout,
    command: impl Fn(i32) -> Command + Sync,
) -> Vec<(i32, Result<T, Failure>)> {
    let ask = |pid: i32| -> Result<T, Failure> {
        let command = command(pid);
        let length = match command {
            Command::Profile { seconds, .. } => Duration::from_secs_f64(seconds),
            _ => Duration::ZERO,
        };
        let result = server.call(&command, Some(timeout.beyond(length))).map_err(|failure| {
            match failure {
                // The master has passed the connection to the worker.
                Failure::Closed(_) => Failure::Refused(format!("worker {pid} has ended")),
                Failure::TimedOut(_, seconds) => {
                    Failure::Refused(format!("worker {pid} has not answered within {seconds} s"))
                }
                other => other,
            }
        })?;
        serde_json::from_value(result)
            .map_err(|error| Failure::Refused(format!("worker {pid} has sent nonsense: {error}")))
    };
    std::thread::scope(|scope| {
        let ask = &ask;
        let asked: Vec<_> = pids.iter().map(|&pid| (pid, scope.spawn(move || ask(pid)))).collect();
        let answer =
            |(pid, thread): (i32, std::thread::ScopedJoinHandle<'_, Result<T, Failure>>)| {
                let failed =
                    || Err(Failure::Refused(format!("the question to worker {pid} failed")));
                (pid, thread.join().unwrap_or_else(|_| failed()))
            };
        asked.into_iter().map(answer).collect()
    })
}

/// The text, if all workers have answered.
///
/// # Errors
/// With the text of those that have, and why the others have not.
pub(super) fn with_failures<T>(
    text: String,
    answers: &[(i32, Result<T, Failure>)],
) -> Result<String, Failure> {
    let failures = answers.iter().filter_map(|(_, answer)| answer.as_ref().err());
    let failures: Vec<String> = failures.map(Failure::to_string).collect();
    match failures.is_empty() {
        true => Ok(text),
        false => Err(Failure::Partial { output: text, reason: failures.join("; ") }),
    }
}
