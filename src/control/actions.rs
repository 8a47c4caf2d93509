//! Carries out a command line of `rustwsgi ctl`.

use std::time::Duration;

use serde_json::{Value, json};

use super::arguments::{Action, Arguments};
use super::client::{Failure, Server};
use super::protocol::Command;
use super::table::counted;
use super::workers::Timeout;
use super::{profile, report, stacks};

/// Returns the text to print.
///
/// # Errors
/// If the command has failed.
pub(super) fn run(arguments: &Arguments) -> Result<String, Failure> {
    let server = Server::at(arguments.address.clone());
    let timeout = Timeout(arguments.timeout);
    let limit = timeout.short();
    match &arguments.action {
        Action::Status if arguments.json => Ok(server.status_document(limit)?.to_string()),
        Action::Status => Ok(report::status(&server.status(limit)?)),
        Action::Requests => requests(&server, limit, arguments.json),
        Action::Stacks(worker) => stacks::stacks(&server, *worker, timeout, arguments.json),
        Action::Profile(of) => profile::profile(&server, of, timeout, arguments.json),
        Action::Workers(count) => {
            let result = server.call(&Command::Workers { count: *count }, Some(limit))?;
            Ok(print(arguments, &result, || resized(&result)))
        }
        // Both may take as long as --graceful-timeout and --boot-timeout, at least.
        Action::Reload => {
            let result = server.call(&Command::Reload, arguments.timeout)?;
            let workers = counted(number(&result, "workers"), "worker");
            Ok(print(arguments, &result, || format!("Reloaded: {workers}")))
        }
        Action::Stop => {
            let result = server.call(&Command::Stop, arguments.timeout)?;
            Ok(print(arguments, &result, || "Stopped".to_owned()))
        }
        Action::Reopen => {
            let result = server.call(&Command::Reopen, Some(limit))?;
            Ok(print(arguments, &result, || "Reopened the log files".to_owned()))
        }
    }
}

fn print(arguments: &Arguments, result: &Value, text: impl FnOnce() -> String) -> String {
    if arguments.json { result.to_string() } else { text() }
}

fn number(result: &Value, key: &str) -> u64 {
    result[key].as_u64().unwrap_or_default()
}

fn resized(result: &Value) -> String {
    let (now, before) = (number(result, "workers"), number(result, "previous"));
    match now == before {
        true => format!("The number of workers is {now} already"),
        false => format!("Changing the number of workers from {before} to {now}"),
    }
}

fn requests(server: &Server, limit: Duration, json: bool) -> Result<String, Failure> {
    let status = server.status(limit)?;
    if !json {
        return Ok(report::requests(&status));
    }
    let requests = report::sorted_requests(&status);
    let requests = requests.into_iter().map(|(worker, request)| {
        let mut document = json!(request);
        document["worker"] = worker.into();
        document
    });
    Ok(Value::Array(requests.collect()).to_string())
}
