//! Command lines that fit another program: `rustwsgi run hello:app`, `rustwsgi manage.py
//! runserver`, `rustwsgi -m hello:app`. The message names the command to write instead.
//!
//! Files are only looked up to name the application.

use std::ffi::OsString;
use std::path::Path;

use super::app;

/// Commands of flask, uvicorn, Django and others.
const VERBS: [&str; 8] = ["run", "serve", "start", "runserver", "server", "dev", "shell", "wsgi"];

/// The name to show if the command line has none.
pub(super) const EXAMPLE: &str = "hello:app";

/// The message about a command line with these positional arguments. `unexpected` is the first that
/// is one too many.
pub(super) fn too_many(positional: &[String], unexpected: &str) -> String {
    let is_verb = |text: &&String| VERBS.contains(&text.as_str());
    let is_django = |text: &&String| Path::new(text).file_name().is_some_and(|n| n == "manage.py");
    let bind = positional.iter().find_map(|text| address(text)).unwrap_or_default();
    if let Some(script) = positional.iter().find(is_django) {
        let (name, chdir) = app::django_application(script);
        return format!(
            "'{script}' is Django's own command, whose server this one replaces; write: rustwsgi \
             {bind}{chdir}{name}"
        );
    }
    let is_name = |text: &&String| !is_verb(text) && address(text).is_none();
    let names: Vec<&String> = positional.iter().filter(is_name).collect();
    let first = || names.first().map_or_else(|| EXAMPLE.to_owned(), command);
    if let Some(verb) = positional.iter().find(is_verb) {
        return format!("rustwsgi has no command '{verb}'; write: rustwsgi {bind}{}", first());
    }
    match names[..] {
        _ if !bind.is_empty() => format!(
            "unexpected argument '{unexpected}' found: an address is an option; write: rustwsgi \
             {bind}{}",
            first()
        ),
        [module, attr] if !module.contains(':') && app::is_attribute(attr) => format!(
            "unexpected argument '{unexpected}' found: join module and name; write: rustwsgi \
             {module}:{attr}"
        ),
        _ => format!(
            "unexpected argument '{unexpected}' found: a server has one application; write: \
             rustwsgi {}",
            first()
        ),
    }
}

/// The option to write for `8000` or `127.0.0.1:8000`, as `manage.py runserver` takes it.
fn address(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    port.parse::<u16>().is_ok().then(|| format!("-b {host}:{port} "))
}

/// The application that was named with an option, such as flask's `--app`.
pub(super) fn named_by_option(argv: &[OsString], option: &str) -> String {
    let mut arguments = argv.iter().filter_map(|argument| argument.to_str());
    let value = loop {
        match arguments.next() {
            Some(argument) if argument == option => break arguments.next(),
            Some(argument) => match argument.strip_prefix(option) {
                Some(rest) if rest.starts_with('=') => break Some(&rest[1..]),
                _ => {}
            },
            None => break None,
        }
    };
    value.filter(|value| !value.is_empty()).map_or_else(|| EXAMPLE.to_owned(), command)
}

/// The arguments to write for an application as the user has named it.
fn command(name: impl AsRef<str>) -> String {
    let name = name.as_ref();
    let (path, attr) = match name.split_once(':') {
        Some((path, attr)) => (path, Some(attr)),
        None => (name, None),
    };
    if !app::is_path(path) {
        return name.to_owned();
    }
    let (name, chdir) = app::name_of_path(path, attr);
    format!("{chdir}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_of_another_program_is_translated() {
        for (positional, expected) in [
            (&["run", "hello:app"][..], "no command 'run'; write: rustwsgi hello:app"),
            (&["hello:app", "run"], "no command 'run'; write: rustwsgi hello:app"),
            (&["serve", "src/hello.py"], "write: rustwsgi --chdir src hello:app"),
            (&["run", "serve"], "no command 'run'; write: rustwsgi hello:app"),
            (&["manage.py", "runserver"], "write: rustwsgi PROJECT.wsgi:application"),
            (&["a/manage.py", "runserver"], "rustwsgi --chdir a PROJECT.wsgi:application"),
            (&["manage.py", "runserver", "8000"], "rustwsgi -b :8000 PROJECT.wsgi:application"),
            (
                &["run", "hello:app", "[::]:80"],
                "no command 'run'; write: rustwsgi -b [::]:80 hello:app",
            ),
            (&["hello:app", "8000"], "an address is an option; write: rustwsgi -b :8000 hello:app"),
            (&["hello.py", "0:80"], "an address is an option; write: rustwsgi -b 0:80 hello:app"),
            (&["hello", "app"], "write: rustwsgi hello:app"),
            (&["hello:app", "other:app"], "one application; write: rustwsgi hello:app"),
        ] {
            let positional: Vec<String> = positional.iter().map(|&text| text.to_owned()).collect();
            let message = too_many(&positional, &positional[1]);
            assert!(message.ends_with(expected), "{message}");
        }
    }

    #[test]
    fn application_behind_an_option_is_found() {
        for (argv, expected) in [
            (&["rustwsgi", "--app", "shop"][..], "shop"),
            (&["rustwsgi", "--app=shop:site", "run"], "shop:site"),
            (&["rustwsgi", "--app", "shop.py"], "shop:app"),
            (&["rustwsgi", "--app"], EXAMPLE),
        ] {
            let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
            assert_eq!(named_by_option(&argv, "--app"), expected);
        }
    }
}
