//! The client of a running server: `rustwsgi ctl` and `rustwsgi top`.
//!
//! It speaks the [`protocol`] of the control socket, which the master of the server answers, or
//! reads the status at the metrics address. It needs no Python.
//!
//! - [`arguments`] is its command line, [`actions`] carries it out,
//! - [`client`] is a server as a client sees it, over a [`connection`]; [`http`] is a request at
//!   the metrics address,
//! - [`status`] is the state of a server, [`inspection`] are stacks and profiles of a worker,
//! - [`workers`] asks several workers, for [`stacks`] and for a [`profile`],
//! - [`report`] and [`table`] are what it prints, [`top`] is the live table.

mod actions;
mod arguments;
mod client;
mod connection;
mod http;
mod inspection;
mod profile;
mod protocol;
mod report;
mod stacks;
mod status;
mod table;
mod top;
mod workers;

use std::ffi::OsString;
use std::io::Write;

use crate::sys::signals::set_default_action;

pub use client::{Address, Failure, Server};
pub use inspection::{Frame, ProfileReport, SampledStack, StacksReport, ThreadReport};
pub use protocol::{Command, RequestInfo};
#[cfg(feature = "python")]
pub(crate) use protocol::{MAX_COMMAND, Outcome, outcome_line, rounded, text};
pub use status::{Status, WorkerStatus};

/// The names of the commands.
pub const NAMES: [&str; 2] = ["ctl", "top"];

/// Runs `rustwsgi ctl` or `rustwsgi top`, and returns the exit code; `None` if the command line,
/// which begins with the program's name, is another one.
pub fn main(argv: &[OsString]) -> Option<i32> {
    let argv = of_these_commands(argv)?;
    // Python's handler of SIGINT would wait for the end of this command.
    set_default_action(libc::SIGINT);
    let outcome = if argv[0] == "top" {
        arguments::parse_top(argv).map(|arguments| top::run(&arguments).map(|()| String::new()))
    } else {
        arguments::parse(argv).map(|arguments| actions::run(&arguments))
    };
    let failure = match outcome {
        Ok(Ok(output)) => {
            print(&output, true);
            return Some(0);
        }
        Ok(Err(failure)) => failure,
        Err(exit) => {
            print(&exit.message, exit.stdout);
            return Some(exit.code);
        }
    };
    if let Failure::Partial { output, .. } = &failure {
        print(output, true);
    }
    // A worker may have written the reason.
    let reason = failure.to_string();
    let lines: Vec<String> = reason.lines().map(table::printable).collect();
    print(&format!("error: {}", lines.join("\n")), false);
    Some(1)
}

/// Ignores a closed pipe, as in `rustwsgi ctl status | head -1`.
fn print(text: &str, is_output: bool) {
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return;
    }
    let text = format!("{text}\n");
    let _ = match is_output {
        true => std::io::stdout().write_all(text.as_bytes()),
        false => std::io::stderr().write_all(text.as_bytes()),
    };
}

/// The command line from the name of one of these commands on. An option of the embedded binary
/// may stand before it.
fn of_these_commands(argv: &[OsString]) -> Option<&[OsString]> {
    let skipped = match argv.get(1)?.to_str()? {
        "--venv" => 3,
        option if option.starts_with("--venv=") => 2,
        _ => 1,
    };
    argv.get(skipped..)
        .filter(|rest| rest.first().is_some_and(|first| NAMES.iter().any(|name| first == name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_of_these_commands_are_recognized() {
        for (argv, expected) in [
            ("rustwsgi ctl status", Some(1)),
            ("rustwsgi --venv v ctl status", Some(3)),
            ("rustwsgi --venv=v ctl status", Some(2)),
            ("rustwsgi top --metrics :9100", Some(1)),
            ("rustwsgi", None),
            ("rustwsgi --venv", None),
            ("rustwsgi ctl:app", None),
            ("rustwsgi -w 2 ctl", None),
        ] {
            let argv: Vec<OsString> = argv.split(' ').map(OsString::from).collect();
            assert_eq!(of_these_commands(&argv), expected.map(|at: usize| &argv[at..]), "{argv:?}");
        }
    }
}
