//! `docs/configuration.md`, rendered from the definition of the options, so that the page cannot say
//! anything else than the parser does.
//!
//! Only tests use this: one of them compares the page with the rendering, and rewrites it when
//! `UPDATE_DOCS` is set (`make docs`).

use clap::{Arg, ArgAction, Command};

use super::layers;

/// What holds for all options, ahead of the tables.
const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from src/config/flags.rs by `make docs`; edit that file or src/config/reference.rs. -->

An option can be given in three ways, which all end in the same parser (`src/config/layers.rs`):

- **On the command line**: `rustwsgi --threads 8 hello:app`. Underscores do as well as hyphens. An
  option given twice counts as it was given last; `--bind`, `--pythonpath` and `--env` add up.
- **In the environment**: `RUSTWSGI_THREADS=8`. The command line wins, option by option. An empty
  variable counts as none. A flag is `true`, `1`, `yes` or `on`, or else `false`, `0`, `no` or `off`.
  `--bind`, `--host`, `--port`, `--uds` and `--fd` together say where to listen: one of them on the
  command line puts all of the environment's aside. `PORT` replaces the default address only.
- **In Python**: `rustwsgi.serve(app, threads=8)`, and the same for `rustwsgi.Server`. A list or tuple
  is for an option that can be repeated; `None` leaves the option at its default. The environment is
  not read, so that a call means the same everywhere. What concerns the loading of the application
  (the first group below, and `app_dir`) is accepted there but changes nothing: it is loaded by then.

Times are in seconds, with decimals if need be. Sizes are in bytes, or with `k`, `m` or `g` in units
of 1024, 1024\u{b2} or 1024\u{b3} bytes.

`--print-config` shows the settings that all of this results in. `--help` and `--version` print and
exit. A mistake in an option is told with its name and ends the process with exit code 2.
";

/// The heading over options that are defined for other servers' users, and not in `--help`.
const OTHERS: &str = "Accepted from other servers' command lines";

/// The page about all options of `command`.
pub(super) fn markdown(command: &Command) -> String {
    let mut headings: Vec<&str> = Vec::new();
    for arg in command.get_arguments() {
        if !headings.contains(&heading(arg)) {
            headings.push(heading(arg));
        }
    }
    // The options that are not in `--help` come last.
    headings.sort_by_key(|&heading| heading == OTHERS);
    let mut page = INTRODUCTION.to_owned();
    for wanted in headings {
        page.push_str(&format!("\n## {wanted}\n\n"));
        page.push_str("| Option | Default | Meaning | Environment | Python | Other names |\n");
        page.push_str("|---|---|---|---|---|---|\n");
        for arg in command.get_arguments().filter(|arg| heading(arg) == wanted) {
            page.push_str(&row(arg));
        }
    }
    page
}

fn heading(arg: &Arg) -> &str {
    match arg.get_help_heading() {
        Some(heading) => heading,
        None if arg.is_positional() => "Application",
        None => OTHERS,
    }
}

fn row(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    // Defaults that depend on something stand in the help text.
    let (meaning, told) = match help.split_once(" [default: ") {
        Some((meaning, default)) => (meaning, default.strip_suffix(']')),
        None => (help.as_str(), None),
    };
    let values = arg.get_default_values().iter().map(|value| value.to_string_lossy());
    let default = values.collect::<Vec<_>>().join(", ");
    let default = match (told, arg.get_action()) {
        (Some(told), _) => told.to_owned(),
        (None, ArgAction::SetTrue) => "off".to_owned(),
        (None, _) if default.is_empty() => String::new(),
        (None, _) => code(&default),
    };
    let python = match arg.is_positional() {
        true => "the first argument".to_owned(),
        false => code(arg.get_id().as_str()),
    };
    let environment = code(&layers::variable_name(arg.get_id().as_str()));
    let aliases = arg.get_all_aliases().unwrap_or_default();
    let aliases: Vec<String> = aliases.iter().map(|name| code(&format!("--{name}"))).collect();
    let cells =
        [spelled(arg), default, meaning.to_owned(), environment, python, aliases.join(", ")];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

/// `` `-b`, `--bind ADDRESS` ``
fn spelled(arg: &Arg) -> String {
    let value = match arg.get_value_names() {
        Some([name, ..]) if arg.get_action().takes_values() => name.to_string(),
        _ if arg.get_action().takes_values() => arg.get_id().as_str().to_ascii_uppercase(),
        _ => String::new(),
    };
    let Some(long) = arg.get_long() else { return code(&value) };
    let long = code(format!("--{long} {value}").trim_end());
    match arg.get_short() {
        Some(short) => format!("`-{short}`, {long}"),
        None => long,
    }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}
