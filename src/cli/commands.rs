//! Commands beside the server, named by the first argument: `rustwsgi convert FILE`, `rustwsgi init
//! systemd`. They are written in Python, in the modules of their names. Only `--venv`, with which
//! the embedded binary finds Python, may precede them.
//!
//! A module of such a name is served with its attribute: `rustwsgi convert:app`.

use std::ffi::OsString;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;

use crate::wsgi;

/// The commands, which are also modules of the package.
const COMMANDS: [&str; 2] = ["convert", "init"];

/// The exit code of a command that SIGINT has ended, as of a shell.
const INTERRUPTED: i32 = 130;

/// The command that a command line names, whose first item is the program's name, and the arguments
/// behind it.
pub fn command(argv: &[OsString]) -> Option<(&'static str, &[OsString])> {
    let (first, rest) = match argv.get(1..)? {
        [option, _, first, rest @ ..] if option == "--venv" => (first, rest),
        [option, first, rest @ ..] if option.to_string_lossy().starts_with("--venv=") => {
            (first, rest)
        }
        [first, rest @ ..] => (first, rest),
        [] => return None,
    };
    let command = COMMANDS.into_iter().find(|command| first == command)?;
    Some((command, rest))
}

/// Runs a command, and returns the exit code.
pub(super) fn run(py: Python<'_>, command: &str, arguments: &[OsString]) -> i32 {
    let run = || -> PyResult<i32> {
        let module = py.import(format!("rustwsgi.{command}"))?;
        module.call_method1("main", (arguments.to_vec(),))?.extract()
    };
    match run() {
        Ok(code) => code,
        Err(failure) if failure.is_instance_of::<PyKeyboardInterrupt>(py) => INTERRUPTED,
        Err(failure) => {
            eprintln!("{}", wsgi::format_exception(py, &failure).trim_end());
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_first_argument_names_a_command() {
        for (argv, expected) in [
            (&["rustwsgi", "convert", "uwsgi.ini"][..], Some("convert uwsgi.ini")),
            (&["rustwsgi", "init"], Some("init")),
            (&["rustwsgi", "--venv", "a", "init", "nginx"], Some("init nginx")),
            (&["rustwsgi", "--venv=a", "convert", "b"], Some("convert b")),
            (&["rustwsgi", "--venv", "convert"], None),
            (&["rustwsgi", "--venv", "init", "hello:app"], None),
            (&["rustwsgi", "convert:app"], None),
            (&["rustwsgi", "--check-config", "convert"], None),
            (&["rustwsgi"], None),
            (&[], None),
        ] {
            let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
            let found = command(&argv).map(|(name, rest)| {
                let rest = rest.iter().map(|word| word.to_string_lossy().into_owned());
                std::iter::once(name.to_owned()).chain(rest).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(found.as_deref(), expected, "{argv:?}");
        }
    }
}
