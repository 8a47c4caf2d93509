//! `docs/configuration.md`, rendered from the definition of the options, so that the page cannot say
//! anything else than the parser does.
//!
//! Only tests use this: one of them compares the page with the rendering, and rewrites it when
//! `UPDATE_DOCS` is set (`make docs`).

use clap::{Arg, ArgAction, Command};

use super::compat::gunicorn::{self, Fate, Setting};
use super::compat::uwsgi;
use super::layers;

/// What holds for all options, ahead of the tables.
const INTRODUCTION: &str = "\
# Configuration

<!-- Generated from src/config/flags.rs by `make docs`; edit that file or src/config/reference.rs. -->

An option can be given in four ways, which all end in the same parser (`src/config/layers.rs`). The
command line wins, then the environment, then files:

- **On the command line**: `rustwsgi --threads 8 hello:app`. Underscores do as well as hyphens. An
  option given twice counts as it was given last; `--bind`, `--pythonpath` and `--env` add up.
- **In the environment**: `RUSTWSGI_THREADS=8`. The command line wins, option by option. An empty
  variable counts as none. A flag is `true`, `1`, `yes` or `on`, or else `false`, `0`, `no` or `off`.
  `--bind`, `--host`, `--port`, `--uds` and `--fd` together say where to listen: one of them on the
  command line puts all of the environment's aside. `PORT` replaces the default address only.
  gunicorn's `GUNICORN_CMD_ARGS`, a piece of command line, is read as well, and counts less.
  As with gunicorn, `WEB_CONCURRENCY` and `FORWARDED_ALLOW_IPS` are defaults, which count less than files,
  and `SCRIPT_NAME`, there or among `--env`, is the path below which the application is: see
  [migration.md](migration.md#from-gunicorn).
- **In files**: `-c FILE`, then `rustwsgi.toml`, then `[tool.rustwsgi]` in `pyproject.toml`, the last two in
  the current directory. Keys are the names of the column *Name* below, with underscores or hyphens; a list
  is for an option that can be repeated. An unknown key is an error, and so are `config` and `venv`. A FILE that does not
  end in `.toml`, and `python:MODULE`, is a gunicorn configuration; without any of the three `./gunicorn.conf.py` is read, as gunicorn does.
  There an unknown name is the file's own, and a warning if it is nearly a setting's.
  See [gunicorn's settings](#gunicorns-settings).
- **In Python**: `rustwsgi.serve(app, threads=8)`, and the same for `rustwsgi.Server`. A list or tuple
  is for an option that can be repeated; `None` leaves the option at its default. Neither environment nor
  files are read, so that a call means the same everywhere. What concerns the loading of the
  application (`app`, `factory`, `app_dir`, `chdir`, `pythonpath`, `env`, `venv`, `check_config`,
  `print_config`) is refused there: a program has loaded it by then. So are several `workers`, and what
  belongs to a master has no effect.

Times are in seconds, with decimals if need be. Sizes are in bytes, or with `k`, `m` or `g` in units
of 1024, 1024\u{b2} or 1024\u{b3} bytes.

`--print-config` shows the settings that all of this results in. `--help` and `--version` print and
exit, and so does `--generate` with `completions-bash`, `completions-zsh`, `completions-fish` or `man`. A
mistake in an option is told with its name and ends the process with exit code 2.

HUP applies a changed option to the new workers, and to the master what is its own: `bind`, `backlog`,
`workers`, `pid`, `user`, `group`, `umask`, `name` and the error log. (A unix socket that stays keeps its
mode.) Three things a running server cannot change, and its log says so: `daemon` needs a restart;
`preload`, and with it whatever the application was loaded with (`app`, `pythonpath`, `env`,
`no_gc_freeze`), needs USR2 or a restart.
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
        page.push_str("| Option | Default | Meaning | Environment | Name | Other names |\n");
        page.push_str("|---|---|---|---|---|---|\n");
        for arg in command.get_arguments().filter(|arg| heading(arg) == wanted) {
            page.push_str(&row(arg));
        }
    }
    page.push_str(GUNICORN);
    page.push_str(&grouped(gunicorn::SETTINGS.iter().filter_map(told)));
    page.push_str(UWSGI);
    for (names, advice) in uwsgi::ADVICE {
        let names: Vec<String> =
            names.iter().map(|name| code(&format!("--{}", name.replace('_', "-")))).collect();
        page.push_str(&format!("| {} | {advice} |\n", names.join(", ")));
    }
    page
}

/// What holds for gunicorn's settings, ahead of their table.
const GUNICORN: &str = "
## gunicorn's settings

What becomes of each, on the command line and in a `gunicorn.conf.py` (`src/config/gunicorn.rs`). One that
has no effect is accepted, and named in the log unless it has gunicorn's default. One that cannot be
honoured ends the start with exit code 2. Hooks that are called are listed in
[migration.md](migration.md#from-gunicorn). A flag stands behind its setting unless it is an option here.

| gunicorn | Here |
|---|---|
";

/// What holds for uWSGI's options, ahead of their table.
const UWSGI: &str = "
## uWSGI's options

`--workers`, `--threads`, `--max-requests`, `--max-worker-lifetime`, `--chdir`, `--pythonpath`, `--env` and
`--umask` are the same; `--pidfile` is `--pid`. Others end the start with exit code 2, and the message says
what stands here (`src/config/uwsgi.rs`). More is in [migration.md](migration.md#from-uwsgi).

| uWSGI | Here |
|---|---|
";

/// A setting of gunicorn's, with its flag, and its place and sentence in the table; hooks have a list of their
/// own.
fn told(setting: &Setting) -> Option<(u8, String, String)> {
    let (long, _) = setting.flag.split_once('=').unwrap_or((setting.flag, ""));
    let flag = if long.is_empty() { String::new() } else { format!(" (`--{long}`)") };
    let (place, fate) = match setting.fate {
        Fate::Ignored(gunicorn::NOT_CALLED) => return None,
        Fate::Is(option) if option == setting.name => (0, "the same".to_owned()),
        Fate::Is(option) => (1, code(option)),
        Fate::Always => (2, "always so".to_owned()),
        Fate::Ignored(reason) => (3, format!("no effect: {reason}")),
        Fate::Refused(reason) => (4, format!("refused: {reason}")),
    };
    Some((place, fate.replace('|', "\\|"), format!("{}{flag}", code(setting.name))))
}

/// A row for each sentence, with all that it is said of, so that none is read twice.
fn grouped(settings: impl Iterator<Item = (u8, String, String)>) -> String {
    let mut rows: Vec<(u8, String, Vec<String>)> = Vec::new();
    for (place, fate, name) in settings {
        match rows.iter_mut().find(|row| row.1 == fate) {
            Some(row) => row.2.push(name),
            None => rows.push((place, fate, vec![name])),
        }
    }
    rows.sort_by_key(|row| row.0);
    rows.iter().map(|(_, fate, names)| format!("| {} | {fate} |\n", names.join(", "))).collect()
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
        true => "`app`; in Python the first argument".to_owned(),
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
