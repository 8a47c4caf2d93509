//! The command lines of the commands that are not a start of the server, for their parsers, their
//! help and the completions.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, ValueHint, value_parser};

use super::bind::Bind;

/// The shortest profile, in seconds.
pub const MIN_PROFILE_SECONDS: f64 = 0.01;
/// The longest profile, in seconds.
pub const MAX_PROFILE_SECONDS: f64 = 3600.0;

/// The largest number of workers.
pub const MAX_WORKERS: usize = 1024;

/// The options that name a running server.
fn server_options() -> [Arg; 2] {
    let socket = Arg::new("control-socket")
        .long("control-socket")
        .value_name("PATH")
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::FilePath)
        .help("The server's --control-socket [default: RUSTWSGI_CONTROL_SOCKET]");
    let metrics = Arg::new("metrics")
        .long("metrics")
        .value_name("ADDRESS")
        .value_parser(|text: &str| text.parse::<Bind>())
        .conflicts_with("control-socket")
        .help("The server's --metrics, for status and requests [default: RUSTWSGI_METRICS]");
    [socket, metrics]
}

/// `rustwsgi top`.
pub fn top_command() -> Command {
    let interval = Arg::new("interval")
        .long("interval")
        .value_name("S")
        .value_parser(|text: &str| seconds(text, 0.1, 3600.0))
        .default_value("1")
        .help("Seconds from one state to the next");
    let keys = "Keys: q quits, p pauses, the arrow keys scroll the requests.";
    Command::new("top")
        .bin_name("rustwsgi top")
        .about("Shows the workers of a running server and their requests, live")
        .args(server_options())
        .arg(interval)
        .after_help(keys)
}

/// `rustwsgi ctl`.
pub fn ctl_command() -> Command {
    let [socket, metrics] = server_options();
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON");
    let timeout = Arg::new("timeout")
        .long("timeout")
        .value_name("S")
        .value_parser(|text: &str| seconds(text, 0.001, 86_400.0))
        .help("Give up after this time [default: 10 s; reload and stop wait for their end]");
    Command::new("ctl")
        .bin_name("rustwsgi ctl")
        .about("Shows and controls a running server")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .args([socket, metrics, json, timeout].map(|arg| arg.global(true)))
        .subcommands(subcommands())
}

fn subcommands() -> Vec<Command> {
    let workers = Arg::new("count")
        .value_name("N")
        .required(true)
        .value_parser(value_parser!(u64).range(1..=MAX_WORKERS as u64));
    let worker =
        Arg::new("worker").value_name("WORKER").value_parser(value_parser!(i32).range(1..));
    let length = Arg::new("seconds")
        .value_name("SECONDS")
        .required(true)
        .value_parser(|text: &str| seconds(text, MIN_PROFILE_SECONDS, MAX_PROFILE_SECONDS))
        .help("How long");
    let output = Arg::new("output")
        .short('o')
        .long("output")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .value_hint(ValueHint::FilePath)
        .help(
            "Write a flame graph (.svg), collapsed stacks (.txt, .folded) or a file for speedscope \
             (.json) [default: print the functions that take longest]",
        );
    vec![
        Command::new("status").about("Show the server and its workers"),
        Command::new("requests").about("Show the requests that run or wait, the oldest first"),
        Command::new("stacks")
            .about("Show the Python stacks of all threads, with their requests")
            .arg(worker.clone().help("The pid of a worker [default: all workers]")),
        Command::new("profile")
            .about("Sample the Python stacks of all threads, 100 times a second")
            .arg(length)
            .arg(output)
            .arg(worker.long("worker").help("The pid of the worker to profile [default: all]")),
        Command::new("workers").about("Change the number of workers").arg(workers),
        Command::new("reload").about("Reload, and wait for the outcome"),
        Command::new("reopen").about("Reopen the log files"),
        Command::new("stop").about("Stop gracefully, and wait for the end"),
    ]
}

/// Seconds, above 0.
fn seconds(text: &str, least: f64, most: f64) -> Result<Duration, String> {
    let value = text.parse::<f64>().ok().filter(|value| (least..=most).contains(value));
    let value = value.and_then(|value| Duration::try_from_secs_f64(value).ok());
    value.ok_or_else(|| format!("not a number of seconds from {least} to {most}"))
}
