//! The command line of `rustwsgi ctl`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;

use super::client::Address;
use super::profile::{Format, ProfileArguments};
use super::top::TopArguments;
use crate::config::{Bind, Exit, MAX_WORKERS, ctl_command, top_command};

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    Status,
    Requests,
    /// Of this worker, or of all.
    Stacks(Option<i32>),
    Profile(ProfileArguments),
    Workers(usize),
    Reload,
    Reopen,
    Stop,
}

/// A command line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Arguments {
    pub(super) address: Address,
    pub(super) action: Action,
    /// Print JSON instead of text.
    pub(super) json: bool,
    /// How long to wait for the outcome, if the user says so.
    pub(super) timeout: Option<Duration>,
}

/// Parses a command line that begins with `ctl`.
///
/// # Errors
/// With code 0 if help was requested, and with code 2 if the command line is invalid.
pub(super) fn parse(argv: &[OsString]) -> Result<Arguments, Exit> {
    parse_in(argv, &|name| std::env::var_os(name))
}

fn parse_in(
    argv: &[OsString],
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Arguments, Exit> {
    let matches = ctl_command().try_get_matches_from(argv).map_err(exit_of)?;
    let (name, of_action) = matches.subcommand().expect("clap requires one");
    let action = action(name, of_action);
    if let Action::Profile(ProfileArguments { output: Some(path), .. }) = &action {
        Format::of(path).map_err(|reason| Exit::usage(format_args!("--output: {reason}")))?;
    }
    let address = address(of_action, variable)?;
    if matches!(address, Address::Metrics(_))
        && !matches!(action, Action::Status | Action::Requests)
    {
        return Err(Exit::usage(format_args!(
            "{name} needs the control socket of the server: name it with --control-socket; the \
             metrics address only shows its state"
        )));
    }
    Ok(Arguments {
        address,
        action,
        json: of_action.get_flag("json"),
        timeout: of_action.get_one("timeout").copied(),
    })
}

/// Parses a command line that begins with `top`.
///
/// # Errors
/// As [`parse`].
pub(super) fn parse_top(argv: &[OsString]) -> Result<TopArguments, Exit> {
    let matches = top_command().try_get_matches_from(argv).map_err(exit_of)?;
    let interval = matches.get_one("interval").copied().unwrap_or(Duration::from_secs(1));
    Ok(TopArguments { address: address(&matches, &|name| std::env::var_os(name))?, interval })
}

fn exit_of(error: clap::Error) -> Exit {
    Exit {
        code: error.exit_code(),
        stdout: !error.use_stderr(),
        message: error.render().to_string(),
    }
}

fn action(name: &str, matches: &ArgMatches) -> Action {
    match name {
        "requests" => Action::Requests,
        "workers" => {
            let count = matches.get_one::<u64>("count").copied().unwrap_or_default();
            Action::Workers(usize::try_from(count).unwrap_or(MAX_WORKERS))
        }
        "stacks" => Action::Stacks(matches.get_one("worker").copied()),
        "profile" => Action::Profile(ProfileArguments {
            length: matches.get_one("seconds").copied().unwrap_or_default(),
            worker: matches.get_one("worker").copied(),
            output: matches.get_one("output").cloned(),
        }),
        "reload" => Action::Reload,
        "reopen" => Action::Reopen,
        "stop" => Action::Stop,
        _ => Action::Status,
    }
}

fn address(
    matches: &ArgMatches,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Address, Exit> {
    let variable = |name| variable(name).filter(|value: &OsString| !value.is_empty());
    if let Some(path) = matches.get_one::<PathBuf>("control-socket") {
        return Ok(Address::socket(path.as_os_str()));
    }
    if let Some(bind) = matches.get_one::<Bind>("metrics") {
        return metrics(bind.clone());
    }
    if let Some(path) = variable("RUSTWSGI_CONTROL_SOCKET") {
        return Ok(Address::socket(&path));
    }
    if let Some(text) = variable("RUSTWSGI_METRICS") {
        let bind = text.to_string_lossy().parse::<Bind>().map_err(|reason| {
            Exit::usage(format_args!("environment variable RUSTWSGI_METRICS: {reason}"))
        })?;
        return metrics(bind);
    }
    Err(Exit::usage(
        "no server is named: give the server's --control-socket PATH, or its --metrics ADDRESS for \
         status, requests and top\n\nFor more information, try 'rustwsgi ctl --help'.",
    ))
}

fn metrics(bind: Bind) -> Result<Address, Exit> {
    match bind {
        Bind::Fd(_) | Bind::Tcp(_, 0) => {
            Err(Exit::usage("--metrics: name the host and port that the server's log shows"))
        }
        bind => Ok(Address::Metrics(bind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &str) -> Result<Arguments, Exit> {
        let argv: Vec<_> = ["ctl"].into_iter().chain(arguments.split(' ')).collect();
        let argv: Vec<_> = argv.into_iter().map(OsString::from).collect();
        parse_in(&argv, &|name| (name == "RUSTWSGI_METRICS").then(|| "unix:/m".into()))
    }

    #[test]
    fn options_stand_on_both_sides_of_the_command() {
        for arguments in [
            "--control-socket /s --json workers 3",
            "workers 3 --json --control-socket=/s",
            "--json workers --control-socket unix:/s 3",
        ] {
            let arguments = parsed(arguments).unwrap();
            assert_eq!(arguments.address, Address::Socket("/s".into()));
            assert_eq!((arguments.action, arguments.json), (Action::Workers(3), true));
        }
    }

    #[test]
    fn address_comes_from_the_environment_otherwise() {
        let arguments = parsed("requests --timeout 0.5").unwrap();
        assert_eq!(arguments.address, Address::Metrics(Bind::Unix("/m".into())));
        assert_eq!(arguments.timeout, Some(Duration::from_millis(500)));
        let exit = parse_in(&["ctl".into(), "status".into()], &|_| None).unwrap_err();
        assert!(exit.code == 2 && exit.message.contains("--control-socket PATH"), "{exit}");
    }

    #[test]
    fn invalid_command_lines_are_refused() {
        for (arguments, expected) in [
            ("dance", "unrecognized subcommand 'dance'"),
            ("workers --control-socket /s", "<N>"),
            ("workers 0 --control-socket /s", "0 is not in 1..=1024"),
            ("reload", "reload needs the control socket"),
            ("status --metrics :0", "host and port"),
            ("status --metrics a:b:c", "--metrics"),
            ("status --timeout 0", "not a number of seconds"),
            ("profile 1 -o a.png --control-socket s", "--output: 'a.png'"),
            ("profile 0 --control-socket s", "not a number of seconds"),
            ("stacks all --control-socket s", "invalid value 'all'"),
            ("status --metrics :9 --control-socket s", "cannot be used with"),
        ] {
            let exit = parsed(arguments).unwrap_err();
            assert!(exit.code == 2 && !exit.stdout, "{arguments}: {exit}");
            assert!(exit.message.contains(expected), "{arguments}: {exit}");
        }
        assert!(parsed("--help").is_err_and(|exit| exit.code == 0 && exit.stdout));
    }
}
