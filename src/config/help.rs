//! The texts of `-h` and `--help`. The short one has the options that most users need.

use std::ffi::OsString;

use clap::Command;

use super::option::OptionDef;
use super::options;

/// The options of `-h`, besides the application.
const COMMON: [&str; 13] = [
    "bind",
    "workers",
    "threads",
    "reload",
    "config",
    "chdir",
    "timeout",
    "keep_alive",
    "graceful_timeout",
    "preload",
    "access_logfile",
    "log_level",
    "check_config",
];

/// The rows of `-h` that are not in the table of options.
const OTHERS: [(&str, &str); 2] = [
    ("  -V, --version", "Print the version"),
    ("  -h, --help", "-h prints this text, --help all options"),
];

const EXAMPLES: &str = "Examples:
  rustwsgi hello:app
  rustwsgi --reload hello:app
  rustwsgi -b :80 -w 4 mysite.wsgi:application
  rustwsgi convert uwsgi.ini > rustwsgi.toml
  rustwsgi init systemd mysite.wsgi
";

const AFTER: &str = "Each option can also be set in the environment, as in RUSTWSGI_WORKERS=4, or \
    in ./rustwsgi.toml, as in workers = 4.";

/// The widths that are still readable.
const MIN_WIDTH: usize = 30;
const MAX_WIDTH: usize = 100;
const DEFAULT_WIDTH: usize = 80;
/// Where the texts begin in a terminal that is too narrow for two columns.
const NARROW_INDENT: usize = 10;

/// The help text of `command` that this command line asks for.
pub(super) fn text(argv: &[OsString], command: Command) -> String {
    let options = argv.iter().skip(1).take_while(|argument| *argument != "--");
    let is_complete = options.into_iter().any(|argument| argument == "--help");
    if is_complete { complete(command, width()) } else { short(width()) }
}

fn complete(command: Command, width: usize) -> String {
    command.term_width(width).render_help().to_string()
}

fn short(width: usize) -> String {
    let common = COMMON.iter().filter_map(|name| options::find(name));
    let rows: Vec<(String, String)> = common
        .map(|option| (usage(option), explanation(option)))
        .chain(OTHERS.map(|(usage, text)| (usage.to_owned(), text.to_owned())))
        .collect();
    let longest = rows.iter().map(|(usage, _)| usage.len()).max().unwrap_or_default();
    let is_narrow = width < 2 * longest;
    let indent = if is_narrow { NARROW_INDENT } else { longest + 2 };
    let mut text = wrap("Usage: rustwsgi [OPTIONS] APP", 0, width);
    text += "\n";
    let app = options::find("app").map_or("", |app| app.help);
    let app = app.trim_start_matches("The application: ");
    text += &wrap(&format!("APP is the application: {app}"), 0, width);
    text += "\nOptions:\n";
    for (usage, explanation) in rows {
        let explanation = wrap(&explanation, indent, width);
        let (first, rest) = match is_narrow {
            true => ("\n", explanation.as_str()),
            false => ("", &explanation[usage.len()..]),
        };
        text += &format!("{usage}{first}{rest}");
    }
    text += &format!("\n{EXAMPLES}\n{}", wrap(AFTER, 0, width));
    text
}

/// `  -b, --bind ADDRESS`
fn usage(option: &OptionDef) -> String {
    let short = option.short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
    format!("  {short}--{} {}", option.long(), option.metavar).trim_end().to_owned()
}

fn explanation(option: &OptionDef) -> String {
    match option.default.filter(|_| !option.help.contains("[default: ")) {
        Some(default) => format!("{} [default: {default}]", option.help),
        None => option.help.to_owned(),
    }
}

/// Breaks a text into lines of at most `width` columns, each of which begins with spaces.
fn wrap(text: &str, indent: usize, width: usize) -> String {
    let mut lines = vec![" ".repeat(indent)];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is at least one line");
        let is_empty = line.len() <= indent;
        if !is_empty && line.len() + 1 + word.len() > width {
            lines.push(" ".repeat(indent) + word);
        } else {
            let space = if is_empty { "" } else { " " };
            *line += &format!("{space}{word}");
        }
    }
    lines.join("\n") + "\n"
}

/// The width of the terminal: COLUMNS if the user has set it, else the terminal's own value.
fn width() -> usize {
    let variable = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let asked = || {
        let size = rustix::termios::tcgetwinsize(std::io::stdout());
        size.or_else(|_| rustix::termios::tcgetwinsize(std::io::stderr())).ok()
    };
    let known = variable.or_else(|| asked().map(|size| usize::from(size.ws_col)));
    known.filter(|&width| width > 0).unwrap_or(DEFAULT_WIDTH).clamp(MIN_WIDTH, MAX_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cli::command;
    use crate::config::options;

    #[test]
    fn short_help_has_common_options_only() {
        let short = short(DEFAULT_WIDTH);
        for option in options::all().filter(|option| !option.is_positional()) {
            let words = short.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            let shown = words.into_iter().any(|word| word == format!("--{}", option.long()));
            assert_eq!(shown, COMMON.contains(&option.name), "{}", option.name);
        }
        assert!(short.lines().count() < 52, "{short}");
    }

    #[test]
    fn complete_help_has_every_option() {
        let complete = complete(command(), DEFAULT_WIDTH);
        for option in options::all().filter(|option| !option.is_positional() && !option.hidden) {
            assert!(complete.contains(&format!("--{}", option.long())), "{}", option.name);
        }
    }

    #[test]
    fn lines_fit_the_width() {
        for width in [60, 80, 100] {
            for line in short(width).lines().chain(complete(command(), width).lines()) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn application_is_introduced_once_at_any_width() {
        for width in MIN_WIDTH..=MAX_WIDTH {
            let words = short(width).split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains("APP is the application: MODULE:NAME"), "{width}: {words}");
        }
    }

    #[test]
    fn text_is_wrapped_with_its_indentation() {
        assert_eq!(wrap("one two three", 2, 9), "  one two\n  three\n");
        assert_eq!(wrap("incomprehensible", 2, 9), "  incomprehensible\n");
    }
}
